"""The options of the router: how nodes, routes and subscriptions are written.

Each kind checks its text and leaves it as it is; the functions turn it into plain values
for whoever acts on it. Nothing here opens a socket or asks a resolver.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from geventuwsgi.config.values.origin import CastContext, Origin
from geventuwsgi.config.values.types import Address as AddressKind
from geventuwsgi.config.values.types import ValueType
from geventuwsgi.errors import BindError
from geventuwsgi.net import address
from geventuwsgi.net.address import Address

_SIGNED = "signed subscriptions are not done here: subscribe over loopback or a unix socket"
_NUMBERS = {"weight": 1000, "connections": 1_000_000}
_KEYS = ("server", "key", "socket", "addr", "weight", "modifier1", "modifier2", "check")


class NodeSpec(NamedTuple):
    """A node as it is written: `[http://]ADDRESS[,weight=N][,connections=N]`."""

    name: str
    address: Address
    protocol: str
    weight: int
    connections: int


class RouteSpec(NamedTuple):
    """A route as it is written: `HOST/PATH=NODE`; "" is any host, or any path."""

    host: str
    path: str
    node: NodeSpec


class Subscription(NamedTuple):
    """Where this instance announces itself, and as what.

    Attributes:
        server: the address of the subscription server.
        key: what it serves; `@FILE` for one key on each line of a file.
        address: of the node; "" for that of the socket with the number `socket`.
        weight: 0 where none is said.
        check: a file without which nothing is announced.
    """

    server: Address
    key: str
    address: str = ""
    socket: int = 0
    weight: int = 0
    modifier1: int = 0
    modifier2: int = 0
    check: str = ""


def node(text: str) -> NodeSpec:
    """Read a node.

    Raises:
        ValueError: it is none.
    """
    place, *options = (part.strip() for part in text.split(","))
    protocol = "uwsgi"
    for scheme in ("http", "uwsgi"):
        if place.startswith(scheme + "://"):
            protocol, place = scheme, place[len(scheme) + 3:]
    if place.startswith("https://"):
        raise ValueError(f"{text!r}: nodes are not spoken to over TLS: use http:// or uwsgi://")
    if protocol == "http" and place.endswith("/") and not place.startswith(("/", "unix:")):
        place = place[:-1]
    numbers = {"weight": 1, "connections": 0}
    for option in options:
        name, _, value = option.partition("=")
        if name not in _NUMBERS or not re.fullmatch(r"[1-9][0-9]*", value) \
                or int(value) > _NUMBERS[name]:
            raise ValueError(f"{option!r} is neither weight=N nor connections=N")
        numbers[name] = int(value)
    return NodeSpec(place if protocol == "uwsgi" else f"http://{place}", _address(place),
                    protocol, numbers["weight"], numbers["connections"])


def route(text: str) -> RouteSpec:
    """Read a route.

    Raises:
        ValueError: it is none.
    """
    pattern, equals, target = text.partition("=")
    host, slash, path = pattern.strip().partition("/")
    if not equals or not target.strip():
        raise ValueError(f"{text!r} is not of the form HOST/PATH=NODE")
    host = "" if host == "*" else host.lower()
    if not re.fullmatch(r"(\*\.)?[a-z0-9._\-:\[\]]*", host) or re.search(r"[\s?#*]", path):
        raise ValueError(f"{pattern!r} is no host (or *.domain) with a path")
    return RouteSpec(host, slash + path if path else "", node(target))


def subscribe_to(text: str) -> Subscription:
    """Read uWSGI's `[ADDRESS=]SERVER:KEY[,MODIFIER1[,SIGNATURE]]`.

    Raises:
        ValueError: it is none.
    """
    place, equals, rest = text.rpartition("=")
    rest, *others = (part.strip() for part in rest.split(","))
    if len(others) > 1 and others[1]:
        raise ValueError(_SIGNED)
    match = re.fullmatch(r"(\[[^\]]+\]:\d+|[^:/@]*:\d+|[/@][^:]+):(.+)", rest)
    if match is None:
        raise ValueError(f"{text!r} is not of the form SERVER:KEY, such as 127.0.0.1:5500:name")
    modifier = others[0] if others else ""
    if modifier and not (modifier.isdigit() and int(modifier) < 256):
        raise ValueError(f"{modifier!r} is no modifier")
    return Subscription(_address(match[1]), match[2], place if equals else "",
                        modifier1=int(modifier or 0))


def subscribe2(text: str) -> Subscription:
    """Read `server=...,key=...[,addr=...][,socket=N][,weight=N][,modifier1=N][,check=FILE]`.

    Raises:
        ValueError: it is none.
    """
    said: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if name == "sign":
            raise ValueError(_SIGNED)
        if not equals or name not in _KEYS:
            raise ValueError(f"{part!r} is none of {', '.join(_KEYS)} with a value")
        said[name] = value
    if not said.get("server") or not said.get("key"):
        raise ValueError(f"{text!r} names no server or no key")
    numbers = {}
    for name, most in (("socket", 255), ("weight", 1000), ("modifier1", 255), ("modifier2", 255)):
        value = said.get(name, "")
        if value and not (re.fullmatch(r"[0-9]+", value) and int(value) <= most):
            raise ValueError(f"{name} = {value!r} is no number up to {most}")
        if value:
            numbers[name] = int(value)
    return Subscription(_address(said["server"]), said["key"], said.get("addr", ""),
                        check=said.get("check", ""), **numbers)


def _address(text: str) -> Address:
    try:
        found = address.parse(text)
    except BindError as error:
        raise ValueError(str(error)) from None
    if found.inherited:
        raise ValueError(f"{text!r}: a node is not an inherited descriptor")
    if address.looks_like_tcp(found):
        raise ValueError(f"{text!r} is a file name: write an address as HOST:PORT")
    return found


class Spec(ValueType):
    """Text that one of the functions above reads."""

    comments = True

    def __init__(self, read: Any, metavar: str) -> None:
        self.read = read
        self.metavar = metavar

    def value(self, text: str, context: CastContext) -> object:
        try:
            self.read(text)
        except ValueError as error:
            context.fail(str(error))
        return text


class Redirect(ValueType):
    """`ADDRESS[,PORT]`: where plain HTTP is sent on to HTTPS."""

    metavar = "ADDRESS[,PORT]"
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        place, comma, port = (part.strip() for part in text.partition(","))
        if comma and not (port.isdigit() and 0 < int(port) < 65536):
            context.fail(f"{port!r} is no port")
        return f"{AddressKind().value(place, context)}{comma}{port}"


NODE = Spec(node, "NODE")
ROUTE = Spec(route, "HOST/PATH=NODE")
SUBSCRIBE_TO = Spec(subscribe_to, "SERVER:KEY[,MODIFIER1]")
SUBSCRIBE2 = Spec(subscribe2, "server=S,key=K[,...]")


class Routing:
    """Whether there is a router, and which sockets are its own.

    Args:
        values: the settings, as far as they are resolved.
        origins: where they came from.

    Attributes:
        wanted: there is one.
        standalone: there is nothing else: no application is named.
    """

    _TARGETS = ("http_to", "http_route", "http_subscription_server")
    # What only a router does, also where there is nothing to route to.
    _DEEDS = ("http_var", "http_stats_server", "http_to_https")
    OWN = ("http", "https", "http_to_https")

    def __init__(self, values: Mapping[str, Any], origins: Mapping[str, Origin]) -> None:
        self.values = values
        self.origins = origins
        named = any(values[name] for name in ("application", "asgi", "module", "wsgi_file",
                                              "paste", "mount"))
        targets = [name for name in self._TARGETS if values[name]]
        self.standalone = bool(targets) and not named
        fronts = [name for name in self.OWN if values[name]]
        chosen = values["http_router"]
        if chosen is None:
            # A client that keeps its connection would be tied to a worker that is busy.
            chosen = bool(targets or values["http_to_https"]) or bool(fronts) and (
                values["gevent"] == 1 or any(values[name] for name in self._DEEDS))
        elif not chosen:
            for name in (*targets, *(name for name in self._DEEDS if values[name])):
                raise origins[name].error("http-router is false: there is nobody to do this")
        self.wanted = bool(chosen)
        if self.wanted and not fronts:
            place = origins.get(targets[0] if targets else "http_router", Origin())
            raise place.error("there is a router, and no socket for its clients: write "
                              "http = ADDRESS")
        for name in ("http_socket", "https_socket", "socket", "uwsgi_socket", "bind"):
            if self.standalone and values[name]:
                raise origins[name].error(
                    "there is no application to serve here: the router's own sockets are http "
                    "and https")
        if values["http_subscription_fallback_key"] and not values["http_subscription_server"]:
            raise origins["http_subscription_fallback_key"].error(
                "there is no http-subscription-server")

    def routed(self, option: str) -> bool:
        """Whether the sockets of an option are the router's."""
        return self.wanted and option in (*self.OWN, "http_stats_server")

    def redirect_port(self) -> str:
        """Return what stands behind the host in a redirect, ":8443" or "".

        Raises:
            ConfigError: two lines say different things.
        """
        ports = {text.partition(",")[2].strip() for text in self.values["http_to_https"]}
        ports.discard("")
        if len(ports) > 1:
            raise self.origins["http_to_https"].error(
                f"plain HTTP is sent on to one port, not to {' and '.join(sorted(ports))}")
        port = ports.pop() if ports else ""
        return f":{port}" if port and port != "443" else ""
