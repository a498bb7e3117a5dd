"""`py-autoreload`: reloads when a module, a template or another watched file has changed.

The master does not import the application, so it cannot know its modules. Each template
process and worker reports the files that it has imported, in pieces on its control socket
(`Imported`); the master checks them (`Autoreload`). A path with a slash at its end is a
directory where a missing module may appear.

In development runs the templates of the modules' directories are checked too (`Templates`):
those beside a module, and all files, plain text too, in a directory with a name that
frameworks use. Other text beside a module does not count: an application that writes a file
there would cause reload after reload.
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
from ...log import tracebacks
from .attached import Attached

logger = logging.getLogger("geventuwsgi.error")

PIECE = 3500    # bytes of paths in one message

_LIBRARY = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_OWN_MODULES = tracebacks.PACKAGE_DIRECTORY + os.sep

# Templates of an application. Engines read them when they need them, and cache them.
ENDINGS = (".html", ".htm", ".xhtml", ".jinja", ".jinja2", ".j2", ".mako", ".mak", ".pt", ".zpt",
           ".tpl", ".tmpl", ".mustache", ".hbs")
TEXTS = (*ENDINGS, ".txt", ".xml")          # within DIRECTORIES
DIRECTORIES = ("templates", "jinja2", "views")  # of Django and Flask, Jinja in Django, Bottle
MAX_FILES = 2000    # scanning them takes about 10 ms
MAX_DEPTH = 6
MOST_PATHS = 20_000     # reported files and directories; checking them takes about 20 ms

Stamp = tuple[int, int, int]    # modification time, inode, size


class Imported:
    """The files of the modules of this process.

    Args:
        ignore: names of modules that do not count, nor their submodules.
    """

    def __init__(self, ignore: Sequence[str] = ()) -> None:
        self._ignore = tuple(ignore)
        self._reported: set[str] = set()
        self._others: list[str] = []    # given to `report`, and not reported yet
        self._count = 0

    def report(self, sock: socket.socket, more: Iterable[str] = (), *,
               wait: bool = False) -> None:
        """Report new files to the master.

        Args:
            sock: the control socket.
            more: files besides those of the modules: where an import failed.
            wait: wait until the master reads; otherwise the rest is reported next time.
        """
        self._others += more
        files = self._others.copy()
        if len(sys.modules) != self._count:
            files += self._files()
        for piece in _pieces([path for path in files if path not in self._reported]):
            if not channel.send(sock, channel.FILES + "\0".join(piece).encode(
                    "utf-8", "surrogateescape"), wait=wait):
                return
            self._reported.update(piece)
        self._others.clear()
        self._count = len(sys.modules)

    def _files(self) -> Iterator[str]:
        for name, module in list(sys.modules.items()):
            try:    # not getattr(): it would load a lazy module, which may raise anything
                path = object.__getattribute__(module, "__dict__").get("__file__")
            except AttributeError:
                continue
            if (isinstance(path, str) and path.endswith(".py") and _counts(path)
                    and not any(name == one or name.startswith(one + ".")
                                for one in self._ignore)):
                yield os.path.abspath(path)


def _counts(path: str) -> bool:
    if path.startswith(_OWN_MODULES):
        return False
    return not path.startswith(_LIBRARY) or "-packages" + os.sep in path


def _pieces(paths: Sequence[str]) -> Iterator[list[str]]:
    piece: list[str] = []
    size = 0
    for path in dict.fromkeys(paths):
        octets = len(path.encode("utf-8", "surrogateescape")) + 1
        if piece and size + octets > PIECE:
            yield piece
            piece, size = [], 0
        piece.append(path)
        size += octets
    if piece:
        yield piece


def files_of(error: BaseException | None) -> list[str]:
    """Return the files in which an import failed, also those that are not in sys.modules."""
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
    """Return the directories where a missing module may appear, with a slash at the end.

    Args:
        files: the files in which the import failed.
    """
    known = [os.path.abspath(path) for path in sys.path]
    known += [os.path.dirname(path) for path in files]
    return [path + "/" for path in dict.fromkeys(known)
            if os.path.isdir(path) and not (path + os.sep).startswith((_LIBRARY,
                                                                       _OWN_MODULES))
            and not path.endswith("-packages")]


class Autoreload(Attached):
    """Checks the reported files, and reloads when one has changed.

    Args:
        every: seconds between two checks.
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
        self._full = False      # reached MOST_PATHS
        self._read_since = time.time_ns()

    def configure(self, every: float, patterns: Iterable[str] = (), *,
                  templates: bool = False) -> None:
        """Apply a configuration, the first or that of a reload.

        Args:
            every: seconds between two checks; 0 = never.
            patterns: further files to check; they need not exist yet.
            templates: check the templates beside the modules too.
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
        """Check these files too, compared with their present state.

        A file that was written after loading had begun counts as changed: it may have been
        read before that.
        """
        for path in paths:
            if len(self._seen) + len(self._awaited) >= MOST_PATHS:
                if not self._full:
                    self._full = True
                    logger.warning("more than %d files were reported as imported: the rest is not "
                                   "checked for changes", MOST_PATHS)
                return
            if path.endswith("/"):
                self._awaited.setdefault(path, _modules_in(path))
            elif path not in self._seen:
                stamp = _stamp(path)
                late = stamp is not None and stamp[0] > self._read_since
                self._seen[path] = (0, 0, 0) if late else stamp
                if self._templates is not None:
                    self._templates.add([path])

    def poll(self, now: float) -> float:
        """Check, if it is time; all changes between two checks are one reload."""
        if not self.every:
            return now + 60.0
        if now >= self._due:
            self._due = now + self.every
            changed = [*self._changed(), *self._added(), *self._others()]
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
                self._missing.add(path)     # an editor may be about to write it again
            else:
                self._missing.discard(path)
                self._seen[path] = stamp
                yield path

    def _added(self) -> Iterator[str]:
        """Yield modules that have appeared in directories where one was missing."""
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
        """Stop checking."""
        self.every = 0.0


def _stamp(path: str) -> Stamp | None:
    """Return what changes with a file; None if there is no such file."""
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


class Templates:
    """The templates of an instance, and their state at the last check.

    Templates of installed packages do not count: they are not edited there.
    """

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, Stamp] | None] = {}
        self._reported = False

    def add(self, modules: Iterable[str]) -> None:
        """Check the directories of these files too, from the next check on."""
        for path in modules:
            if "-packages" + os.sep not in path:
                self._seen.setdefault(os.path.dirname(path), None)

    def changed(self) -> str | None:
        """Return the path of a template that was added, changed or removed since the last check."""
        found = None
        left = MAX_FILES
        for directory, before in self._seen.items():
            now = templates_of(directory, left)
            left -= len(now)
            self._seen[directory] = now
            if before is not None and before != now:
                found = found or next(path for path in {**before, **now}
                                      if before.get(path) != now.get(path))
        if left <= 0 and not self._reported:
            self._reported = True
            logger.warning("there are more than %d templates: the rest is not checked for changes",
                           MAX_FILES)
        return found


def templates_of(directory: str, most: int) -> dict[str, Stamp]:
    """Return the templates beside a module, with their state.

    Args:
        directory: the module's.
        most: how many are checked.
    """
    found: dict[str, Stamp] = {}
    _scan(directory, found, most, 0)
    outputs = own_output()
    return {path: stamp for path, stamp in found.items() if stamp[1] not in outputs}


def own_output() -> set[int]:
    """Return the inodes of the standard output and error: a reload writes to them."""
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
    """Scan a directory; below a module's (depth 0) only DIRECTORIES."""
    deeper = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if len(found) >= most:
                    return
                name = entry.name
                if name.startswith("."):
                    continue  # of editors and version control
                if name.endswith(TEXTS if depth else ENDINGS) and entry.is_file():
                    state = entry.stat()
                    found[entry.path] = (state.st_mtime_ns, state.st_ino, state.st_size)
                elif (name in DIRECTORIES if depth == 0 else depth < MAX_DEPTH) \
                        and entry.is_dir(follow_symlinks=depth == 0):
                    deeper.append(entry.path)
    except OSError:
        return  # it has gone, or is not readable
    for path in sorted(deeper):
        _scan(path, found, most, depth + 1)
