"""Lines that leave as datagrams: to a socket, to syslog here or elsewhere, to the journal.

The rules of this room: nothing waits for the other side. What a socket does not take now
stays here, up to `MAX_WAITING` bytes; past that it is counted and dropped. A syslog that is
started anew loses nothing: the lines of the meantime wait, and the socket is opened again.
"""

import errno
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from geventuwsgi.log.loggers import DAEMON_INFO, Logger
from geventuwsgi.log.sinks import MAX_WAITING, Sink, Warn

SYSLOG = "/dev/log"
JOURNAL = "/run/systemd/journal/socket"     # systemd's native protocol
AGAIN = 1.0     # seconds until a socket that could not be opened is tried again
PACKET = 1024   # bytes of an rsyslog datagram; RFC 3164's limit, and uWSGI's
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

Wrap = Callable[[bytes], Iterable[bytes]]   # from a message to its datagrams


class DatagramSink(Sink):
    """One datagram or more for each line.

    Args:
        address: a path, or a host and its port.
        wrap: makes the datagrams of a line.
        warn: see `Sink`.
    """

    def __init__(self, address: str | tuple[str, int], wrap: Wrap, *,
                 warn: Warn | None = None) -> None:
        super().__init__(warn)
        self._address = address
        self._wrap = wrap
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._socket: socket.socket | None = None
        self._again = 0.0
        self._found: list[tuple[int, tuple[object, ...]]] = []
        self._search: threading.Thread | None = None

    def write(self, data: bytes) -> None:
        self.messages([line + b"\n" for line in data.removesuffix(b"\n").split(b"\n")])

    def messages(self, messages: Sequence[bytes]) -> None:
        for message in messages:
            for datagram in self._wrap(message):
                if self._size + len(datagram) > MAX_WAITING:
                    self._drop(datagram, f"{self._name()} is slow or gone")
                else:
                    self._waiting.append(datagram)
                    self._size += len(datagram)
        self.flush()

    def flush(self) -> bool:
        waiting = self._waiting
        while waiting:
            sock = self._socket or self._open()
            if sock is None:
                return False
            try:
                sock.send(waiting[0])
            except BlockingIOError:
                return False
            except OSError as error:
                if isinstance(error, ConnectionRefusedError) and self._socket is not None \
                        and sock.family != socket.AF_UNIX:
                    # UDP: somebody refused an earlier one, which is gone; this one may not be.
                    self._drop(b"", f"{self._name()}: {error.strerror}")
                    try:
                        sock.send(waiting[0])
                    except OSError:
                        return self._shut()
                elif len(waiting[0]) > PACKET and error.errno == errno.EMSGSIZE:
                    self._size -= len(waiting[0])
                    waiting[0] = waiting[0][:PACKET]
                    self._size += len(waiting[0])
                    continue
                else:
                    return self._shut()
            self._size -= len(waiting.popleft())
        if self._untold and self._socket is not None:
            told, self._untold = self._loss(), 0
            self.messages([told])
        return True

    def _shut(self) -> bool:
        """Give the socket up; the next attempt is made after a moment."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._again = time.monotonic() + AGAIN
        return False

    def _open(self) -> socket.socket | None:
        if time.monotonic() < self._again:
            return None
        sock: socket.socket | None = None
        try:
            if isinstance(self._address, str):
                family: int = socket.AF_UNIX
                address: object = self._address
            elif found := self._resolved(*self._address):
                family, address = found
            else:
                return None
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            sock.setblocking(False)
            sock.connect(address)  # type: ignore[arg-type]
        except OSError:
            if sock is not None:
                sock.close()
            self._again = time.monotonic() + AGAIN
            return None
        self._socket = sock
        return sock

    def _resolved(self, host: str, port: int) -> tuple[int, object] | None:
        """Return an address, None as long as the resolver is at work.

        A resolver may take its time, so it works in a thread of its own.
        """
        if self._found:
            family, address = self._found.pop()
            return family, address
        if self._search is None or not self._search.is_alive():
            self._search = threading.Thread(target=self._resolve, args=(host, port), daemon=True)
            self._search.start()
            self._search.join(0.05)     # an address in digits needs no resolver
            if self._found:
                return self._resolved(host, port)
            self._again = time.monotonic() + AGAIN / 5
        return None

    def _resolve(self, host: str, port: int) -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError):
            return
        self._found[:] = [(found[0][0], found[0][4])]

    def _name(self) -> str:
        return self._address if isinstance(self._address, str) else "%s:%d" % self._address

    def close(self) -> None:
        self.flush()
        if self._socket is not None:
            self._socket.close()

    def statistics(self) -> dict[str, int]:
        return {"dropped_lines": self.dropped, "waiting_bytes": self._size}


def open_datagrams(logger: Logger, *, packet: int = PACKET, split: bool = False,
                   warn: Warn | None = None) -> DatagramSink:
    """Open a logger of the kinds socket, syslog, rsyslog and systemd.

    Args:
        packet: bytes of an rsyslog datagram.
        split: whether rsyslog splits longer lines instead of cutting them.
        warn: see `Sink`.
    """
    if logger.kind == "socket":
        prefix = logger.prefix.encode()
        return DatagramSink(_address(logger.target), lambda line: (prefix + line,), warn=warn)
    if logger.kind == "systemd":
        return DatagramSink(JOURNAL, _journal(logger.prefix or "uwsgi"), warn=warn)
    if logger.kind == "syslog":
        return DatagramSink(SYSLOG, _syslog(logger.prefix or "uwsgi", logger.priority,
                                            1 << 16, False), warn=warn)
    return DatagramSink(
        _address(logger.target),
        _syslog(logger.prefix or os.uname().nodename, logger.priority, packet, split), warn=warn)


def _address(target: str) -> str | tuple[str, int]:
    if target.startswith("@"):
        return "\0" + target[1:]
    host, colon, port = target.rpartition(":")
    return (host.strip("[]"), int(port)) if colon else target


def _syslog(name: str, priority: int, packet: int, split: bool) -> Wrap:
    """Wrap lines in the BSD form (RFC 3164), as uWSGI and the C library do."""
    second, head = -1, b""

    def wrap(line: bytes) -> list[bytes]:
        nonlocal second, head
        now = int(time.time())
        if now != second:
            second, moment = now, time.localtime(now)
            date = f"{_MONTHS[moment.tm_mon - 1]} {moment.tm_mday:2d} " + time.strftime(
                "%H:%M:%S", moment)
            head = f"<{priority}>{date} {name}: ".encode()
        text = line.rstrip(b"\n")
        room = max(packet - len(head), 1)
        pieces = [text[start:start + room] for start in range(0, len(text), room)] or [b""]
        return [head + piece for piece in (pieces if split else pieces[:1])]

    return wrap


def _journal(name: str) -> Wrap:
    """Wrap lines in the journal's native form."""
    fields = f"PRIORITY={DAEMON_INFO % 8}\nSYSLOG_IDENTIFIER={name}\nMESSAGE".encode()

    def wrap(line: bytes) -> list[bytes]:
        text = line.rstrip(b"\n")
        if b"\n" in text:   # an encoder's: with its length in front
            return [fields + b"\n" + len(text).to_bytes(8, "little") + text + b"\n"]
        return [fields + b"=" + text + b"\n"]

    return wrap
