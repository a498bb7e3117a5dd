"""Listening sockets: bind them, inherit them from systemd, or recreate them after an exec.

The master does this, except for `Listener.from_json`, which its children call.

- `TCP_NODELAY`, `SO_KEEPALIVE` and the buffer sizes are set on the listening socket: in Linux
  every accepted socket inherits them (tcp(7)), which saves system calls.
- The file of a unix socket is replaced only if no process listens on it, and removed only if
  it is still the file that this server created.
"""

import errno
import json
import logging
import os
import socket
import stat
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from ..errors import BindError
from ..rights import User, acting_as, give_away, reaching, rights_for
from . import address as addresses
from .address import Address

logger = logging.getLogger("geventuwsgi.error")

PROTOCOLS = ("http", "https", "uwsgi")
SOMAXCONN = "/proc/sys/net/core/somaxconn"
IP_FREEBIND = 15     # linux/in.h; Python has no name for it
FIRST_SYSTEMD_FD = 3  # SD_LISTEN_FDS_START, sd_listen_fds(3)
_IN_USE = "address already in use, another process listens there"


class Listener:
    """A listening socket and its protocol.

    Attributes:
        socket: a `socket.socket`, listening, non-blocking.
        protocol: "http", "https" or "uwsgi".
        context: the TLS context for https, in the processes that accept.
        address: the actual address (the port that the kernel chose instead of 0).
        owned: whether this server bound it; an inherited socket is left unchanged.
        proxied: whether trusted peers may begin with a PROXY header.
    """

    proxied = False

    def __init__(self, sock: socket.socket, protocol: str, address: Address, *,
                 inode: tuple[int, int] | None = None, owned: bool = False) -> None:
        self.socket = sock
        self.protocol = protocol
        self.context: Any = None
        self.address = address
        self.owned = owned
        self._inode = inode  # device and inode of the socket file that we created

    @property
    def is_unix(self) -> bool:
        """Whether it is a unix socket, whose peers have no address."""
        return self.address.is_unix

    @property
    def has_file(self) -> bool:
        """Whether we created a socket file for it."""
        return self._inode is not None

    @cached_property
    def url(self) -> str:
        """The address with its protocol; for HTTP over TCP it is a link in terminals."""
        return f"{self.protocol}://{'unix:' if self.is_unix else ''}{self.address.text}"

    def peer_name(self, host: str, port: int | str) -> str:
        """Return the name of a client in the log.

        Args:
            host, port: of the client; "" for one without an address.
        """
        return f"{host}:{port}" if host else f"a client of {self.url}"

    def to_json(self) -> str:
        """Serialize it for a process that inherits the descriptor."""
        return json.dumps({"fd": self.socket.fileno(), "protocol": self.protocol,
                           "proxied": self.proxied})

    @classmethod
    def from_json(cls, text: str) -> "Listener":
        """Recreate a listener from `to_json` and the inherited descriptor."""
        data = json.loads(text)
        sock = socket.socket(fileno=data["fd"])
        sock.setblocking(False)
        os.set_inheritable(sock.fileno(), False)
        listener = cls(sock, data["protocol"], addresses.of_socket(sock))
        listener.proxied = data["proxied"]
        return listener

    def describe(self) -> tuple[str, bool, tuple[int, int] | None]:
        """Return the arguments of `from_exec` after the descriptor."""
        return self.protocol, self.owned, self._inode

    @classmethod
    def from_exec(cls, fd: int, protocol: str, owned: bool,
                  inode: Sequence[int] | None) -> "Listener":
        """Recreate a listener of this process after an exec."""
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        os.set_inheritable(fd, False)
        return cls(sock, protocol, addresses.of_socket(sock), owned=owned,
                   inode=(inode[0], inode[1]) if inode else None)

    def with_protocol(self, protocol: str) -> "Listener":
        """Return a listener of the same socket for another protocol."""
        return Listener(self.socket, protocol, self.address, inode=self._inode, owned=self.owned)

    def close(self) -> None:
        """Close the descriptor of this process."""
        self.socket.close()

    def give_away(self, owner: tuple[int, int], mode: int | None,
                  user: User | None = None) -> None:
        """Set owner and permissions of our socket file, see `rights.give_away`.

        Raises:
            OSError: it cannot be changed, or has been replaced.
        """
        give_away(self.address.path, owner, mode, user, self._inode)

    def vacuum(self, user: User | None = None) -> bool:
        """Remove our socket file; return whether that was done.

        Args:
            user: the one of `uid`, see `rights`.
        """
        if self._inode is None:
            return False
        try:
            with reaching(self.address.path, user) as path:
                found = os.lstat(path)
                if (found.st_dev, found.st_ino) != self._inode:     # of another server
                    return False
                os.unlink(path)
        except OSError as error:
            if error.errno != errno.ENOENT:
                logger.warning("cannot remove the socket file %s: %s",
                               self.address.path, error.strerror)
            return False
        return True


