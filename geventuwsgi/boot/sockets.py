"""The listening sockets of an instance: bound at the start, changed at a reload."""

import logging
import os
from collections.abc import Sequence
from typing import Any

from ..config.settings import Settings
from ..config.values.tls import endpoint
from ..errors import BindError, ConfigError
from ..net import rebind
from ..net.address import Address
from ..net.listener import Inherited, Listener, bind_all, hint_about_mode
from ..net.rebind import Pair
from .hooks import identity_of

logger = logging.getLogger("geventuwsgi.error")

# Options whose value is an address.
_ADDRESS_OPTIONS = ("http_socket", "socket", "uwsgi_socket", "bind", "http", "http_stats_server",
                    "stats", "metrics")

# The abstract socket on which the workers listen for the router of this instance. It needs no
# writable directory; the workers check the uid of the client (SO_PEERCRED).
PRIVATE = f"@geventuwsgi-router/{os.urandom(8).hex()}"


def wanted_sockets(settings: Settings, private: str = PRIVATE) -> list[tuple[str, str]]:
    """Return (address, protocol) of all sockets, with that between router and workers last."""
    between = [(private, "routed")] if settings.router and not settings.standalone else []
    return [*settings.listeners, *between]


def options_of(settings: Settings) -> dict[str, Any]:
    """Return the keyword arguments of `net.listener.bind`."""
    identity = identity_of(settings)
    return {
        "listen": settings.listen or None, "reuse_port": settings.reuse_port,
        "chmod": _mode(settings), "chown": settings.chown_socket,
        # uWSGI binds after it has dropped root.
        "owner": identity.owner, "user": identity.user,
        "keepalive": settings.so_keepalive, "sndbuf": settings.socket_sndbuf,
        "rcvbuf": settings.socket_rcvbuf, "freebind": settings.freebind,
        "fast_open": settings.tcp_fast_open}


def _mode(settings: Settings) -> int | None:
    """Return the mode of unix sockets; None leaves it to the umask.

    uWSGI's daemonize sets the umask to 0, and web servers rely on it to connect.
    """
    if settings.chmod_socket is None and settings.umask is None and settings.dialect == "uwsgi" \
            and (settings.daemonize or settings.daemonize2):
        return 0o777
    mode: int | None = settings.chmod_socket
    return mode


class Sockets:
    """All sockets of one configuration, in its order.

    Args:
        pairs: (address as written, listener); "" for an inherited one that no option names.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = list(pairs)

    @property
    def listeners(self) -> list[Listener]:
        """The listeners without their addresses."""
        return [listener for _, listener in self.pairs]

    def of_uwsgi(self) -> list[Address]:
        """Return the addresses for the uwsgi protocol, which may be announced to routers."""
        return [listener.address for listener in self.listeners if listener.protocol == "uwsgi"]

    def close(self) -> None:
        """Close this process's descriptors."""
        for listener in self.listeners:
            listener.close()

    def log_addresses(self) -> None:
        """Log the addresses that the server listens on."""
        for listener in self.listeners:
            if listener.protocol == "routed":
                continue
            logger.info("Listening at: %s (%d)", listener.url, os.getpid())
            hint_about_mode(listener)


def open_all(settings: Settings) -> Sockets:
    """Bind every socket of the settings, or use those that this process has inherited.

    Raises:
        BindError: one cannot be bound.
    """
    inherited = Inherited(os.environ, os.getpid())
    listeners = bind_all(wanted_sockets(settings), inherited, options_of(settings))
    pairs = [(text, listener) for (text, _), listener in zip(wanted_sockets(settings), listeners)]
    default = "uwsgi" if settings.dialect == "uwsgi" else "http"
    if settings.tls_bind is not None:
        default = "https"
    pairs += [("", listener) for listener in inherited.rest(settings.protocol or default)]
    if not pairs:
        raise BindError("no socket is named, and LISTEN_FDS is missing or not for this process "
                        "(LISTEN_PID)")
    return Sockets(pairs)


def describe_sockets(sockets: Sockets) -> list[list[Any]]:
    """Return the sockets as data for `restore` of the next version (an upgrade in place)."""
    return [[text, listener.socket.fileno(), *listener.describe()]
            for text, listener in sockets.pairs]


def restore_sockets(described: Sequence[Sequence[Any]]) -> Sockets:
    """Return the sockets that the previous version described."""
    Inherited(os.environ, 0)  # removes the LISTEN_FDS variables, which are not for children
    return Sockets([(text, Listener.from_exec(fd, *facts)) for text, fd, *facts in described])


