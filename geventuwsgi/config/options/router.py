"""The rows of the router and of subscriptions."""

from geventuwsgi.config.options.option import Option, ignored
from geventuwsgi.config.values.numbers import Number, Seconds, Size
from geventuwsgi.config.values.router import NODE, ROUTE, SUBSCRIBE2, SUBSCRIBE_TO, Redirect
from geventuwsgi.config.values.types import (
    Address, Assignment, Boolean, Choice, ValueType, Many, Name,
)

_ROUTER = "Router"
ROUTER = (
    Option("http-router", Boolean(), "let a router process take the connections of http and "
           "https, and hand the requests to the workers", _ROUTER,
           derived="true where there is something to route to, with http-var or "
                   "http-stats-server, and where a worker takes one request at a time",
           difference="uWSGI always has a router process for http; here workers that take "
                      "several requests at a time accept by themselves"),
    Option("http-to", Many(NODE), "a node that requests are handed to: ADDRESS for the uwsgi "
           "protocol or http://ADDRESS, then if need be ,weight=N ,connections=N; may be "
           "repeated", _ROUTER, default=(),
           difference="nodes may have a weight and a limit, and may be HTTP servers"),
    Option("http-route", Many(ROUTE), "a node for the requests of one host (or ``*.domain``), "
           "one path or both; may be repeated", _ROUTER, default=()),
    Option("http-fallback", Many(NODE), "a node that is used while none of http-to can be "
           "reached; may be repeated", _ROUTER, default=()),
    Option("http-lb", Choice("wrr", "lc"), "how the nodes take turns: wrr is weighted round "
           "robin, lc the fewest requests for their weight", _ROUTER, default="wrr"),
    Option("http-processes", Number(minimum=1), "the number of router processes", _ROUTER,
           default=1, aliases=("http-workers",)),
    Option("http-connections", Number(minimum=1), "how many connections of clients a router "
           "process keeps open", _ROUTER, default=10000),
    Option("http-node-connections", Number(), "how many requests a node is given at once, where "
           "it says nothing itself; 0 is no limit", _ROUTER, default=0),
    Option("http-queue", Number(), "how many requests may wait for a node with room; more are "
           "answered 503", _ROUTER, default=1000),
    Option("http-connect-timeout", Seconds(), "seconds for the connection to a node; 0 is no "
           "limit", _ROUTER, default=5),
    Option("http-timeout", Seconds(), "seconds without progress of a node, after which the client "
           "gets a 504; 0 is no limit", _ROUTER, default=60,
           difference="the client gets an answer, and a WebSocket has http-upgrade-timeout"),
    Option("http-upgrade-timeout", Seconds(), "seconds that nothing may pass through a WebSocket "
           "or another upgraded connection; 0 is no limit", _ROUTER, default=3600),
    Option("http-gracetime", Seconds(), "the longest that a node which fails is left out; it "
           "begins with one second", _ROUTER, default=30),
    Option("http-buffer", Size(minimum=4096), "how much of a body a router holds at most, for "
           "each direction of a connection", _ROUTER, default=65536,
           aliases=("http-buffer-size",)),
    Option("http-websockets", Boolean(), "hand WebSocket handshakes on", _ROUTER, default=True,
           difference="on unless switched off"),
    Option("http-raw-body", Boolean(), "hand chunked bodies to uwsgi nodes as they come, for "
           "uwsgi.chunked_read(), and upgrades to any protocol but HTTP/2", _ROUTER,
           default=False),
    Option("http-var", Many(Assignment()), "add a variable to the packets for uwsgi nodes and "
           "for the workers; may be repeated", _ROUTER, default=(), merge=True),
    Option("http-modifier1", Number(maximum=255), "modifier1 of the packets for uwsgi nodes",
           _ROUTER, default=0),
    Option("http-modifier2", Number(maximum=255), "modifier2 of the packets for uwsgi nodes",
           _ROUTER, default=0),
    Option("http-x-forwarded-for", Boolean(), "tell nodes of the client in X-Forwarded-For and "
           "X-Forwarded-Proto", _ROUTER, default=True,
           difference="those of a client that is not in forwarded-allow-ips are dropped in any "
                      "case; uWSGI hands them on"),
    Option("http-enable-proxy-protocol", Boolean(), "as enable-proxy-protocol", _ROUTER,
           to="enable-proxy-protocol", derived="as enable-proxy-protocol"),
    Option("http-to-https", Many(Redirect()), "listen for HTTP and send every client to HTTPS, "
           "at the same host and, if given, this port", _ROUTER, default=()),
    Option("http-stats-server", Many(Address()), "answer with the router's statistics in JSON, "
           "and under /metrics for Prometheus", _ROUTER, default=(),
           aliases=("http-stats", "http-ss")),
    *ignored("http-manage-expect", "a client that expects 100 gets it when its body is wanted; "
             "limit-post bounds the body", ValueType()),
    *ignored("http-events", "there is no number of events to choose", Number()),
)

_SUBSCRIPTION = "Subscriptions"
SUBSCRIPTION = (
    Option("http-subscription-server", Many(Address()), "take announcements of nodes on this UDP "
           "address or unix socket; may be repeated", _SUBSCRIPTION, default=(),
           difference="announcements are not signed, and taken from this machine alone"),
    Option("http-subscription-fallback-key", Name(), "the key whose nodes serve the hosts that "
           "nobody has subscribed to", _SUBSCRIPTION),
    Option("subscription-tolerance", Seconds(), "after how many seconds without an announcement a "
           "node is forgotten", _SUBSCRIPTION, default=17),
    Option("subscription-dotsplit", Boolean(), "let the nodes of example.com serve a.example.com, "
           "if that has none", _SUBSCRIPTION, default=False),
    Option("subscription-algo", Choice("wrr", "lrc", "wlrc"), "how nodes that subscribed take "
           "turns: wrr is weighted round robin, lrc and wlrc the fewest requests",
           _SUBSCRIPTION, default="wrr"),
    Option("subscribe-to", Many(SUBSCRIBE_TO), "announce the uwsgi socket of this instance to a "
           "subscription server under a key; may be repeated", _SUBSCRIPTION, default=(),
           aliases=("subscribe", "st")),
    Option("subscribe2", Many(SUBSCRIBE2), "the same in the form server=S,key=K, then "
           "if need be addr=A, socket=N, weight=N, modifier1=N, modifier2=N, check=FILE",
           _SUBSCRIPTION,
           default=()),
    Option("subscribe-with-modifier1", Number(maximum=255), "announce this modifier1 in any case",
           _SUBSCRIPTION),
    Option("weight", Number(minimum=1, maximum=1000), "the weight of this instance in "
           "announcements that name none", _SUBSCRIPTION, default=1),
    Option("auto-weight", Boolean(), "announce as weight how many requests all workers take at a "
           "time", _SUBSCRIPTION, default=False),
    Option("subscribe-freq", Seconds(minimum=1), "seconds from one announcement to the next",
           _SUBSCRIPTION, default=10),
    Option("unsubscribe-on-graceful-reload", Boolean(), "take the announcement back while the "
           "instance reloads", _SUBSCRIPTION, default=False),
)