def backlog_of(wanted: int | None) -> int:
    """Return the length of the accept queue for `listen = wanted`.

    None is the kernel's maximum. A larger value is reduced to it with a warning; uWSGI does
    not start, and the kernel would reduce it silently (listen(2)).
    """
    try:
        with open(SOMAXCONN) as file:
            allowed = int(file.read())
    except (OSError, ValueError):
        allowed = socket.SOMAXCONN
    if wanted is None or wanted <= allowed:
        return wanted or allowed
    logger.warning("listen = %d: reduced to %d, the limit of the system (net.core.somaxconn)",
                   wanted, allowed)
    return allowed


def bind(address: Address, protocol: str, *, listen: int | None = None,
         reuse_port: bool = False, chmod: int | None = None, chown: str | None = None,
         owner: tuple[int, int] = (-1, -1), user: User | None = None, keepalive: bool = False,
         sndbuf: int | None = None, rcvbuf: int | None = None, freebind: bool = False,
         fast_open: int | None = None) -> Listener:
    """Bind a socket, set its options and listen.

    Args:
        address: the address; an inherited descriptor is not bound.
        protocol: "http", "https" or "uwsgi".
        listen: length of the accept queue; None = somaxconn.
        reuse_port: set SO_REUSEPORT, so that another instance may bind the same address.
        chmod: mode of the unix socket's file; None = the umask's.
        chown: its owner, `user[:group]`, names or numbers.
        owner: (uid, gid) of the file without `chown`; -1 leaves either unchanged.
        user: the one of `uid`, see `rights`.
        keepalive: SO_KEEPALIVE on accepted connections.
        sndbuf: SO_SNDBUF in bytes.
        rcvbuf: SO_RCVBUF in bytes.
        freebind: set IP_FREEBIND: no interface needs to have the address yet.
        fast_open: TCP_FASTOPEN: how many connections with data may wait (RFC 7413).

    Raises:
        BindError: with the address and the reason.
    """
    if address.inherited:
        listener = _adopt_number(address, protocol)
    elif address.is_unix:
        listener = _bind_unix(address, protocol, chmod, owner_of(chown) if chown else owner, user)
    else:
        listener = _bind_tcp(address, protocol, reuse_port, freebind)
    sock = listener.socket
    if not listener.is_unix:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if keepalive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if fast_open:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, fast_open)
    if sndbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf)
    if rcvbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    sock.setblocking(False)
    if listener.owned or listen is not None:
        try:
            sock.listen(backlog_of(listen))
        except OSError as error:  # two processes with SO_REUSEADDR may get this far
            sock.close()
            raise _bind_error(address, error) from None
    return listener


class Inherited:
    """The sockets that a service manager passed to this process (sd_listen_fds(3)).

    Args:
        environ: has LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES, which are removed so that no
            child uses them.
        pid: ours; sockets for another process are ignored.

    Raises:
        BindError: one of the descriptors is not open.
    """

    def __init__(self, environ: dict[str, str] | os._Environ[str], pid: int) -> None:
        meant_for = environ.pop("LISTEN_PID", "")
        count = environ.pop("LISTEN_FDS", "")
        names = environ.pop("LISTEN_FDNAMES", "").split(":")
        self._left: dict[int, str] = {}
        if meant_for == str(pid) and count.isascii() and count.isdigit():
            for index in range(int(count)):
                fd = FIRST_SYSTEMD_FD + index
                try:
                    os.set_inheritable(fd, False)
                except OSError:
                    raise BindError(f"LISTEN_FDS={count}: descriptor {fd} is not open") from None
                self._left[fd] = names[index] if index < len(names) else ""

    def __bool__(self) -> bool:
        return bool(self._left)

    def adopt(self, address: Address, protocol: str) -> Listener | None:
        """Return the inherited socket that has this name or is bound to this address, if any."""
        for fd, name in self._left.items():
            if address.inherited:
                same = address.inherited in (name, str(fd))
            else:
                same = _bound_to(fd) == bind_name(address)
            if same:
                del self._left[fd]
                return _adopt(fd, protocol, address.text)
        return None

    def rest(self, protocol: str) -> list[Listener]:
        """Return the remaining sockets, which no option names.

        The protocol of a socket is its FileDescriptorName, if that is `http`, `https` or
        `uwsgi`, else `protocol`.
        """
        found = [_adopt(fd, name if name in PROTOCOLS else protocol, f"fd://{fd}")
                 for fd, name in self._left.items()]
        self._left.clear()
        return found


