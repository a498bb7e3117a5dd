"""The router's process: what the master keeps for it, and the template of the routers.

The datagram sockets of subscription servers and the memory of the subscriptions belong to the
master, so that they outlive a router and a reload.
"""

import logging
import os
import socket
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..config.settings import Settings
from ..errors import BindError
from ..net import address as addresses
from ..net import signature
from ..net.listener import bind_file
from ..privileges import Identity
from ..rights import User, reaching
from . import tls
from .hooks import identity_of
from .logs import user_of
from .role_template import RoleTemplate

if TYPE_CHECKING:
    from ..prefork.child import Child

logger = logging.getLogger("geventuwsgi.error")


class Subscriptions:
    """The sockets and the shared memory of subscription servers, kept by the master.

    Attributes:
        memory: the descriptor of the memory that routers share, -1 until it is needed.
    """

    def __init__(self) -> None:
        self.memory = -1
        self._sockets: dict[str, socket.socket] = {}

    def prepare(self, settings: Settings) -> dict[str, socket.socket]:
        """Return the sockets for these settings; bind new ones and close none yet.

        Raises:
            ConfigError: one cannot be bound; those bound before it are closed again.
        """
        wanted = settings.http_subscription_server if settings.router else ()
        found: dict[str, socket.socket] = {}
        try:
            for text in wanted:
                found[text] = self._sockets.get(text) or _bind(text, identity_of(settings))
        except BindError as error:
            self.discard(found, settings)
            raise settings.origin("http-subscription-server").error(str(error)) from None
        if wanted and self.memory < 0:
            from ..router import subscriptions
            self.memory = subscriptions.create()
        return found

    def commit(self, sockets: dict[str, socket.socket], settings: Settings) -> None:
        """Use these sockets: close those no longer needed, and log the new ones."""
        before, self._sockets = self._sockets, sockets
        for text, sock in before.items():
            if text not in sockets:
                _close(sock, user_of(settings))
        for text in sockets.keys() - before.keys():
            logger.info("subscription server on %s", text)

    def describe(self) -> tuple[dict[str, Any], list[int]]:
        """Return the state for `restore` of the next version, and its descriptors."""
        sockets = {text: sock.fileno() for text, sock in self._sockets.items()}
        memory = [self.memory] if self.memory >= 0 else []
        return {"sockets": sockets, "memory": self.memory}, [*sockets.values(), *memory]

    def restore(self, state: dict[str, Any] | None) -> None:
        """Use the sockets and memory of the previous version after an upgrade in place."""
        if state:
            self.memory = state["memory"]
            self._sockets = {text: socket.socket(fileno=fd)
                             for text, fd in state["sockets"].items()}
            for fd in self.describe()[1]:
                os.set_inheritable(fd, False)

    def discard(self, sockets: dict[str, socket.socket], settings: Settings) -> None:
        """Close the sockets of `prepare` that are not in use."""
        for text, sock in sockets.items():
            if text not in self._sockets:
                _close(sock, user_of(settings))

    def close(self, settings: Settings) -> None:
        """Close all sockets."""
        self.commit({}, settings)


def _bind(text: str, identity: Identity) -> socket.socket:
    address = addresses.parse(text)
    if address.inherited:
        raise BindError(f"{text}: a subscription server needs its own address")
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
            bind_file(sock, address, address.path, identity.owner, identity.user)
        else:
            sock.bind(name)
    except BindError:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        raise BindError(f"cannot bind {text} for subscriptions: {error.strerror}") from None
    sock.setblocking(False)
    return sock


def _close(sock: socket.socket, user: User | None) -> None:
    name = sock.getsockname() if sock.family == socket.AF_UNIX else ""
    sock.close()
    if name and isinstance(name, str):
        try:
            with reaching(name, user) as path:
                os.unlink(path)
        except OSError:
            pass  # it was removed already


def check(settings: Settings) -> None:
    """Check what `subscriptions-sign-check` needs.

    Raises:
        ConfigError: it is not there; with the option.
    """
    if settings.subscriptions_sign_check:
        _, directory = signature.parse(settings.subscriptions_sign_check)
        reason = (signature.MISSING if find_spec("cryptography") is None else
                  f"{directory} is not a directory" if not os.path.isdir(directory) else "")
        if reason:
            raise settings.origin("subscriptions-sign-check").failure(reason)


class RouterTemplate(RoleTemplate):
    """The process of the routers' template, and the objects that routers inherit."""

    kind = "router"

    def prepare(self, plan: dict[str, Any]) -> None:
        """Take the sockets between the roles, and those of subscriptions, from the plan."""
        tls.attach(self.settings, self.listeners, plan["tls"])
        self.local: addresses.Address | None = None
        for listener in tuple(self.listeners):
            if listener.protocol == "routed":
                self.local = listener.address
                listener.close()
                self.listeners.remove(listener)
        self.datagrams = [socket.socket(fileno=fd) for fd in plan["datagrams"]]
        for one in self.datagrams:
            os.set_inheritable(one.fileno(), False)
            one.setblocking(False)
        self.memory: int = plan["memory"]
        if self.memory >= 0:
            os.set_inheritable(self.memory, False)

    def load(self) -> None:
        """Import the code of the routers once for all of them."""
        from ..router import gateway  # noqa: F401

    def serve(self, child: "Child") -> int:
        """Run a router; return its exit status."""
        from ..router import gateway

        return gateway.run(self.settings, self.listeners, child, self.local, self.datagrams,
                           self.memory)
