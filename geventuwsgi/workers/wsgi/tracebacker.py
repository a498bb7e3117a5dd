"""uWSGI's `py-tracebacker`: who connects to a worker's socket is told its stacks.

The rules of this room: a native thread of its own answers, so that a worker whose hub is
blocked answers too. It touches nothing of gevent; its sockets are the system's.
"""

import _socket
import logging
import os
import stat
from typing import Any

from gevent.monkey import get_original

from ...log import tracebacks
from . import stacks as census

log = logging.getLogger("geventuwsgi.error")

_start_new_thread = get_original("_thread", "start_new_thread")
# A reader that takes nothing for so long, in seconds, has seen enough.
PATIENCE = 5.0


class Tracebacker:
    """The socket of one worker.

    Args:
        path: the worker's number is put behind it, as uWSGI does.
        mode: of the socket's file, None = what the umask leaves.
        service: the worker's.
    """

    def __init__(self, path: str, mode: int | None, service: Any) -> None:
        self.path = f"{os.path.abspath(path)}{service.worker}"
        self._mode = mode
        self._service = service
        self._identity: tuple[int, int] | None = None
        self._sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)

    def start(self) -> None:
        """Listen; a worker that cannot says so and serves on."""
        try:
            # Of a worker before us, or of the one that we replace.
            if os.path.lexists(self.path) and stat.S_ISSOCK(os.lstat(self.path).st_mode):
                os.unlink(self.path)
            self._sock.bind(self.path)
            if self._mode is not None:
                os.chmod(self.path, self._mode)
            self._sock.listen(128)
        except OSError as error:
            log.error("py-tracebacker: cannot listen on %s: %s", self.path, error.strerror)
            self._sock.close()
            return
        made = os.stat(self.path)
        self._identity = made.st_dev, made.st_ino
        _start_new_thread(self._serve, ())
        log.info("python tracebacker for worker %d available on %s", self._service.worker,
                 self.path)

    def stop(self) -> None:
        """Remove the file, unless it is another worker's by now."""
        if self._identity is not None:
            try:
                made = os.stat(self.path)
                if (made.st_dev, made.st_ino) == self._identity:
                    os.unlink(self.path)
            except FileNotFoundError:
                pass

    def _serve(self) -> None:
        """The thread."""
        while True:
            try:
                fd, _ = self._sock._accept()  # type: ignore[attr-defined]
            except OSError:
                return
            peer = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
            try:
                peer.settimeout(PATIENCE)
                peer.sendall(self.text().encode("utf-8", "backslashreplace"))
            except OSError:
                pass  # it left, or does not read
            finally:
                peer.close()

    def text(self) -> str:
        """Return the stacks in uWSGI's form."""
        parts = ["*** uWSGI Python tracebacker output ***\n"]
        parts += [tracebacks.uwsgi_lines(one.label, one.frame)
                  for one in census.sections(self._service)]
        return "\n".join(parts) + "\n"
