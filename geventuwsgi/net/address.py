"""Parse the addresses of sockets, in the spellings of uWSGI and gunicorn.

These are `host:port`, `:port` (all IPv4 addresses), `[v6]:port`, a path (any text without a
colon, as in uWSGI), `unix:path`, `unix:///path`, `@name` (Linux abstract), `fd://N` (an
inherited descriptor) and `fd://name` (one that systemd has named). Nothing here opens a socket
or resolves a name.
"""

import ipaddress
import re
import socket
from typing import NamedTuple

from ..errors import BindError

PATH_LIMIT = 107  # sizeof(sun_path) less the closing NUL, unix(7)


# RFC 1123 section 2.1, and `_` as docker-compose has it. getaddrinfo() answers a label that is
# empty or longer with UnicodeError, not with OSError.
_HOST = re.compile(r"([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?")


class Address(NamedTuple):
    """The address of a listener.

    Attributes:
        family: AF_INET, AF_INET6 or AF_UNIX; AF_UNSPEC for an inherited descriptor and for a
            host name that is not resolved.
        host: address or host name; "" in AF_INET = all.
        port: TCP port; 0 = the kernel chooses.
        path: the path of a unix socket; starts with NUL if it is abstract.
        inherited: number or name of an inherited descriptor.
    """

    family: int
    host: str = ""
    port: int = 0
    path: str = ""
    inherited: str = ""

    @property
    def is_unix(self) -> bool:
        """Whether this is a unix socket, possibly abstract."""
        return self.family == socket.AF_UNIX

    @property
    def text(self) -> str:
        """The address as operators write it: "127.0.0.1:8000", "[::1]:8000", "@name"."""
        if self.inherited:
            return f"fd://{self.inherited}"
        if self.is_unix:
            return "@" + self.path[1:] if self.path.startswith("\0") else self.path
        host = self.host or "0.0.0.0"
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


def parse(text: str) -> Address:
    """Parse an address.

    Raises:
        BindError: it is malformed; the message contains the text.
    """
    stripped = text.strip()
    if not stripped:
        raise BindError("an empty text is not a socket address")
    if stripped.startswith("fd://"):
        return _inherited(stripped)
    if stripped.startswith("unix:"):
        return _unix(re.sub(r"^unix:(//(?=[/@]))?", "", stripped), text)
    if stripped.startswith("tcp://"):
        return _tcp(stripped[6:], text)
    if stripped[0] in "@/\0" or stripped.startswith("\\0") or ":" not in stripped:
        return _unix(stripped, text)
    return _tcp(stripped, text)


def looks_like_tcp(address: Address) -> bool:
    """Whether a unix path is probably meant as a port, or as an IPv4 address without a port."""
    return address.is_unix and re.fullmatch(r"\d{1,5}|\d+\.\d+\.\d+\.\d+|localhost",
                                            address.path) is not None


def beyond_loopback(address: Address) -> bool:
    """Whether other machines can connect to this address."""
    if address.is_unix or address.inherited or address.host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(address.host or "0.0.0.0").is_loopback
    except ValueError:
        return True


def of_socket(sock: socket.socket) -> Address:
    """Return the address that an open socket is bound to."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        path = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
        return Address(socket.AF_UNIX, path=path)
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        return Address(sock.family, host=name[0], port=name[1])
    raise BindError(f"descriptor {sock.fileno()} is neither a TCP nor a unix socket")


def _inherited(text: str) -> Address:
    name = text[5:]
    if not re.fullmatch(r"[!-~]+", name) or "/" in name:
        raise BindError(f"{text!r}: fd:// needs the number of a descriptor or its name in "
                        "systemd")
    return Address(socket.AF_UNSPEC, inherited=name)


def _unix(path: str, text: str) -> Address:
    for mark in ("@", "\\0", "\0"):
        if path.startswith(mark):
            path = "\0" + path[len(mark):]
            break
    if path in ("", "\0") or "\0" in path[1:]:
        raise BindError(f"{text!r} is not the path of a unix socket")
    length = len(path.encode("utf-8", "surrogateescape"))
    if length > PATH_LIMIT:
        raise BindError(f"{text!r}: the path of a unix socket has at most {PATH_LIMIT} bytes, "
                        f"this one has {length}")
    return Address(socket.AF_UNIX, path=path)


def _tcp(name: str, text: str) -> Address:
    host, _, digits = name.rpartition(":")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and int(digits) < 65536):
        raise BindError(f"{text!r}: {digits!r} is not a port number (0 to 65535)")
    port = int(digits)
    if host in ("", "*"):
        return Address(socket.AF_INET, "", port)
    if host.startswith("[") and host.endswith("]"):
        if not _literal(socket.AF_INET6, host[1:-1]):
            raise BindError(f"{text!r}: {host[1:-1]!r} is not an IPv6 address")
        return Address(socket.AF_INET6, host[1:-1], port)
    if ":" in host:
        raise BindError(f"{text!r}: an IPv6 address needs brackets, as in [::1]:8000")
    if re.fullmatch(r"[\d.]+", host):
        if not _literal(socket.AF_INET, host):
            raise BindError(f"{text!r}: {host!r} is not an IPv4 address")
        return Address(socket.AF_INET, host, port)
    if len(host) > 253 or not _HOST.fullmatch(host):
        raise BindError(f"{text!r}: {host!r} is not a host name")
    return Address(socket.AF_UNSPEC, host, port)


def _literal(family: int, host: str) -> bool:
    try:
        socket.inet_pton(family, host)
    except (OSError, ValueError):   # ValueError: a NUL
        return False
    return True