def bind_all(wanted: Sequence[tuple[str, str]], inherited: Inherited,
             options: Mapping[str, object]) -> list[Listener]:
    """Bind (text, protocol) pairs in order, using inherited sockets that match.

    Args:
        wanted: as in `Settings.listeners`.
        inherited: the sockets from systemd.
        options: keyword arguments of `bind`.

    Raises:
        BindError: one cannot be bound; those bound before it were closed.
    """
    bound: list[Listener] = []
    try:
        for text, protocol in wanted:
            address = addresses.parse(text)
            adopted = inherited.adopt(address, protocol) if inherited else None
            bound.append(adopted or bind(address, protocol, **options))  # type: ignore[arg-type]
    except BindError as error:
        for listener in bound:
            listener.close()
            listener.vacuum(options.get("user"))  # type: ignore[arg-type]
        error.address = text
        raise
    return bound


def hint_about_mode(listener: Listener) -> None:
    """Warn if a unix socket keeps the web server, usually another user, out."""
    if listener.owned and listener.is_unix and not listener.address.path.startswith("\0"):
        found = os.stat(listener.address.path)
        mode = stat.S_IMODE(found.st_mode)
        # A group of root's has no other members, so its permission admits no web server.
        if not mode & (stat.S_IWOTH | (stat.S_IWGRP if found.st_gid else 0)):
            logger.warning("%s has mode %03o and belongs to %s: only its owner can connect; use "
                           "chmod-socket = 660 and chown-socket to let the web server connect",
                           listener.address.text, mode, _names_of(found))


def _bind_tcp(address: Address, protocol: str, reuse_port: bool, freebind: bool) -> Listener:
    family, name = _resolve(address)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if freebind:
            sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)  # for IPv6 too, ip(7)
        if family == socket.AF_INET6:
            # [::] accepts IPv4 too, whatever net.ipv6.bindv6only is.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(name[0] != "::"))
        sock.bind(name)
    except OSError as error:
        sock.close()
        raise _bind_error(address, error) from None
    return Listener(sock, protocol, addresses.of_socket(sock), owned=True)


def _resolve(address: Address) -> tuple[int, tuple[str, int]]:
    """Return the family and the name for bind(2); a host name is resolved, IPv4 first."""
    if address.family != socket.AF_UNSPEC:
        return address.family, (address.host, address.port)
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM,
                                   flags=socket.AI_PASSIVE)
    except OSError as error:
        raise BindError(f"cannot bind {address.text}: no address for the host name "
                        f"{address.host!r} ({error.strerror})") from None
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    family, _, _, _, name = found[0]
    return family, (str(name[0]), address.port)


def _names_of(found: os.stat_result) -> str:
    import grp
    import pwd
    try:
        user = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        user = str(found.st_uid)
    try:
        return f"{user}:{grp.getgrgid(found.st_gid).gr_name}"
    except KeyError:
        return f"{user}:{found.st_gid}"


