"""The router's process, from both sides: its row in the master, and what an exec'd role does.

The datagram sockets of subscription servers and the memory of who has subscribed belong to
the master, so that they outlive a router and a reload.
"""

import logging
import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..config.settings import Settings
from ..errors import BindError
from ..net import address as addresses
from ..net.listener import Listener
from ..net.rebind import Pair
from . import tls
from .hooks import identity_of
from .logs import Logs

if TYPE_CHECKING:
    from ..prefork.child import Child

logger = logging.getLogger("geventuwsgi.error")


class Subscriptions:
    """What the master holds for subscription servers.

    Attributes:
        memory: the descriptor of the memory that routers share; -1 = none is needed yet.
    """

    def __init__(self) -> None:
        self.memory = -1
        self._sockets: dict[str, socket.socket] = {}

    def prepare(self, settings: Settings) -> dict[str, socket.socket]:
        """Return the sockets for these settings, new ones bound; nothing is closed yet.

        Raises:
            ConfigError: one cannot be bound; those bound before it are closed again.
        """
        wanted = settings.http_subscription_server if settings.router else ()
        found: dict[str, socket.socket] = {}
        try:
            for text in wanted:
                found[text] = self._sockets.get(text) or _bind(text)
        except BindError as error:
            self.discard(found)
            raise settings.origin("http-subscription-server").error(str(error)) from None
        if wanted and self.memory < 0:
            from ..router import subscriptions
            self.memory = subscriptions.create()
        return found

    def commit(self, sockets: dict[str, socket.socket]) -> None:
        """Go on with these sockets; close and tell what changed."""
        before, self._sockets = self._sockets, sockets
        for text, sock in before.items():
            if text not in sockets:
                _close(sock)
        for text in sockets.keys() - before.keys():
            logger.info("subscription server on %s", text)

    def describe(self) -> tuple[dict[str, Any], list[int]]:
        """Return what the next version has to know (an upgrade in place), and descriptors."""
        sockets = {text: sock.fileno() for text, sock in self._sockets.items()}
        memory = [self.memory] if self.memory >= 0 else []
        return {"sockets": sockets, "memory": self.memory}, [*sockets.values(), *memory]

    def take(self, told: dict[str, Any] | None) -> None:
        """Go on with what the version before described."""
        if told:
            self.memory = told["memory"]
            self._sockets = {text: socket.socket(fileno=fd)
                             for text, fd in told["sockets"].items()}
            for fd in self.describe()[1]:
                os.set_inheritable(fd, False)

    def discard(self, sockets: dict[str, socket.socket]) -> None:
        """Close those that were bound for nothing."""
        for text, sock in sockets.items():
            if text not in self._sockets:
                _close(sock)

    def close(self) -> None:
        """Close all; the instance ends."""
        self.commit({})


def _bind(text: str) -> socket.socket:
    address = addresses.parse(text)
    if address.inherited:
        raise BindError(f"{text}: a subscription server wants an address of its own")
    family = address.family
    name: Any = address.path if address.is_unix else (address.host, address.port)
    if family == socket.AF_UNSPEC:
        try:
            family, _, _, _, name = socket.getaddrinfo(address.host, address.port,
                                                       type=socket.SOCK_DGRAM)[0]
        except OSError as error:
            raise BindError(f"cannot bind {text}: {error.strerror}") from None
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if address.is_unix and not address.path.startswith("\0"):
            _clear_stale(address.path)
        sock.bind(name)
    except OSError as error:
        sock.close()
        raise BindError(f"cannot bind {text} for subscriptions: {error.strerror}") from None
    sock.setblocking(False)
    return sock


def _clear_stale(path: str) -> None:
    """Remove the socket file of a server that is gone."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            pass  # not there, or bind(2) will say what is wrong


def _close(sock: socket.socket) -> None:
    name = sock.getsockname() if sock.family == socket.AF_UNIX else ""
    sock.close()
    if name and isinstance(name, str):
        try:
            os.unlink(name)
        except OSError:
            pass  # somebody else has removed it


class RouterTemplate:
    """The template of the routers, and what they inherit.

    Args:
        plan: what `roles.router_role` wrote.
        generation: its number.
        sock: its end of the control socket.
        titles_of: returns how processes are called.
    """

    def __init__(self, plan: dict[str, Any], generation: int, sock: Any,
                 titles_of: Callable[[Settings], Any]) -> None:
        from ..ipc.scoreboard import Scoreboard
        from ..prefork.template import Template

        self.settings = settings = Settings.from_json(plan["settings"])
        self.logs = Logs(settings)
        titles = titles_of(settings)
        titles.set(f"router template {generation}")
        listeners = [Listener.from_json(text) for text in plan["listeners"]]
        tls.attach(settings, listeners, plan["tls"])
        self.local: addresses.Address | None = None
        self.listeners: list[Listener] = []
        for listener in listeners:
            if listener.protocol == "routed":
                self.local = listener.address
                listener.close()
            else:
                self.listeners.append(listener)
        self.datagrams = [socket.socket(fileno=fd) for fd in plan["datagrams"]]
        for one in self.datagrams:
            os.set_inheritable(one.fileno(), False)
            one.setblocking(False)
        self.memory: int = plan["memory"]
        if self.memory >= 0:
            os.set_inheritable(self.memory, False)
        board = Scoreboard.open(plan["board"])
        os.set_inheritable(board.fd, False)
        identity = identity_of(settings)
        self.logs.handed = identity.leaves_root
        identity.assume()
        self.template = Template(
            sock, board, generation=generation, master=plan["master"], cores=1,
            reopen=self.logs.reopen, use_log=self.logs.take,
            title=lambda number: titles.set(f"router {number}"))

    def run(self) -> int:
        """Fork routers until the master says so."""
        return self.template.run(self.load, self.work)

    def load(self) -> None:
        """Import what each router needs, once."""
        from ..router import gateway  # noqa: F401

    def work(self, _: None, child: "Child") -> int:
        """Be a router; return its exit status."""
        import gevent

        from ..router import gateway

        gevent.reinit()  # the fork was the system's, not gevent's
        child.reopen, child.use_log = self.logs.reopen, self.logs.take
        return gateway.run(self.settings, self.listeners, child, self.local, self.datagrams,
                           self.memory)


def own(settings: Settings, pairs: Sequence[Pair], routed: bool) -> list[Pair]:
    """Return the sockets that are the router's, or the workers'.

    What was handed over unasked is the workers'; the socket between both is for both. One
    text may stand for several sockets, which are taken in turn.
    """
    left = [(text, flag) for (text, _), flag in zip(settings.listeners, settings.routed)]
    found = []
    for text, listener in pairs:
        entry = next((entry for entry in left if entry[0] == text), None)
        if entry is not None:
            left.remove(entry)
        if listener.protocol == "routed" or (entry is not None and entry[1]) == routed:
            found.append((text, listener))
    return found
