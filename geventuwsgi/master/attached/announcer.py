"""The other side of subscriptions: the master announces its instance to routers.

The rules of this room: it runs in the master, so nothing here imports gevent, waits or asks
a resolver. A router that is not there is no error: it hears the next announcement. What
changes between "sent" and "not sent" is told, not each time.
"""

import errno
import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from math import inf

from ...config.settings import Settings
from ...config.values import router
from ...config.values.router import Subscription
from ...errors import ConfigError, ProtocolError
from ...net.address import Address
from ...protocol import subscription
from ...protocol.subscription import Announcement
from .attached import Attached

log = logging.getLogger("geventuwsgi.error")

_NOBODY = (errno.ECONNREFUSED, errno.ENOENT)    # no router there, for now
_EVERYWHERE = ("", "0.0.0.0", "::")


class Announcer(Attached):
    """Announce again and again what this instance serves (`subscribe-to`, `subscribe2`).

    One of those that the master looks after beside its roles (`process.attached`).

    Args:
        settings: the configuration.
        sockets: the addresses of its uwsgi sockets, in the order written.
        load: how many requests are being served, for the routers.

    Raises:
        ConfigError: there is no socket that could be announced.
    """

    def __init__(self, settings: Settings, sockets: Sequence[Address],
                 load: Callable[[], int]) -> None:
        self._load = load
        self._begun = False
        self._due = inf
        self._failing: set[str] = set()
        self._announced: set[tuple[Address, Announcement]] = set()
        self.sent = 0
        self._blocked = False
        self.replace(settings, sockets)

    def replace(self, settings: Settings, sockets: Sequence[Address]) -> None:
        """Go on with another configuration; what is no longer announced is taken back.

        Raises:
            ConfigError: as the constructor; nothing has changed then.
        """
        told = subscriptions_of(settings)
        check(settings, told, sockets)
        self._told = told
        self._sockets = list(sockets)
        self._frequency: float = settings.subscribe_freq
        self._cores = settings.processes * settings.gevent
        if self._begun:
            wanted = {(server, one._replace(load=0)) for server, one in self._announcements()}
            for server, one in self._announced - wanted:
                self._send(server, one._replace(leaves=True))
            self._announced &= wanted
            self._due = 0.0

    # What the master calls; `now` is time.monotonic().

    def start(self, now: float) -> None:
        """The application is loaded: announce it."""
        self._begun = True
        self._due = now

    def poll(self, now: float) -> float:
        """Announce if it is time; return when to come again."""
        if not self._begun or not self._told:
            return now + 3600.0
        if now >= self._due:
            self._due = now + self._frequency
            if self._blocked:
                return self._due
            for server, one in self._announcements():
                self._send(server, one)
                self._announced.add((server, one._replace(load=0)))
        return self._due

    def toggle(self) -> None:
        """Announce nothing any more, or go on; what was announced runs out at the routers."""
        self._blocked = not self._blocked
        log.info("subscriptions blocked" if self._blocked else "subscriptions re-enabled")

    def fail_readiness(self) -> None:
        """Take everything back: the instance stops, or reloads and wants it so."""
        for server, one in self._announced:
            self._send(server, one._replace(leaves=True))
        self._announced.clear()
        self._due = inf

    def reloaded(self, now: float) -> None:
        """A newer generation serves."""
        if self._begun:
            self._due = now

    def stop(self, now: float) -> None:
        self._begun = False

    # Datagrams.

    def _announcements(self) -> Iterator[tuple[Address, Announcement]]:
        for one in self._told:
            if one.check and not os.path.exists(one.check):
                continue
            address = one.address or _reachable(self._sockets[one.socket], one.server)
            for key in _keys(one.key):
                yield one.server, Announcement(
                    False, key, address, one.modifier1, one.modifier2, self._cores,
                    self._load(), one.weight)

    def _send(self, server: Address, told: Announcement) -> None:
        family = server.family or socket.AF_INET
        name = server.path if server.is_unix else (server.host or "127.0.0.1", server.port)
        where = f"{server.text} ({told.key})"
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(subscription.encode(told), name)
        except (OSError, ProtocolError) as error:
            quiet = isinstance(error, OSError) and error.errno in _NOBODY
            if where not in self._failing and not quiet:
                log.error("cannot announce to %s: %s", where, error)
            self._failing.add(where)
            return
        self.sent += 1
        self._failing.discard(where)


def subscriptions_of(settings: Settings) -> list[Subscription]:
    """Return where and as what an instance announces itself."""
    weight = settings.processes * settings.gevent if settings.auto_weight else settings.weight
    forced = settings.subscribe_with_modifier1
    found = ([router.subscribe_to(text) for text in settings.subscribe_to]
             + [router.subscribe2(text) for text in settings.subscribe2])
    return [one._replace(weight=one.weight or weight,
                         modifier1=one.modifier1 if forced is None else forced) for one in found]


def check(settings: Settings, told: Sequence[Subscription], sockets: Sequence[Address]) -> None:
    """Refuse to announce a socket that is not there.

    Raises:
        ConfigError: naming the option.
    """
    for one in told:
        if not one.address and one.socket >= len(sockets):
            option = "subscribe-to" if settings.subscribe_to else "subscribe2"
            reason = (f"there is no uwsgi socket with the number {one.socket}" if sockets else
                      "there is no uwsgi socket to announce: write socket = ADDRESS")
            error: ConfigError = settings.origin(option).error(reason)
            raise error


def _keys(key: str) -> list[str]:
    """Return the key, or those of a file; one that cannot be read is told."""
    if not key.startswith("@"):
        return [key]
    try:
        with open(key[1:], encoding="utf-8") as file:
            return [line.strip() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        log.error("cannot read the keys of %s: %s", key[1:], error)
        return []


def _reachable(address: Address, server: Address) -> str:
    """Write the address of a socket so that the router can reach it.

    For one on all addresses it is the one that this machine has towards the router.
    """
    if address.is_unix or address.host not in _EVERYWHERE:
        return address.text
    host = "127.0.0.1"
    if not server.is_unix and server.host not in _EVERYWHERE:
        try:
            with socket.socket(server.family or socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.connect((server.host, server.port))  # sends nothing
                host = sock.getsockname()[0]
        except OSError:
            pass  # loopback, then
    return address._replace(host=host).text