def _bind_unix(address: Address, protocol: str, chmod: int | None, owner: tuple[int, int],
               user: User | None) -> Listener:
    if address.path.startswith("\0"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(address.path)
        except OSError as error:
            sock.close()
            raise _bind_error(address, error) from None
        return Listener(sock, protocol, address, owned=True)
    path = os.path.abspath(address.path)  # the process may change its directory
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # No process can connect before listen(2), so the first mode does not matter.
        made = bind_file(sock, address, path, owner, user, chmod)
    except BindError:
        sock.close()
        raise
    return Listener(sock, protocol, Address(socket.AF_UNIX, path=path), owned=True,
                    inode=(made.st_dev, made.st_ino))


def bind_file(sock: socket.socket, address: Address, path: str, owner: tuple[int, int],
              user: User | None, chmod: int | None = None) -> os.stat_result:
    """Bind a unix socket to a file; replace that of a server that has ended.

    Args:
        sock: the socket.
        address: the address, as it was written.
        path: its file.
        owner: (uid, gid) of the file; -1 leaves either unchanged.
        user: the one of `uid`, see `rights`.
        chmod: mode of the file; None = the umask's.

    Returns:
        What the file is.

    Raises:
        BindError: with the address and the reason.
    """
    clear_stale(address, path, sock.type, user)
    try:
        with acting_as(rights_for(path, user)):
            sock.bind(path if len(os.fsencode(path)) <= addresses.PATH_LIMIT else address.path)
        return give_away(path, owner, chmod, user)
    except OSError as error:
        raise _bind_error(address, error) from None


def clear_stale(address: Address, path: str, kind: int = socket.SOCK_STREAM,
                user: User | None = None) -> None:
    """Remove the socket file of a server that has ended.

    Args:
        address: the address to bind, for messages.
        path: its file.
        kind: the type of the socket to bind.
        user: the one of `uid`, see `rights`.

    Raises:
        BindError: another process listens on it, or it is not a socket.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return  # it does not exist, or bind(2) will report the error
    if not stat.S_ISSOCK(mode):
        raise BindError(f"cannot bind {address.text}: the file exists and is not a socket")
    probe = socket.socket(socket.AF_UNIX, kind)
    probe.setblocking(False)
    try:
        probe.connect(path)
    except ConnectionRefusedError:
        with reaching(path, user) as name:
            os.unlink(name)
        logger.info("replaced the stale socket file %s", address.text)
        return
    except FileNotFoundError:
        return
    except BlockingIOError:
        pass  # a full accept queue: a process listens
    except OSError as error:
        raise _bind_error(address, error) from None
    finally:
        probe.close()
    raise BindError(f"cannot bind {address.text}: {_IN_USE}")


def owner_of(text: str) -> tuple[int, int]:
    """Return (uid, gid) of `user[:group]`; -1 = leave as it is, chown(2)."""
    user, _, group = text.partition(":")
    uid = gid = -1
    if user:
        if user.isascii() and user.isdigit():
            uid = int(user)
        else:
            import pwd
            try:
                uid = pwd.getpwnam(user).pw_uid
            except KeyError:
                raise BindError(f"chown-socket = {text}: no user {user!r}") from None
    if group:
        if group.isascii() and group.isdigit():
            gid = int(group)
        else:
            import grp
            try:
                gid = grp.getgrnam(group).gr_gid
            except KeyError:
                raise BindError(f"chown-socket = {text}: no group {group!r}") from None
    return uid, gid


def _adopt_number(address: Address, protocol: str) -> Listener:
    if not (address.inherited.isascii() and address.inherited.isdigit()):
        raise BindError(f"{address.text}: no inherited descriptor has this name "
                        "(LISTEN_FDNAMES)")
    return _adopt(int(address.inherited), protocol, address.text)


def _adopt(fd: int, protocol: str, text: str) -> Listener:
    """Make a listener of an inherited descriptor; call listen(2) if it is only bound, as
    circus passes it."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise BindError(f"{text}: descriptor {fd} is not an inherited socket "
                        f"({error.strerror})") from None
    os.set_inheritable(fd, False)
    try:
        address = addresses.of_socket(sock)
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.listen(backlog_of(None))
    except OSError as error:
        sock.detach()
        raise BindError(f"{text}: descriptor {fd} is not a socket that can listen "
                        f"({error.strerror})") from None
    sock.setblocking(False)
    if not address.is_unix:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Listener(sock, protocol, address)


def _bound_to(fd: int) -> object:
    """Return the `bind_name` of an inherited descriptor, or None."""
    try:
        sock = socket.socket(fileno=os.dup(fd))
    except OSError:
        return None
    with sock:
        try:
            return bind_name(addresses.of_socket(sock))
        except BindError:
            return None


def bind_name(address: Address) -> tuple[object, ...]:
    """Return a key that is equal for addresses that are the same for bind(2)."""
    if address.is_unix:
        path = address.path
        return ("unix", path if path.startswith("\0") else os.path.abspath(path))
    return (address.host or "0.0.0.0", address.port)


def _bind_error(address: Address, error: OSError) -> BindError:
    reason = {
        errno.EADDRINUSE: _IN_USE,
        errno.EACCES: "permission denied"
        + (" (ports below 1024 need root or CAP_NET_BIND_SERVICE)"
           if not address.is_unix and 0 < address.port < 1024 else ""),
        errno.EADDRNOTAVAIL: "no interface of this machine has this address",
        errno.ENOENT: "the directory does not exist",
    }.get(error.errno or 0, error.strerror or str(error))
    return BindError(f"cannot bind {address.text}: {reason}")
