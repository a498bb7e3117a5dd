"""Process titles: the names of master, template and workers in `ps` and `top`.

uWSGI's options: `procname` names all processes, `procname-master` the master; a prefix and a
suffix are added to every name. Without the library `setproctitle` nothing changes.
"""


class Titles:
    """The titles of the processes of one instance.

    Args:
        brand: the first word, "uWSGI" or "geventuwsgi".
        on: False leaves the titles unchanged.
        prefix: put before the name without a space (`procname-prefix`).
        prefix_spaced: put before the name with a space (`procname-prefix-spaced`).
        append: put after the name (`procname-append`).
        name: the name of every process instead of "BRAND worker 1" (`procname`).
        master: the name of the master (`procname-master`).
    """

    def __init__(self, brand: str, *, on: bool = True, prefix: str = "", prefix_spaced: str = "",
                 append: str = "", name: str = "", master: str = "") -> None:
        self.brand = brand
        self.on = on
        self.prefix = prefix + (prefix_spaced + " " if prefix_spaced else "")
        self.append = append
        self.name = name
        self.master = master

    def of(self, role: str) -> str:
        """Return the title of "master", "template 1", "worker 1"..."""
        name = (self.master if role == "master" else "") or self.name or f"{self.brand} {role}"
        return self.prefix + name + self.append

    def set(self, role: str) -> None:
        """Set the title of this process to that of a role."""
        if not self.on:
            return
        try:
            from setproctitle import setproctitle
        except ImportError:
            self.on = False
            return
        setproctitle(self.of(role))