def places(settings: Settings, pairs: Sequence[Pair]) -> list[int | None]:
    """Return the index in `settings.listeners` of each socket; None if no option names it.

    After an upgrade the sockets are those of an earlier configuration, in another order. One
    text may name several sockets (`127.0.0.1:0`), which are matched in order.
    """
    left = list(enumerate(settings.listeners))
    found: list[int | None] = []
    for text, _ in pairs:
        entry = next((entry for entry in left if entry[1][0] == text), None)
        if entry is not None:
            left.remove(entry)
        found.append(None if entry is None else entry[0])
    return found


def allow_proxy_headers(settings: Settings, pairs: Sequence[Pair]) -> None:
    """Set for each socket whether its clients may begin with a PROXY header.

    Those of the router's own socket never do: the router has read the header of its client.
    """
    for place, (_, listener) in zip(places(settings, pairs), pairs):
        own = place is not None and settings.proxied[place]
        listener.proxied = listener.protocol not in ("uwsgi", "routed", "statistics") and (
            settings.enable_proxy_protocol or own)


def map_sockets(listeners: Sequence[Listener], rules: Sequence[str], number: int) -> list[Listener]:
    """Return the sockets that a worker accepts from, and close the others (`map-socket`).

    Args:
        listeners: all sockets of the workers.
        rules: each `SOCKET:WORKER,...`; a socket that no rule names is for all workers.
        number: the number of the worker.
    """
    allowed: dict[int, set[int]] = {}
    for rule in rules:
        socket, _, workers = rule.partition(":")
        allowed.setdefault(int(socket), set()).update(map(int, workers.split(",")))
    kept = []
    for place, listener in enumerate(listeners):
        if number in allowed.get(place, {number}) or listener.protocol == "routed":
            kept.append(listener)
            if place in allowed:
                logger.info("mapped socket %d (%s) to worker %d", place, listener.url, number)
        else:
            listener.close()
    return kept


class SocketChange:
    """The change from the present sockets to those of new settings.

    New sockets are bound at once. Those that stay or go are changed by `commit` only.

    Args:
        present: the sockets in use.
        settings: the new configuration.

    Raises:
        ConfigError: a new one cannot be bound; those bound before it are closed again.
    """

    def __init__(self, present: Sockets, settings: Settings) -> None:
        self._options = options_of(settings)
        self._kept: list[Listener] = []
        self._added: list[Listener] = []
        left = list(present.pairs)
        pairs = []
        try:
            # After an upgrade that of the previous version, which its router still uses.
            private = next((text for text, listener in left if listener.protocol == "routed"),
                           PRIVATE)
            for text, protocol in wanted_sockets(settings, private):
                found = rebind.find(left, text)
                if found is None:
                    found, = bind_all([(text, protocol)], _NOTHING_INHERITED, self._options)
                    self._added.append(found)
                else:
                    left = [pair for pair in left if pair[1] is not found]
                    if found.protocol != protocol:
                        found = found.with_protocol(protocol)
                    self._kept.append(found)
                pairs.append((text, found))
        except BindError as error:
            self.discard()
            raise bind_error(settings, error) from None
        unnamed = [pair for pair in left if not pair[0]]
        self._removed = [listener for text, listener in left if text]
        self.sockets = Sockets(pairs + unnamed)

    def commit(self) -> None:
        """Close the sockets that go, and set the options of those that stay."""
        for listener in self._kept:
            rebind.adjust(listener, **self._options)
        for listener in self._removed:
            if listener.protocol != "routed":
                logger.info("no longer listening at: %s", listener.url)
            listener.vacuum(self._options["user"])
            listener.close()
        Sockets([("", listener) for listener in self._added]).log_addresses()

    def discard(self) -> None:
        """Close the new sockets."""
        for listener in self._added:
            listener.close()
            listener.vacuum(self._options["user"])


_NOTHING_INHERITED = Inherited({}, 0)


def bind_error(settings: Settings, error: BindError) -> ConfigError:
    """Return an error with file, line and name of the option that has its address."""
    text, message = error.address, str(error)
    for name in _ADDRESS_OPTIONS:
        if text in getattr(settings, name):
            return settings.origin(name).failure(message)
    if any(text == line.partition(",")[0].strip() for line in settings.http_to_https):
        return settings.origin("http-to-https").failure(message)
    for name in ("https_socket", "https"):
        if text in [endpoint(line).address for line in getattr(settings, name)]:
            return settings.origin(name).failure(message)
    return ConfigError(message)
