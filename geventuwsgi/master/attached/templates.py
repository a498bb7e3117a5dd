"""Which templates stand beside the modules of an application, and whether one has changed.

For development runs. Engines read templates when they need them and keep them; nobody tells
which. So the directories of the modules are looked through: the templates that lie there,
and all below a directory that is called as frameworks call it, plain text there too. Beside a
module that is what an application writes as well as reads: a reload would cause the next one.

Called in the master only. A look at 2,000 files takes some 10 ms.
"""

import logging
import os
import stat
from collections.abc import Iterable

logger = logging.getLogger("geventuwsgi.error")

ENDINGS = (".html", ".htm", ".xhtml", ".jinja", ".jinja2", ".j2", ".mako", ".mak", ".pt", ".zpt",
           ".tpl", ".tmpl", ".mustache", ".hbs")
TEXTS = (*ENDINGS, ".txt", ".xml")          # in the places of templates
PLACES = ("templates", "jinja2", "views")   # Django's and Flask's, Django's Jinja, Bottle's
# Beyond these a directory is no application's templates, and looking would be felt.
MOST_FILES = 2000
MOST_DEPTH = 6

Stamp = tuple[int, int, int]    # modification time, inode, size


class Templates:
    """The templates of one instance, and what they looked like last.

    An installed package's templates do not count, as nobody edits them there.
    """

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, Stamp] | None] = {}
        self._told = False

    def add(self, modules: Iterable[str]) -> None:
        """Look beside these files too, from the next look on."""
        for path in modules:
            if "-packages" + os.sep not in path:
                self._seen.setdefault(os.path.dirname(path), None)

    def changed(self) -> str | None:
        """Return the path of a template that has come, changed or gone since the last look."""
        found = None
        left = MOST_FILES
        for directory, before in self._seen.items():
            now = templates_of(directory, left)
            left -= len(now)
            self._seen[directory] = now
            if before is not None and before != now:
                found = found or next(path for path in {**before, **now}
                                      if before.get(path) != now.get(path))
        if left <= 0 and not self._told:
            self._told = True
            logger.warning("there are more than %d templates: changes of the rest do not reload",
                           MOST_FILES)
        return found


def templates_of(directory: str, most: int) -> dict[str, Stamp]:
    """Return the templates beside a module and what they look like.

    Args:
        directory: the module's.
        most: how many are looked at.
    """
    found: dict[str, Stamp] = {}
    _scan(directory, found, most, 0)
    outputs = own_output()
    return {path: stamp for path, stamp in found.items() if stamp[1] not in outputs}


def own_output() -> set[int]:
    """Return the inodes of the standard output and error: a reload writes there."""
    found = set()
    for fd in (1, 2):
        try:
            state = os.fstat(fd)
        except OSError:
            continue
        if stat.S_ISREG(state.st_mode):
            found.add(state.st_ino)
    return found


def _scan(directory: str, found: dict[str, Stamp], most: int, depth: int) -> None:
    """Look into a directory; below a module's (depth 0) only into the places of templates."""
    deeper = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if len(found) >= most:
                    return
                name = entry.name
                if name.startswith("."):
                    continue  # editors' and version control's
                if name.endswith(TEXTS if depth else ENDINGS) and entry.is_file():
                    state = entry.stat()
                    found[entry.path] = (state.st_mtime_ns, state.st_ino, state.st_size)
                elif (name in PLACES if depth == 0 else depth < MOST_DEPTH) \
                        and entry.is_dir(follow_symlinks=depth == 0):
                    deeper.append(entry.path)
    except OSError:
        return  # it went, or is nobody's business
    for path in sorted(deeper):
        _scan(path, found, most, depth + 1)
