"""Which files a process has imported: told by templates and workers, watched by the master.

For `py-autoreload`. The master runs no code of the application and so cannot know its
modules; each template and worker names the files that it has not named yet, in pieces on
its control socket.
"""

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

from . import control

logger = logging.getLogger("geventuwsgi.error")

PIECE = 3500    # bytes of names in one message

_LIBRARY = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_HOUSE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


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
            if not control.send(sock, control.FILES + "\0".join(piece).encode(
                    "utf-8", "surrogateescape"), wait=wait):
                return
            self._told.update(piece)
        self._count = len(sys.modules)

    def _files(self) -> Iterator[str]:
        for name, module in list(sys.modules.items()):
            path = getattr(module, "__file__", None)
            if (isinstance(path, str) and path.endswith(".py") and _counts(path)
                    and not any(name == one or name.startswith(one + ".")
                                for one in self._ignore)):
                yield os.path.abspath(path)


def _counts(path: str) -> bool:
    if path.startswith(_HOUSE):
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


class Autoreload:
    """Looks at the files that were named, and reloads when one has changed.

    An `Attached` of the master.

    Args:
        every: seconds between two looks.
        action: the reload.

    Attributes:
        verdict: always None: files end no instance.
    """

    verdict: int | None = None
    gone = True

    def __init__(self, every: float, action: Callable[[], None]) -> None:
        self.every = every
        self._action = action
        self._seen: dict[str, int | None] = {}
        self._due = 0.0

    def add(self, paths: Iterable[str]) -> None:
        """Look at these files too, from their present state on."""
        for path in paths if self.every else ():
            if path not in self._seen:
                self._seen[path] = _stamp(path)

    def begin(self, now: float) -> None:
        """Wait for files to be named."""

    def tend(self, now: float) -> float:
        """Look, if it is time; what changed between two looks is one reload."""
        if not self.every:
            return now + 60.0
        if now >= self._due:
            self._due = now + self.every
            changed = [path for path, stamp in self._seen.items() if _stamp(path) != stamp]
            for path in changed:
                self._seen[path] = _stamp(path)
            if changed:
                logger.info("[uwsgi-python-reloader] module/file %s has been modified", changed[0])
                self._action()
        return self._due

    def exited(self, pid: int, status: int) -> bool:
        """Say that it was not ours: files are no processes."""
        return False

    def reloaded(self, now: float) -> None:
        """Go on as before."""

    def stop(self, now: float) -> None:
        """Look no more."""
        self.every = 0.0

    kill = stop

    def statistics(self) -> dict[str, object]:
        """Return how many files are looked at."""
        return {"autoreload_files": len(self._seen)}


def _stamp(path: str) -> int | None:
    """Return the time of the last modification; None for a file that is not there."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None
