"""uWSGI's `py-tracebacker`: a socket per worker that sends the worker's stacks.

A native thread serves it, so that it works while the hub is blocked. The thread uses
nothing of gevent; its sockets are the system's.
"""

import _socket
import logging
import os
import stat
from typing import Any

from gevent.monkey import get_original

from ...log import tracebacks
from . import stacks

log = logging.getLogger("geventuwsgi.error")

_start_new_thread = get_original("_thread", "start_new_thread")
# For a client that does not read, in seconds.
SEND_TIMEOUT = 5.0


class Tracebacker:
    """The socket of one worker.

    Args:
        path: the worker's number is appended to it, as uWSGI does.
        mode: of the socket's file; None leaves it to the umask.
        service: the worker's.
    """

    def __init__(self, path: str, mode: int | None, service: Any) -> None:
        self.path = f"{os.path.abspath(path)}{service.worker}"
        self._mode = mode
        self._service = service
        self._identity: tuple[int, int] | None = None
        self._sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)

    def start(self) -> None:
        """Listen. A failure is logged, and the worker serves without the socket."""
        try:
            # Left by an earlier worker, or in use by the one that this worker replaces.
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
        info = os.stat(self.path)
        self._identity = info.st_dev, info.st_ino
        _start_new_thread(self._serve, ())
        log.info("python tracebacker for worker %d available on %s", self._service.worker,
                 self.path)

    def stop(self) -> None:
        """Remove the file, unless another worker has replaced it."""
        if self._identity is not None:
            try:
                info = os.stat(self.path)
                if (info.st_dev, info.st_ino) == self._identity:
                    os.unlink(self.path)
            except FileNotFoundError:
                pass

    def _serve(self) -> None:
        """The body of the thread."""
        while True:
            try:
                fd, _ = self._sock._accept()  # type: ignore[attr-defined]
            except OSError:
                return
            peer = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
            try:
                peer.settimeout(SEND_TIMEOUT)
                peer.sendall(self.text().encode("utf-8", "backslashreplace"))
            except OSError:
                pass  # the client left, or does not read
            finally:
                peer.close()

    def text(self) -> str:
        """Return the stacks in uWSGI's form."""
        parts = ["*** uWSGI Python tracebacker output ***\n"]
        parts += [tracebacks.uwsgi_lines(one.label, one.frame)
                  for one in stacks.sections(self._service)]
        return "\n".join(parts) + "\n"
