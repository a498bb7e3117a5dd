"""The options of the router: the syntax of nodes, routes and subscriptions.

Each type checks its text and leaves it unchanged; the functions parse it into plain values. Nothing
here opens a socket or resolves a name.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from geventuwsgi.config.values import types
from geventuwsgi.config.values.origin import CastContext, Origin
from geventuwsgi.config.values.types import ValueType
from geventuwsgi.errors import BindError
from geventuwsgi.net import address, signature
from geventuwsgi.net.address import Address

_NUMBERS = {"weight": 1000, "connections": 1_000_000}
_KEYS = ("server", "key", "socket", "addr", "weight", "modifier1", "modifier2", "check",
         "sign")


class NodeSpec(NamedTuple):
    """A node as written: `[http://]ADDRESS[,weight=N][,connections=N]`."""

    name: str
    address: Address
    protocol: str
    weight: int
    connections: int


class RouteSpec(NamedTuple):
    """A route as written: `HOST/PATH=NODE`; "" is any host or any path."""

    host: str
    path: str
    node: NodeSpec


class Subscription(NamedTuple):
    """A subscription server, and the announcement to send to it.

    Attributes:
        server: the address of the subscription server.
        key: the host it serves; `@FILE` for one key on each line of a file.
        address: of the node; "" for that of the socket with the number `socket`.
        weight: 0 if none is set.
        check: nothing is announced unless this file exists.
        sign: digest and private key, `DIGEST:FILE`; "" = announcements are not signed.
    """

    server: Address
    key: str
    address: str = ""
    socket: int = 0
    weight: int = 0
    modifier1: int = 0
    modifier2: int = 0
    check: str = ""
    sign: str = ""


def node(text: str) -> NodeSpec:
    """Parse a node.

    Raises:
        ValueError: it has another form.
    """
    place, *options = (part.strip() for part in text.split(","))
    protocol = "uwsgi"
    for scheme in ("http", "uwsgi"):
        if place.startswith(scheme + "://"):
            protocol, place = scheme, place[len(scheme) + 3:]
    if place.startswith("https://"):
        raise ValueError(f"{text!r}: there is no TLS to nodes: use http:// or uwsgi://")
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
    """Parse a route.

    Raises:
        ValueError: it has another form.
    """
    pattern, equals, target = text.partition("=")
    host, slash, path = pattern.strip().partition("/")
    if not equals or not target.strip():
        raise ValueError(f"{text!r} is not of the form HOST/PATH=NODE")
    host = "" if host == "*" else host.lower().removesuffix(".")
    if not re.fullmatch(r"(\*\.)?[a-z0-9._\-:\[\]]*", host) or re.search(r"[\s?#*]", path):
        raise ValueError(f"{pattern!r} is not a host (or *.domain) with a path")
    return RouteSpec(host, slash + path if path else "", node(target))


def subscribe_to(text: str) -> Subscription:
    """Parse uWSGI's `[ADDRESS=]SERVER:KEY[,MODIFIER1[,SIGNATURE]]`.

    Raises:
        ValueError: it has another form.
    """
    place, equals, rest = text.rpartition("=")
    rest, *others = (part.strip() for part in rest.split(","))
    sign = others[1] if len(others) > 1 else ""
    if sign:
        signature.parse(sign)
    match = re.fullmatch(r"(\[[^\]]+\]:\d+|[^:/@]*:\d+|[/@][^:]+):(.+)", rest)
    if match is None:
        raise ValueError(f"{text!r} is not of the form SERVER:KEY, such as 127.0.0.1:5500:name")
    modifier = others[0] if others else ""
    if modifier and not (re.fullmatch("[0-9]{1,3}", modifier) and int(modifier) < 256):
        raise ValueError(f"{modifier!r} is not a modifier")
    return Subscription(_address(match[1]), match[2], place if equals else "",
                        modifier1=int(modifier or 0), sign=sign)


def subscribe2(text: str) -> Subscription:
    """Parse `server=...,key=...`, and any of `_KEYS`.

    Raises:
        ValueError: it has another form.
    """
    fields: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or name not in _KEYS:
            raise ValueError(f"{part!r} is not one of {', '.join(_KEYS)} with a value")
        fields[name] = value
    if not fields.get("server") or not fields.get("key"):
        raise ValueError(f"{text!r} has no server or no key")
    if fields.get("sign"):
        signature.parse(fields["sign"])
    numbers = {}
    for name, most in (("socket", 255), ("weight", 1000), ("modifier1", 255), ("modifier2", 255)):
        value = fields.get(name, "")
        if value and not (re.fullmatch(r"[0-9]+", value) and int(value) <= most):
            raise ValueError(f"{name} = {value!r} is not a number up to {most}")
        if value:
            numbers[name] = int(value)
    return Subscription(_address(fields["server"]), fields["key"], fields.get("addr", ""),
                        check=fields.get("check", ""), sign=fields.get("sign", ""), **numbers)


def _address(text: str) -> Address:
    try:
        found = address.parse(text)
    except BindError as error:
        raise ValueError(str(error)) from None
    if found.inherited:
        raise ValueError(f"{text!r}: a node cannot be an inherited descriptor")
    if address.looks_like_tcp(found):
        raise ValueError(f"{text!r} is a file name: write an address as HOST:PORT")
    return found


class Spec(ValueType):
    """Text that one of the functions above parses."""

    comments = True

    def __init__(self, parse: Callable[[str], object], metavar: str) -> None:
        self.parse = parse
        self.metavar = metavar

    def value(self, text: str, context: CastContext) -> object:
        try:
            self.parse(text)
        except ValueError as error:
            context.fail(str(error))
        return text


class Redirect(ValueType):
    """`ADDRESS[,PORT]`: a socket that redirects HTTP to HTTPS."""

    metavar = "ADDRESS[,PORT]"
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        place, comma, port = (part.strip() for part in text.partition(","))
        if comma and not (re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65536):
            context.fail(f"{port!r} is not a port")
        return f"{types.Address().value(place, context)}{comma}{port}"


NODE = Spec(node, "NODE")
ROUTE = Spec(route, "HOST/PATH=NODE")
SUBSCRIBE_TO = Spec(subscribe_to, "SERVER:KEY[,MODIFIER1[,DIGEST:FILE]]")
SIGN_CHECK = Spec(signature.parse, "DIGEST:DIRECTORY")
SUBSCRIBE2 = Spec(subscribe2, "server=S,key=K[,...]")


class RouterOptions:
    """Whether there is a router, and which sockets are its own.

    Args:
        values: the settings, as far as they are resolved.
        origins: where they were set.

    Attributes:
        wanted: whether there is a router.
        standalone: whether there is only a router, without an application.
    """

    _TARGETS = ("http_to", "http_route", "http_subscription_server")
    # Options that need a router, also without nodes.
    _ROUTER_ONLY = ("http_var", "http_stats_server", "http_to_https")
    OWN = ("http", "https", "http_to_https")

    def __init__(self, values: Mapping[str, Any], origins: Mapping[str, Origin]) -> None:
        self.values = values
        self.origins = origins
        named = any(values[name] for name in ("application", "asgi", "module", "wsgi_file",
                                              "paste", "mount"))
        targets = [name for name in self._TARGETS if values[name]]
        self.standalone = bool(targets) and not named
        sockets = [name for name in self.OWN if values[name]]
        chosen = values["http_router"]
        if chosen is None:
            # A client that keeps its connection open would be tied to one, possibly busy, worker.
            slots = values["gevent"] or values["threads"]
            chosen = bool(targets or values["http_to_https"]) or bool(sockets) and (
                slots == 1 or any(values[name] for name in self._ROUTER_ONLY))
        elif not chosen:
            for name in (*targets, *(name for name in self._ROUTER_ONLY if values[name])):
                raise origins[name].error("it needs a router, and http-router is false")
        self.wanted = bool(chosen)
        if self.wanted and not sockets:
            place = origins.get(targets[0] if targets else "http_router", Origin())
            raise place.error("the router has no socket for its clients: write http = "
                              "ADDRESS")
        for name in ("http_socket", "https_socket", "socket", "uwsgi_socket", "bind"):
            if self.standalone and values[name]:
                raise origins[name].error(
                    "there is no application to serve: the sockets of the router are http and "
                    "https")
        if values["http_subscription_fallback_key"] and not values["http_subscription_server"]:
            raise origins["http_subscription_fallback_key"].error(
                "it needs http-subscription-server")

    def owner(self, option: str) -> str:
        """Return the role that accepts from the sockets of an option: "router" or "worker"."""
        routed = self.wanted and option in (*self.OWN, "http_stats_server")
        return "router" if routed else "worker"

    def redirect_port(self) -> str:
        """Return the port part of a redirect's location, ":8443" or "".

        Raises:
            ConfigError: two lines have different ports.
        """
        ports = {text.partition(",")[2].strip() for text in self.values["http_to_https"]}
        ports.discard("")
        if len(ports) > 1:
            raise self.origins["http_to_https"].error(
                f"HTTP is redirected to one port, not to {' and '.join(sorted(ports))}")
        port = ports.pop() if ports else ""
        return f":{port}" if port and port != "443" else ""
