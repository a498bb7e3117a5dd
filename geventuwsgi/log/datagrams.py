"""Log lines as datagrams: to a socket, to a local or remote syslog, or to the journal.

Writing never waits for the receiver. Datagrams that the socket does not accept now are kept,
up to `MAX_WAITING` bytes; beyond that lines are counted and dropped. While a syslog restarts,
lines are kept and the socket is opened again.
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
from geventuwsgi.log.timestamps import syslog_date

SYSLOG = "/dev/log"
JOURNAL = "/run/systemd/journal/socket"     # systemd's native protocol
RECONNECT_DELAY = 1.0     # seconds until a socket that could not be opened is tried again
PACKET = 1024   # bytes of an rsyslog datagram; RFC 3164's limit, and uWSGI's

Wrap = Callable[[bytes], Iterable[bytes]]   # from a message to its datagrams


class DatagramSink(Sink):
    """A sink that sends each line as one or more datagrams.

    Args:
        address: a path, or host and port.
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
        self._next_attempt = 0.0
        self._resolved_address: list[tuple[int, tuple[object, ...]]] = []
        self._resolver: threading.Thread | None = None

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
                    # UDP: this is the error of an earlier datagram, which is lost.
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
        if self._unreported and self._socket is not None:
            report, self._unreported = self._loss(), 0
            self.messages([report])
        return True

    def _shut(self) -> bool:
        """Close the socket; the next attempt to open it is made after `RECONNECT_DELAY`."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._next_attempt = time.monotonic() + RECONNECT_DELAY
        return False

    def _open(self) -> socket.socket | None:
        if time.monotonic() < self._next_attempt:
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
            self._next_attempt = time.monotonic() + RECONNECT_DELAY
            return None
        self._socket = sock
        return sock

    def _resolved(self, host: str, port: int) -> tuple[int, object] | None:
        """Return an address, or None while a thread resolves the name.

        The resolver may block for a long time, so it runs in a thread of its own.
        """
        if self._resolved_address:
            family, address = self._resolved_address.pop()
            return family, address
        if self._resolver is None or not self._resolver.is_alive():
            self._resolver = threading.Thread(target=self._resolve, args=(host, port), daemon=True)
            self._resolver.start()
            self._resolver.join(0.05)     # long enough for a numeric address
            if self._resolved_address:
                return self._resolved(host, port)
            self._next_attempt = time.monotonic() + RECONNECT_DELAY / 5
        return None

    def _resolve(self, host: str, port: int) -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError):
            return
        self._resolved_address[:] = [(found[0][0], found[0][4])]

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
        split: whether rsyslog splits longer lines instead of truncating them.
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
    """Make datagrams in the BSD form (RFC 3164), as uWSGI and the C library do."""
    second, head = -1, b""

    def wrap(line: bytes) -> list[bytes]:
        nonlocal second, head
        now = int(time.time())
        if now != second:
            second = now
            head = f"<{priority}>{syslog_date(now)} {name}: ".encode()
        text = line.rstrip(b"\n")
        size = max(packet - len(head), 1)
        pieces = [text[start:start + size] for start in range(0, len(text), size)] or [b""]
        return [head + piece for piece in (pieces if split else pieces[:1])]

    return wrap


def _journal(name: str) -> Wrap:
    """Make datagrams in the journal's native form."""
    fields = f"PRIORITY={DAEMON_INFO % 8}\nSYSLOG_IDENTIFIER={name}\nMESSAGE".encode()

    def wrap(line: bytes) -> list[bytes]:
        text = line.rstrip(b"\n")
        if b"\n" in text:   # from an encoder; such a value follows its length
            return [fields + b"\n" + len(text).to_bytes(8, "little") + text + b"\n"]
        return [fields + b"=" + text + b"\n"]

    return wrap
