"""The cost of TLS, compared with gunicorn and, for ASGI, uvicorn; all use one certificate.

A new connection needs a full handshake, because `wrk` does not resume sessions.
"""

from collections.abc import Iterator

from benchmarks import clients, peers
from benchmarks.peers import Wanted
from benchmarks.scenarios import OURS, Limit, Load, Row, Run, compare

ABLE = {"wsgi": peers.SPEAKS_HTTPS, "asgi": {OURS, "uvicorn"}}


def _wrk(headers: dict[str, str] | None = None) -> Load:
    return lambda server, seconds: clients.wrk(
        server.address, seconds, 64, headers, closes=headers is not None, scheme="https")


def https(run: Run) -> Iterator[Row]:
    """Thirteen bytes over TLS, on keep-alive and on new connections."""
    for interface, application, peer in (("wsgi", "benchmarks.apps:hello", "gunicorn"),
                                         ("asgi", "benchmarks.asgi_apps:hello", "uvicorn")):
        wanted = Wanted(application, protocol="https", interface=interface)
        name = interface.upper()
        yield compare(run, f"{name} HTTPS, keep-alive", wanted, _wrk(), able=ABLE[interface],
                      limits=(Limit(0.8 if interface == "asgi" else 1 / 5, peer),))
        yield compare(run, f"{name} HTTPS, new connection", wanted,
                      _wrk({"Connection": "close"}), able=ABLE[interface],
                      limits=(Limit(0.9, peer),))
