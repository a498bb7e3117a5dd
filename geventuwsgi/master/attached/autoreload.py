"""Which files a process has imported: told by templates and workers, watched by the master.

For `py-autoreload`. The master runs no code of the application and so cannot know its
modules; each template and worker names the files that it has not named yet, in pieces on
its control socket. A name with a slash at its end is a directory from which a module was
missing: the file that mends that is not there yet.
"""

import glob
import logging
import os
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from ...ipc import channel
from .attached import Attached

logger = logging.getLogger("geventuwsgi.error")

PIECE = 3500    # bytes of names in one message

_LIBRARY = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_PACKAGE_DIRECTORY = os.path.dirname(os.path.dirname(
    os.path.dirname(os.path.abspath(__file__)))) + os.sep


class Imported:
    """The files of the modules of this process.

    Args:
        ignore: names of modules that do not count, with all beneath them.
    """

    def __init__(self, ignore: Sequence[str] = ()) -> None:
        self._ignore = tuple(ignore)
        self._told: set[str] = set()
        self._count = 0

    def report(self, sock: socket.socket, more: Iterable[str] = (), *,
               wait: bool = False) -> None:
        """Name the files that are new.

        Args:
            sock: the control socket.
            more: files beside those of the modules: where an import failed.
            wait: wait until the master takes them; otherwise the rest is told next time.
        """
        files = [*more]
        if len(sys.modules) != self._count:
            files += self._files()
        for piece in _pieces([path for path in files if path not in self._told]):
            if not channel.send(sock, channel.FILES + "\0".join(piece).encode(
                    "utf-8", "surrogateescape"), wait=wait):
                return
            self._told.update(piece)
        self._count = len(sys.modules)

    def _files(self) -> Iterator[str]:
        for name, module in list(sys.modules.items()):
            try:    # not getattr(): a lazy module would be loaded, or raise whatever it likes
                path = object.__getattribute__(module, "__dict__").get("__file__")
            except AttributeError:
                continue
            if (isinstance(path, str) and path.endswith(".py") and _counts(path)
                    and not any(name == one or name.startswith(one + ".")
                                for one in self._ignore)):
                yield os.path.abspath(path)


def _counts(path: str) -> bool:
    if path.startswith(_PACKAGE_DIRECTORY):
        return False
    return not path.startswith(_LIBRARY) or "-packages" + os.sep in path


def _pieces(paths: Sequence[str]) -> Iterator[list[str]]:
    piece: list[str] = []
    size = 0
    for path in dict.fromkeys(paths):
        if piece and size + len(path) > PIECE:
            yield piece
            piece, size = [], 0
        piece.append(path)
        size += len(os.fsencode(path)) + 1
    if piece:
        yield piece


def files_of(error: BaseException | None) -> list[str]:
    """Return the files in which an import failed, also those that never became modules."""
    found = []
    while error is not None:
        if isinstance(error, SyntaxError) and error.filename:
            found.append(error.filename)
        traceback = error.__traceback__
        while traceback is not None:
            found.append(traceback.tb_frame.f_code.co_filename)
            traceback = traceback.tb_next
        error = error.__cause__ or error.__context__
    return [os.path.abspath(path) for path in found
            if path.endswith(".py") and _counts(path)]


def directories_of(files: Iterable[str]) -> list[str]:
    """Return where a missing module may appear, each with a slash at its end.

    Args:
        files: those in which the import failed.
    """
    known = [os.path.abspath(path) for path in sys.path]
    known += [os.path.dirname(path) for path in files]
    return [path + "/" for path in dict.fromkeys(known)
            if os.path.isdir(path) and not (path + os.sep).startswith((_LIBRARY,
                                                                       _PACKAGE_DIRECTORY))
            and not path.endswith("-packages")]


Stamp = tuple[int, int, int]    # modification time, inode, size


