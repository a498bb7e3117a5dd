"""Process titles: what `ps` and `top` call master, template and workers.

uWSGI's options: `procname` names all alike, `procname-master` the master; prefix and
appendix stand around every name. Without the library `setproctitle` nothing changes.
"""


class Titles:
    """How the processes of one instance are called.

    Args:
        brand: the first word, "uWSGI" or "geventuwsgi".
        on: False leaves the titles as they are.
        prefix: stands before the name as it is (`procname-prefix`).
        prefix_spaced: stands before it with a blank (`procname-prefix-spaced`).
        append: stands behind it.
        name: the whole name of every process instead of "BRAND worker 1".
        master: the same for the master alone.
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
        """Give this process the title of a role."""
        if not self.on:
            return
        try:
            from setproctitle import setproctitle
        except ImportError:
            self.on = False
            return
        setproctitle(self.of(role))
