"""Internal routing on a live server, over both protocols."""

import gzip
from pathlib import Path

import pytest

from tests.harness import Server
from tests.server.wire import ask, connect, get, packet, request

APP = Path(__file__).with_name("app.py").read_text()
RULES = """
route = ^/healthz$ donotlog:
route = ^/healthz$ return:200
route = ^/drop break:
route = ^/no break:403 Forbidden
route-if = equal:${HTTP_X_FORWARDED_PROTO};http redirect-permanent:https://x${REQUEST_URI}
route-if = contains:${HTTP_ACCEPT_ENCODING};gzip gzip:
route = ^/pretty/(.*)$ rewrite:/$1?from=rule
route-uri = ^/environ addheader:X-Rule: yes
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("routes"), app=APP, ini="""[uwsgi]
http-socket = 127.0.0.1:0
socket = 127.0.0.1:0
wsgi-file = app.py
gevent = 10
""" + RULES) as server:
        yield server
        assert server.stop() == 0
        assert "/healthz" not in server.log and "Traceback" not in server.log
        assert "GET /no => generated 0 bytes" in server.log


def test_answers_of_rules(server: Server) -> None:
    with connect(server) as wire:
        answer = wire.get("/healthz")
        assert (answer.status, answer.body) == (200, b"OK")
        answer = wire.get("/hello", "X-Forwarded-Proto: http")
        assert answer.status == 301 and answer.headers["location"].endswith("/hello")
        answer = wire.get("/no")
        assert (answer.status, answer.body) == (403, b"") and wire.closed()
    with connect(server) as wire:
        wire.send(b"GET /drop HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.rest() == b""
    assert "GET /healthz" not in ask(server, "/calls")


def test_what_rules_change(server: Server) -> None:
    with connect(server) as wire:
        environ = wire.get("/pretty/environ")
        assert b'"QUERY_STRING": "from=rule"' in environ.body
        assert wire.get("/environ").headers["x-rule"] == "yes"
        squeezed = wire.get("/stream", "Accept-Encoding: gzip")
        assert squeezed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(squeezed.body) == b"onetwo"
        assert get(server, "/stream").body == b"onetwo"


def test_over_uwsgi(server: Server) -> None:
    with connect(server, "uwsgi") as wire:
        wire.send(packet(request("/no")))
        answer = wire.answer()
        assert answer.status == 403 and wire.closed()
