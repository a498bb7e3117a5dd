"""What templates and workers report to the master, checked before anything is believed.

They run the application, as its user, and the master may be root. So:

- The kernel says who sends (SO_PASSCRED). A worker is the process that sends `pid`, if that is
  a child of ours: until we reap it, its pid is not used again. Later messages are from it alone.
- Each message has its place in an order (`TEMPLATE`, `WORKER`), and is accepted once.
- Numbers have bounds, and so has what one process may send in all.
- A process that sends anything else is not heard again; its generation kills it.
"""

import logging
import os
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..ipc import channel
from ..ipc.channel import (
    FAILED, FILES, FORKED, FOUND_ASGI, LOADED, PID, READY, REPLACE, WRONG_INTERFACE,
)

logger = logging.getLogger("geventuwsgi.error")

AT_ONCE = 512           # messages read in one turn of the loop; a socket buffers some 300
FILES_LIMIT = 8 << 20   # bytes of `files` from one process; 10,000 modules are 1 MB
FOREIGN_LIMIT = 100     # messages from other processes: children that the application forked
LONGEST_NUMBER = 10     # digits
SHOWN = 80              # bytes of a message in the log

Order = Mapping[bytes, tuple[tuple[bytes, ...], tuple[bytes, ...]]]

# Of each message: what must have been received, and what must not.
TEMPLATE: Order = {
    LOADED: ((), (FAILED, WRONG_INTERFACE)),
    FAILED: ((), (WRONG_INTERFACE,)),
    WRONG_INTERFACE: ((), (LOADED, FAILED, FOUND_ASGI)),
    FOUND_ASGI: ((), (LOADED, FAILED, WRONG_INTERFACE)),
    FILES: ((), ())}
WORKER: Order = {
    FORKED: ((), ()),   # two processes send it, perhaps later than the worker its own
    PID: ((), ()),
    WRONG_INTERFACE: ((PID,), (READY, FAILED)),
    READY: ((PID,), (FAILED,)),
    REPLACE: ((PID,), (FAILED,)),
    FAILED: ((PID,), ()),
    FILES: ((PID,), ())}
TIMES = {FORKED: 2}     # all others once, but FILES


class ReportError(Exception):
    """A process sent what it may not."""


class Report(NamedTuple):
    """A message to the master.

    Attributes:
        kind: the message's constant in `ipc.channel`.
        value: LOADED, FORKED, PID: the number, PID's from the kernel; FAILED: (status, reason);
            REPLACE: the reason; FILES: the paths; else None.
        uid: of the sender.
    """

    kind: bytes
    value: Any
    uid: int


END = Report(b"", None, 0)      # end-of-file


class Reports:
    """The messages of one process.

    Args:
        sock: our end of its control socket, prepared by `credentials.require`.
        order: `TEMPLATE` or `WORKER`.
        pid: the process; 0 if it is not known yet.
    """

    def __init__(self, sock: socket.socket, order: Order, pid: int = 0) -> None:
        self._sock = sock
        self._order = order
        self._pid = pid
        self._received = Counter([PID] if pid else ())
        self._files = 0
        self._foreign = 0

    def read(self) -> Iterator[Report]:
        """Yield what has arrived, up to `AT_ONCE` messages, and `END` at the end.

        Raises:
            ReportError: a message that is none, or not now.
        """
        for _ in range(AT_ONCE):
            message, pid, uid = channel.receive_with_sender(self._sock)
            if message is None:
                return
            if message == b"":
                yield END
                return
            kind = self._kind(message)
            if kind not in (PID, FORKED) and pid != self._pid and self._pid:
                self._ignore(message, pid)
                continue
            self._check(kind, message)
            if kind == PID:
                self._pid = _child(pid)
            yield Report(kind, pid if kind == PID else self._value(kind, message), uid)

    def _kind(self, message: bytes) -> bytes:
        for kind in self._order:
            if message == kind or kind.endswith(b" ") and message.startswith(kind):
                return kind
        raise ReportError(f"it sent {message[:SHOWN]!r}, which is no message")

    def _ignore(self, message: bytes, pid: int) -> None:
        if not self._foreign:
            logger.warning("process %d sent %r on the control socket of process %d: ignored",
                           pid, message[:SHOWN], self._pid)
        self._foreign += 1
        if self._foreign > FOREIGN_LIMIT:
            raise ReportError("other processes send on its control socket")

    def _check(self, kind: bytes, message: bytes) -> None:
        after, before = self._order[kind]
        received = self._received
        received[kind] += 1
        if (len(message) > channel.LIMIT or (kind != FILES and received[kind] > TIMES.get(kind, 1))
                or any(one not in received for one in after)
                or any(one in received for one in before)):
            raise ReportError(f"it sent {message[:SHOWN]!r}, which it may not now")

    def _value(self, kind: bytes, message: bytes) -> Any:
        text = message.removeprefix(kind)
        if kind in (LOADED, FORKED):
            return _number(text)
        if kind == FAILED:
            status, _, reason = text.partition(b" ")
            return _number(status, 255), reason.decode("utf-8", "replace")
        if kind == REPLACE:
            return text.decode("utf-8", "replace")
        if kind == FILES:
            self._files += len(text)
            if self._files > FILES_LIMIT:
                raise ReportError(f"it reports more than {FILES_LIMIT} bytes of paths")
            return text.decode("utf-8", "surrogateescape").split("\0")
        return None


def _number(text: bytes, most: int = 0) -> int:
    if not text.isdigit() or len(text) > LONGEST_NUMBER or most and not 0 < int(text) <= most:
        raise ReportError(f"it sent {text[:SHOWN]!r} for a number")
    return int(text)


def _child(pid: int) -> int:
    if not is_child(pid):
        raise ReportError(f"process {pid} is no child of the master")
    return pid


def is_child(pid: int) -> bool:
    """Whether a process is a child of this one that was not reaped yet."""
    if not 0 < pid < 1 << 31:
        return False
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
