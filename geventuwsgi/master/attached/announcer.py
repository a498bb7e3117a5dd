"""Subscriptions: the master announces its instance to routers (`subscribe-to`, `subscribe2`).

Nothing here waits or asks a resolver. A router that is not running is not an error: it gets
the next announcement. Another error is logged once, until it changes or the announcement has
been sent.
"""

import errno
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf

from ...config.settings import Settings
from ...config.values import router
from ...config.values.router import Subscription
from ...errors import ConfigError, ProtocolError
from ...net import signature
from ...net.address import Address
from ...net.signature import Signer
from ...protocol import subscription
from ...protocol.subscription import Announcement
from ...rights import read_file
from .attached import Attached

logger = logging.getLogger("geventuwsgi.error")

_NO_ROUTER = (errno.ECONNREFUSED, errno.ENOENT)    # it is not running now
_ANY = ("", "0.0.0.0", "::")


class Announcer(Attached):
    """Announces at intervals what this instance serves.

    Args:
        settings: the configuration.
        sockets: the addresses of its uwsgi sockets, in the order of the configuration.
        load: returns how many requests are being served, for the routers.

    Raises:
        ConfigError: there is no socket to announce.
    """

    def __init__(self, settings: Settings, sockets: Sequence[Address],
                 load: Callable[[], int]) -> None:
        self._load = load
        self._started = False
        self._due = inf
        self._logged: dict[str, str] = {}   # the last error of each announcement
        self._announced: set[tuple[Address, str, Announcement]] = set()
        self._signed_at = 0
        self._signers: dict[str, Signer] = {}
        self._blocked = False
        self.replace(settings, sockets)

    def replace(self, settings: Settings, sockets: Sequence[Address]) -> None:
        """Apply another configuration; what it no longer announces is withdrawn.

        Raises:
            ConfigError: as the constructor; nothing has changed then.
        """
        subscriptions = subscriptions_of(settings)
        check(settings, subscriptions, sockets)
        self._signers = {one.sign: signer_of(settings, one) for one in subscriptions if one.sign}
        self._subscriptions = subscriptions
        self._sockets = list(sockets)
        self._user = settings.identity.user
        self._frequency: float = settings.subscribe_freq
        self._cores = settings.processes * settings.slots
        if self._started:
            wanted = {(server, sign, one._replace(load=0))
                      for server, sign, one in self._announcements()}
            self._leave(self._announced - wanted)
            self._announced &= wanted
            self._due = 0.0

    def start(self, now: float) -> None:
        """Start to announce: the application is loaded."""
        self._started = True
        self._due = now

    def poll(self, now: float) -> float:
        """Announce if it is time; return when to be called again."""
        if not self._started or not self._subscriptions:
            return now + 3600.0
        if now >= self._due:
            self._due = now + self._frequency
            if self._blocked:
                return self._due
            self._stamp()
            for server, sign, one in self._announcements():
                self._send(server, sign, one)
                self._announced.add((server, sign, one._replace(load=0)))
        return self._due

    def toggle(self) -> None:
        """Stop or resume announcing; previous announcements expire at the routers."""
        self._blocked = not self._blocked
        logger.info("subscriptions blocked" if self._blocked else "subscriptions re-enabled")

    def withdraw(self) -> None:
        """Withdraw all announcements: the instance stops, or is configured to do so at a reload."""
        self._leave(self._announced)
        self._announced.clear()
        self._due = inf

    def reloaded(self, now: float) -> None:
        """Announce at once: a newer generation serves."""
        if self._started:
            self._due = now

    def stop(self, now: float) -> None:
        """Stop announcing."""
        self._started = False

    # Datagrams.

    def _leave(self, announced: Iterable[tuple[Address, str, Announcement]]) -> None:
        self._stamp()
        for server, sign, one in announced:
            self._send(server, sign, one._replace(leaves=True))

    def _stamp(self) -> None:
        """Take the time for signatures: each must be later than that of the same node before."""
        self._signed_at = max(int(time.time()), self._signed_at + 1)

    def _announcements(self) -> Iterator[tuple[Address, str, Announcement]]:
        for one in self._subscriptions:
            if one.check and not os.path.exists(one.check):
                continue
            address = one.address or _reachable(self._sockets[one.socket], one.server)
            for key in self._keys(one.key):
                yield one.server, one.sign, Announcement(
                    False, key, address, one.modifier1, one.modifier2, self._cores,
                    self._load(), one.weight)

    def _send(self, server: Address, sign: str, announcement: Announcement) -> None:
        family = server.family or socket.AF_INET
        name = server.path if server.is_unix else (server.host or "127.0.0.1", server.port)
        where = f"{server.text} ({announcement.key})"
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(subscription.encode(
                    announcement._replace(unix=self._signed_at), self._signers.get(sign)), name)
        except (OSError, ProtocolError) as error:
            if not (isinstance(error, OSError) and error.errno in _NO_ROUTER):
                self._log_once(where, f"cannot announce to {where}: {error}")
            return
        self._logged.pop(where, None)

    def _keys(self, key: str) -> list[str]:
        """Return the key, or the keys in a file; an error is logged."""
        if not key.startswith("@"):
            return [key]
        try:
            text = read_file(key[1:], self._user).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            self._log_once(key, f"cannot read the keys of {key[1:]}: "
                           f"{getattr(error, 'strerror', None) or error}")
            return []
        self._logged.pop(key, None)
        return [line.strip() for line in text.splitlines() if line.strip()]

    def _log_once(self, where: str, message: str) -> None:
        if self._logged.get(where) != message:
            self._logged[where] = message
            logger.error("%s", message)