class Autoreload(Attached):
    """Looks at the files that were named, and reloads when one has changed.

    An `Attached` of the master.

    Args:
        every: seconds between two looks.
        action: the reload.
    """

    def __init__(self, every: float, action: Callable[[], None]) -> None:
        self.every = every
        self._action = action
        self._seen: dict[str, Stamp | None] = {}
        self._missing: set[str] = set()
        self._awaited: dict[str, frozenset[str]] = {}
        self._patterns: dict[str, dict[str, Stamp | None]] = {}
        self._templates: Templates | None = None
        self._due = 0.0
        self._read_since = time.time_ns()

    def configure(self, every: float, patterns: Iterable[str] = (), *,
                  templates: bool = False) -> None:
        """Take on a configuration, the first or that of a reload.

        Args:
            every: seconds between two looks; 0 is never.
            patterns: files that are looked at too, whether they are there or not.
            templates: look at the templates beside the modules too.
        """
        self.every = every
        self._patterns = {one: self._patterns[one] if one in self._patterns else _stamps(one)
                          for one in patterns}
        if not templates:
            self._templates = None
        elif self._templates is None:
            self._templates = Templates()
            self._templates.add(self._seen)

    def add(self, paths: Iterable[str]) -> None:
        """Look at these files too, from their present state on.

        One that was written since the code began to be loaded may have been read before
        that, and counts as changed.
        """
        for path in paths:
            if path.endswith("/"):
                self._awaited.setdefault(path, _modules_in(path))
            elif path not in self._seen:
                stamp = _stamp(path)
                late = stamp is not None and stamp[0] > self._read_since
                self._seen[path] = (0, 0, 0) if late else stamp
                if self._templates is not None:
                    self._templates.add([path])

    def poll(self, now: float) -> float:
        """Look, if it is time; what changed between two looks is one reload."""
        if not self.every:
            return now + 60.0
        if now >= self._due:
            self._due = now + self.every
            changed = [*self._changed(), *self._come(), *self._others()]
            if changed:
                logger.info("[uwsgi-python-reloader] module/file %s has been modified", changed[0])
                self._awaited.clear()
                self._read_since = time.time_ns()
                self._action()
        return self._due

    def _changed(self) -> Iterator[str]:
        """Yield the files of modules that have changed."""
        for path, before in self._seen.items():
            stamp = _stamp(path)
            if stamp == before:
                self._missing.discard(path)
            elif stamp is None and path not in self._missing:
                self._missing.add(path)     # an editor may be about to put it back
            else:
                self._missing.discard(path)
                self._seen[path] = stamp
                yield path

    def _come(self) -> Iterator[str]:
        """Yield modules that have appeared where one was missing."""
        for directory, before in self._awaited.items():
            for name in _modules_in(directory) - before:
                yield directory + name

    def _others(self) -> Iterator[str]:
        """Yield other files that have changed."""
        for pattern, before in self._patterns.items():
            now = _stamps(pattern)
            self._patterns[pattern] = now
            yield from (path for path in {**before, **now} if before.get(path) != now.get(path))
        template = self._templates.changed() if self._templates is not None else None
        if template is not None:
            yield template

    def stop(self, now: float) -> None:
        """Look no more."""
        self.every = 0.0


def _stamp(path: str) -> Stamp | None:
    """Return what changes with a file; None for one that is not there."""
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_mtime_ns, state.st_ino, state.st_size


def _stamps(pattern: str) -> dict[str, Stamp | None]:
    paths = glob.glob(pattern) if glob.has_magic(pattern) else [pattern]
    outputs = own_output()
    return {path: stamp for path, stamp in ((path, _stamp(path)) for path in paths)
            if stamp is None or stamp[1] not in outputs}


def _modules_in(directory: str) -> frozenset[str]:
    """Return the names of modules and packages in a directory."""
    try:
        with os.scandir(directory) as entries:
            return frozenset(
                one.name for one in entries if not one.name.startswith((".", "__pycache__"))
                and (one.name.endswith(".py") or one.is_dir()))
    except OSError:
        return frozenset()


# Which templates stand beside the modules of an application, and whether one has changed.
#
# For development runs. Engines read templates when they need them and keep them; nobody tells
# which. So the directories of the modules are looked through: the templates that lie there,
# and all below a directory that is called as frameworks call it, plain text there too. Beside a
# module that is what an application writes as well as reads: a reload would cause the next one.
#
# Called in the master only. A look at 2,000 files takes some 10 ms.

ENDINGS = (".html", ".htm", ".xhtml", ".jinja", ".jinja2", ".j2", ".mako", ".mak", ".pt", ".zpt",
           ".tpl", ".tmpl", ".mustache", ".hbs")
TEXTS = (*ENDINGS, ".txt", ".xml")          # in the places of templates
PLACES = ("templates", "jinja2", "views")   # Django's and Flask's, Django's Jinja, Bottle's
# Beyond these a directory is no application's templates, and looking would be felt.
MOST_FILES = 2000
MOST_DEPTH = 6


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
