"""The options of the HTTP router and of subscriptions.

`UNSUPPORTED` has the options of uWSGI's other routers, and of other ways to find a node.
"""

from geventuwsgi.config.options.option import ON_BY_DEFAULT, Option, ignored, refused
from geventuwsgi.config.values.numbers import Number, Seconds, Size
from geventuwsgi.config.values.router import (
    NODE, ROUTE, SIGN_CHECK, SUBSCRIBE2, SUBSCRIBE_TO, Redirect,
)
from geventuwsgi.config.values.types import (
    Address, Assignment, Boolean, Choice, Many, Name, Path, ValueType,
)

_ROUTER = "Router"
ROUTER: tuple[Option, ...] = (
    Option("http-router", Boolean(), "let a router process accept the connections of http and "
           "https, and pass the requests to the workers", _ROUTER,
           derived="true if there are nodes to route to, with http-var or http-stats-server, or if "
                   "a worker handles one request at a time",
           difference="uWSGI always has a router process for http; here workers that handle "
                      "several requests at once accept the connections themselves"),
    Option("http-to", Many(NODE), "a node to which requests are passed: ADDRESS for the uwsgi "
           "protocol or http://ADDRESS, then optionally ,weight=N ,connections=N; may be "
           "repeated", _ROUTER, default=(),
           difference="nodes may have a weight and a limit, and may be HTTP servers"),
    Option("http-route", Many(ROUTE), "a node for the requests of one host (or ``*.domain``), "
           "one path or both; may be repeated", _ROUTER, default=()),
    Option("http-fallback", Many(NODE), "a node that is used while no node of http-to can "
           "be reached; may be repeated", _ROUTER, default=()),
    Option("http-lb", Choice("wrr", "lc"), "how a node is chosen: wrr is weighted round robin, lc "
           "the node with the fewest requests relative to its weight", _ROUTER, default="wrr"),
    Option("http-processes", Number(minimum=1), "number of router processes", _ROUTER,
           default=1, aliases=("http-workers",)),
    Option("http-connections", Number(minimum=1), "maximum number of client connections a router "
           "process keeps open", _ROUTER, default=10000),
    Option("http-node-connections", Number(), "maximum number of requests a node is given at "
           "once, unless the node sets its own; 0: no limit", _ROUTER, default=0),
    Option("http-queue", Number(), "maximum number of requests that wait for a node with free "
           "capacity; further ones get 503", _ROUTER, default=1000),
    Option("http-connect-timeout", Seconds(), "seconds to connect to a node; 0: no limit",
           _ROUTER, default=5),
    Option("http-timeout", Seconds(), "seconds without progress of a node after which the client "
           "gets 504; 0: no limit", _ROUTER, default=60,
           difference="the client gets a response, and a WebSocket has http-upgrade-timeout"),
    Option("http-upgrade-timeout", Seconds(), "seconds without data on a WebSocket or another "
           "upgraded connection after which it is closed; 0: no limit", _ROUTER, default=3600),
    Option("http-gracetime", Seconds(), "maximum time in seconds that a failing node is left out; "
           "it begins with one second", _ROUTER, default=30),
    Option("http-buffer", Size(minimum=4096), "maximum size of a body's data that a router "
           "buffers, for each direction of a connection", _ROUTER, default=65536,
           aliases=("http-buffer-size",)),
    Option("http-websockets", Boolean(), "pass on WebSocket handshakes", _ROUTER, default=True,
           difference=ON_BY_DEFAULT),
    Option("http-raw-body", Boolean(), "pass chunked bodies to uwsgi nodes as they arrive, for "
           "uwsgi.chunked_read(), and allow upgrades to any protocol except HTTP/2", _ROUTER,
           default=False),
    Option("http-var", Many(Assignment()), "add a variable to the packets for uwsgi nodes and "
           "for the workers; may be repeated", _ROUTER, default=(), merge=True),
    Option("http-modifier1", Number(maximum=255), "modifier1 of the packets for uwsgi nodes",
           _ROUTER, default=0),
    Option("http-modifier2", Number(maximum=255), "modifier2 of the packets for uwsgi nodes",
           _ROUTER, default=0),
    Option("http-x-forwarded-for", Boolean(), "send nodes the client's address and scheme in "
           "X-Forwarded-For and X-Forwarded-Proto", _ROUTER, default=True,
           difference="headers from a client that is not in forwarded-allow-ips are always "
                      "dropped; uWSGI passes them on"),
    Option("http-enable-proxy-protocol", Boolean(), "as enable-proxy-protocol, for the sockets of "
           "http, https and http-to-https only", _ROUTER, default=False,
           difference="version 2 of the protocol too, over HTTPS too, and only from "
                      "proxy-allow-ips"),
    Option("http-to-https", Many(Redirect()), "listen for HTTP and redirect every client to HTTPS "
           "on the same host and, if given, this port", _ROUTER, default=()),
    Option("http-stats-server", Many(Address()), "serve the router's statistics in JSON, "
           "and under /metrics for Prometheus", _ROUTER, default=(),
           aliases=("http-stats", "http-ss")),
)