def subscriptions_of(settings: Settings) -> list[Subscription]:
    """Return the subscriptions of an instance."""
    weight = settings.processes * settings.slots if settings.auto_weight else settings.weight
    forced = settings.subscribe_with_modifier1
    found = ([router.subscribe_to(text) for text in settings.subscribe_to]
             + [router.subscribe2(text) for text in settings.subscribe2])
    return [one._replace(weight=one.weight or weight,
                         modifier1=one.modifier1 if forced is None else forced) for one in found]


def check(settings: Settings, subscriptions: Sequence[Subscription],
          sockets: Sequence[Address]) -> None:
    """Check that the sockets to announce exist.

    Raises:
        ConfigError: one does not; it names the option.
    """
    for one in subscriptions:
        if not one.address and one.socket >= len(sockets):
            option = "subscribe-to" if settings.subscribe_to else "subscribe2"
            reason = (f"there is no uwsgi socket with the number {one.socket}" if sockets else
                      "there is no uwsgi socket to announce: write socket = ADDRESS")
            error: ConfigError = settings.origin(option).error(reason)
            raise error


def signer_of(settings: Settings, one: Subscription) -> Signer:
    """Return what signs the announcements of a subscription.

    Raises:
        ConfigError: the key cannot be used; with the option.
    """
    digest, path = signature.parse(one.sign)
    option = next(name for name in ("subscribe-to", "subscribe2")
                  if any(one.sign in text for text in getattr(settings, name.replace("-", "_"))))
    try:
        return Signer(digest, read_file(path, settings.identity.user))
    except (OSError, ConfigError) as error:
        reason = error.message if isinstance(error, ConfigError) else error.strerror or str(error)
        failure: ConfigError = settings.origin(option).failure(f"{path}: {reason}")
    raise failure


def _reachable(address: Address, server: Address) -> str:
    """Return the address at which a router can reach a socket.

    For a socket on all addresses it is this machine's address towards the router.
    """
    if address.is_unix or address.host not in _ANY:
        return address.text
    host = "127.0.0.1"
    if not server.is_unix and server.host not in _ANY:
        try:
            with socket.socket(server.family or socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.connect((server.host, server.port))  # sends nothing
                host = sock.getsockname()[0]
        except OSError:
            pass  # use loopback
    return address._replace(host=host).text
