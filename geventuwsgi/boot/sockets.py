"""The sockets of an instance: opened at its start, and again each time it reloads."""

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

logger = logging.getLogger("geventuwsgi.error")

# The options that name sockets.
_NAMES = ("http_socket", "socket", "uwsgi_socket", "bind", "http", "http_stats_server")


# Where the workers listen for a router of this instance: in no directory, so that it needs
# no writable one; who connects is asked by the workers (SO_PEERCRED).
PRIVATE = f"@geventuwsgi-router/{os.urandom(8).hex()}"


def wanted(settings: Settings, private: str = PRIVATE) -> list[tuple[str, str]]:
    """Return all sockets as (address, protocol), the one between router and workers last."""
    between = [(private, "routed")] if settings.router and not settings.standalone else []
    return [*settings.listeners, *between]


def options_of(settings: Settings) -> dict[str, Any]:
    """Return the keyword arguments of `net.listener.bind`."""
    return {
        "listen": settings.listen or None, "reuse_port": settings.reuse_port,
        "chmod": _mode(settings), "chown": settings.chown_socket,
        "keepalive": settings.so_keepalive, "sndbuf": settings.socket_sndbuf,
        "rcvbuf": settings.socket_rcvbuf, "freebind": settings.freebind,
        "fast_open": settings.tcp_fast_open}


def _mode(settings: Settings) -> int | None:
    """Return the mode of unix sockets; None leaves it to the umask.

    uWSGI's daemonize sets the umask to 0, and the web server in front relies on it.
    """
    if settings.chmod_socket is None and settings.umask is None and settings.dialect == "uwsgi" \
            and (settings.daemonize or settings.daemonize2):
        return 0o777
    mode: int | None = settings.chmod_socket
    return mode


class Sockets:
    """All sockets of one configuration, in the order in which they are written.

    Args:
        pairs: (address as written, listener); "" for one that was handed over unasked.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = list(pairs)

    @property
    def listeners(self) -> list[Listener]:
        """The listeners alone."""
        return [listener for _, listener in self.pairs]

    def of_uwsgi(self) -> list[Address]:
        """List the addresses for the uwsgi protocol, which routers may be told of."""
        return [listener.address for listener in self.listeners if listener.protocol == "uwsgi"]

    def close(self) -> None:
        """Close this process's descriptors."""
        for listener in self.listeners:
            listener.close()

    def tell(self) -> None:
        """Log where we listen."""
        for listener in self.listeners:
            if listener.protocol == "routed":
                continue
            logger.info("Listening at: %s (%d)", listener.url, os.getpid())
            hint_about_mode(listener)


def open_all(settings: Settings) -> Sockets:
    """Bind every socket of the settings, or take those that we were started with.

    Raises:
        BindError: one cannot be bound.
    """
    inherited = Inherited(os.environ, os.getpid())
    listeners = bind_all(wanted(settings), inherited, options_of(settings))
    pairs = [(text, listener) for (text, _), listener in zip(wanted(settings), listeners)]
    default = "uwsgi" if settings.dialect == "uwsgi" else "http"
    if settings.tls_bind is not None:
        default = "https"
    pairs += [("", listener) for listener in inherited.rest(settings.protocol or default)]
    if not pairs:
        raise BindError("no socket is named, and none of LISTEN_FDS is meant for this process "
                        "(LISTEN_PID)")
    return Sockets(pairs)


def describe(sockets: Sockets) -> list[list[Any]]:
    """Return what the next version has to know of the sockets (an upgrade in place)."""
    return [[text, listener.socket.fileno(), *listener.describe()]
            for text, listener in sockets.pairs]


def handed_over(described: Sequence[Sequence[Any]]) -> Sockets:
    """Return the sockets that the version before described."""
    Inherited(os.environ, 0)  # the variables of LISTEN_FDS are for no child
    return Sockets([(text, Listener.from_exec(fd, *rest)) for text, fd, *rest in described])


def mapped(listeners: Sequence[Listener], rules: Sequence[str], number: int) -> list[Listener]:
    """Return the sockets that a worker accepts from, and close the others (`map-socket`).

    Args:
        listeners: all of the workers'.
        rules: `SOCKET:WORKER,...` of each; a socket of which none speaks is everybody's.
        number: the worker's.
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


class Change:
    """From the present sockets to those of other settings: what stays, comes and goes.

    What is new is bound at once; nothing is changed of what stays before `commit`.

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
            # That of the version before an upgrade, which its router still uses.
            private = next((text for text, listener in left if listener.protocol == "routed"),
                           PRIVATE)
            for text, protocol in wanted(settings, private):
                found = rebind.find(left, text)
                if found is None:
                    found, = bind_all([(text, protocol)], _NONE, self._options)
                    self._added.append(found)
                else:
                    left = [pair for pair in left if pair[1] is not found]
                    if found.protocol != protocol:
                        found = found.with_protocol(protocol)
                    self._kept.append(found)
                pairs.append((text, found))
        except BindError as error:
            self.discard()
            raise _placed(settings, text, str(error)) from None
        unasked = [pair for pair in left if not pair[0]]
        self._removed = [listener for text, listener in left if text]
        self.sockets = Sockets(pairs + unasked)

    def commit(self) -> None:
        """Close what went, and give what stays its new options."""
        for listener in self._kept:
            rebind.adjust(listener, **self._options)
        for listener in self._removed:
            if listener.protocol != "routed":
                logger.info("no longer listening at: %s", listener.url)
            listener.vacuum()
            listener.close()
        Sockets([("", listener) for listener in self._added]).tell()

    def discard(self) -> None:
        """Close what was bound."""
        for listener in self._added:
            listener.close()
            listener.vacuum()


_NONE = Inherited({}, 0)


def _placed(settings: Settings, text: str, message: str) -> ConfigError:
    """Name the file and line of the option with this address among its values."""
    for name in _NAMES:
        if text in getattr(settings, name):
            return settings.origin(name).error(message)
    if any(text == line.partition(",")[0].strip() for line in settings.http_to_https):
        return settings.origin("http-to-https").error(message)
    for name in ("https_socket", "https"):
        if text in [endpoint(line).address for line in getattr(settings, name)]:
            return settings.origin(name).error(message)
    return ConfigError(message)