_SUBSCRIPTION = "Subscriptions"
SUBSCRIPTION: tuple[Option, ...] = (
    Option("http-subscription-server", Many(Address()), "accept announcements of nodes on this UDP "
           "address or unix socket; may be repeated", _SUBSCRIPTION, default=(),
           difference="announcements that are not signed are accepted only from this machine"),
    Option("http-subscription-fallback-key", Name(), "the key whose nodes serve hosts without "
           "subscribed nodes", _SUBSCRIPTION),
    Option("subscriptions-sign-check", SIGN_CHECK, "accept only announcements that are signed with "
           "the RSA key whose public part is DIRECTORY/KEY.pem; needs the extra signatures",
           _SUBSCRIPTION),
    Option("subscriptions-sign-check-tolerance", Seconds(), "by how many seconds the time of a "
           "signature may differ from now", _SUBSCRIPTION, default=86400),
    Option("subscriptions-sign-skip-uid", Many(Number()), "accept announcements of this uid over a "
           "unix socket without a signature; may be repeated", _SUBSCRIPTION, default=()),
    Option("subscriptions-credentials-check", Many(Path()), "accept announcements only over a unix "
           "socket, from the user and group that own the file with the name of this text followed "
           "by the key; may be repeated", _SUBSCRIPTION, default=()),
    Option("subscription-tolerance", Seconds(), "seconds without an announcement after which a "
           "node is removed", _SUBSCRIPTION, default=17),
    Option("subscription-dotsplit", Boolean(), "let the nodes of example.com serve a.example.com, "
           "if it has none", _SUBSCRIPTION, default=False),
    Option("subscription-algo", Choice("wrr", "lrc", "wlrc"), "how a subscribed node is chosen: "
           "wrr is weighted round robin, lrc and wlrc the node with the fewest requests",
           _SUBSCRIPTION, default="wrr"),
    Option("subscribe-to", Many(SUBSCRIBE_TO), "announce the uwsgi socket of this instance to a "
           "subscription server under a key; may be repeated", _SUBSCRIPTION, default=(),
           aliases=("subscribe", "st")),
    Option("subscribe2", Many(SUBSCRIBE2), "as subscribe-to, in the form server=S,key=K, then "
           "optionally addr=A, socket=N, weight=N, modifier1=N, modifier2=N, check=FILE, "
           "sign=DIGEST:KEYFILE",
           _SUBSCRIPTION, default=()),
    Option("subscribe-with-modifier1", Number(maximum=255), "always announce this modifier1",
           _SUBSCRIPTION),
    Option("weight", Number(minimum=1, maximum=1000), "the weight of this instance in "
           "announcements that set none", _SUBSCRIPTION, default=1),
    Option("auto-weight", Boolean(), "announce as weight the number of requests that all workers "
           "together handle at once", _SUBSCRIPTION, default=False),
    Option("subscribe-freq", Seconds(minimum=1), "seconds from one announcement to the next",
           _SUBSCRIPTION, default=10),
    Option("unsubscribe-on-graceful-reload", Boolean(), "withdraw the announcement while the "
           "instance reloads", _SUBSCRIPTION, default=False),
)

_ANY = ValueType()
_ONLY_HTTP = "only HTTP connections are routed: "
_OWN_SOCKET = "write https = ADDRESS,CERT,KEY for HTTPS, or use nginx's stream module"


def _family(prefix: str, names: str, instead: str) -> tuple[Option, ...]:
    """Make the refused rows of one router, the bare name first."""
    return refused(" ".join((prefix, *(f"{prefix}-{name}" for name in names.split()))), instead)


_COMMON = ("buffer-size cheap events fallback gid gracetime harakiri processes quiet resubscribe "
           "resubscribe-bind ss stats stats-server subscription-server subscription-slot timeout "
           "to uid use-base use-cache use-code-string use-pattern use-socket workers zerg")

UNSUPPORTED: tuple[Option, ...] = (
    *ignored("http-manage-expect", "a client that expects 100 gets it when its body is needed; "
             "limit-post limits the body", _ANY),
    *ignored("http-events", "there is no number of events to set", Number()),
    *_family("fastrouter", f"{_COMMON} fallback-on-no-key post-buffering post-buffering-dir "
             "subscription-fallback-key",
             "the router accepts HTTP, not the uwsgi protocol: write http = ADDRESS with http-to "
             "or http-subscription-server, and use proxy_pass in nginx"),
    *_family("rawrouter", f"{_COMMON} max-retries xclient",
             f"{_ONLY_HTTP}use nginx's stream module or HAProxy"),
    *_family("sslrouter", f"{_COMMON} max-retries session-context sni", _ONLY_HTTP + _OWN_SOCKET),
    *_family("sslrouter2", "", _ONLY_HTTP + _OWN_SOCKET),

    *refused("http-use-base http-use-cache http-use-code-string http-use-pattern",
             "a node's address is not derived from the host name: use http-route = HOST=NODE, or "
             "http-subscription-server"),
    *refused("http-zerg", "a router does not pass sockets on: use http-to, or "
             "http-subscription-server"),
    *refused("http-resubscribe", "announcements are not passed on: add the other server to the "
             "nodes' subscribe-to"),
    *refused("http-stud-prefix", "the client's address is read from the PROXY protocol: use "
             "enable-proxy-protocol"),
    *refused("http-manage-rtsp", "RTSP is not HTTP: use http-raw-body for upgrades, or nginx's "
             "stream module"),
    *ignored("http-use-socket", "the workers of this instance are always among the nodes, unless "
             "http-to names others", _ANY),
    *ignored("http-manage-source", "a request may have any method, including SOURCE, and a "
             "chunked body of any length"),
    *ignored("http-harakiri", "the master replaces a router without a heartbeat", Number()),
    *ignored("http-quiet", "a node that fails is logged once, not with each request", _ANY),
    *ignored("http-cheap", "a router without nodes sends 503 instead of letting clients wait"),
    *refused("http-uid http-gid", "the router runs as uid and gid: set these, or start the router "
             "as an instance of its own"),

    *ignored("subscriptions-use-credentials", "over a unix socket the router always takes the "
             "sender's credentials from the kernel"),
    *ignored("subscription-notify-socket", "a node gets no confirmation of its announcement: it "
             "is repeated every subscribe-freq seconds", _ANY),
    *refused("start-unsubscribed", "use subscribe2 with check=FILE: nothing is announced until "
             "the file exists"),
)
