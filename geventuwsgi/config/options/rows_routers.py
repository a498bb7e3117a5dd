"""The rows of uWSGI's other routers, of nodes found another way, and of signed subscriptions.

This server has one router, for HTTP: `rows_router` has its rows.
"""

from geventuwsgi.config.values.types import Kind
from geventuwsgi.config.values.numbers import Number
from geventuwsgi.config.options.option import Option, ignored, refused

_ANY = Kind()


def _family(prefix: str, names: str, instead: str) -> tuple[Option, ...]:
    """Make the refused rows of one router, the bare name first."""
    return refused(" ".join((prefix, *(f"{prefix}-{name}" for name in names.split()))), instead)


_COMMON = ("buffer-size cheap events fallback gid gracetime harakiri processes quiet resubscribe "
           "resubscribe-bind ss stats stats-server subscription-server subscription-slot timeout "
           "to uid use-base use-cache use-code-string use-pattern use-socket workers zerg")

ROWS: tuple[Option, ...] = (
    *_family("fastrouter", f"{_COMMON} fallback-on-no-key post-buffering post-buffering-dir "
             "subscription-fallback-key",
             "the router takes HTTP, not the uwsgi protocol: write http = ADDRESS with http-to or "
             "http-subscription-server, and proxy_pass in nginx"),
    *_family("rawrouter", f"{_COMMON} max-retries xclient",
             "connections that are not HTTP are not passed on: use nginx's stream module or "
             "HAProxy"),
    *_family("sslrouter", f"{_COMMON} max-retries session-context sni",
             "connections that are not HTTP are not passed on: write https = ADDRESS,CERT,KEY for "
             "HTTPS, or use nginx's stream module"),
    *_family("sslrouter2", "", "connections that are not HTTP are not passed on: write https = "
             "ADDRESS,CERT,KEY for HTTPS, or use nginx's stream module"),

    *refused("http-use-base http-use-cache http-use-code-string http-use-pattern",
             "the node of a host is not made of its name: use http-route = HOST=NODE, or "
             "http-subscription-server"),
    *refused("http-zerg", "a router is no pool of sockets: use http-to, or "
             "http-subscription-server"),
    *refused("http-resubscribe", "announcements are not passed on: write the other server in the "
             "nodes' subscribe-to too"),
    *refused("http-stud-prefix", "the address in front of a connection is read as the PROXY "
             "protocol: use enable-proxy-protocol"),
    *refused("http-manage-rtsp", "RTSP is no HTTP: use http-raw-body for upgrades, or nginx's "
             "stream module"),
    *ignored("http-use-socket", "the workers of this instance are always among the nodes, unless "
             "http-to names others", _ANY),
    *ignored("http-manage-source", "a request may have any method, SOURCE too, and a body without "
             "an end if it is chunked"),
    *ignored("http-harakiri", "a router that gives no sign of life is replaced by the master",
             Number()),
    *ignored("http-quiet", "a node that fails is told once, not with each request", _ANY),
    *ignored("http-cheap", "a router without nodes answers 503 instead of letting clients wait"),
    *refused("http-uid http-gid", "the router runs as uid and gid: set these, or start the router "
             "as an instance of its own"),

    *refused("subscriptions-sign-check subscriptions-credentials-check",
             "announcements are not signed: they are taken from this machine alone, over loopback "
             "or a unix socket whose directory says who may"),
    *ignored("subscriptions-sign-check-tolerance subscriptions-sign-skip-uid",
             "announcements are not signed", _ANY),
    *ignored("subscriptions-use-credentials", "over a unix socket the kernel tells the receiver "
             "who sends, if that asks"),
    *ignored("subscription-notify-socket", "a node is not told that its announcement came: it is "
             "repeated every subscribe-freq seconds", _ANY),
    *refused("start-unsubscribed", "use subscribe2 with check=FILE: nothing is announced until "
             "the file is there"),
)
