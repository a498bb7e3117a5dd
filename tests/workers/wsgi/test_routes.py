"""Internal routing on a live server, over both protocols."""

import gzip
import json
from pathlib import Path

import pytest

from tests.harness import Server
from tests.workers.wsgi.raw_client import connect, get, get_json, packet, request

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


def test_responses_of_rules(server: Server) -> None:
    with connect(server) as client:
        response = client.get("/healthz")
        assert (response.status, response.body) == (200, b"OK")
        response = client.get("/hello", "X-Forwarded-Proto: http")
        assert response.status == 301 and response.headers["location"].endswith("/hello")
        response = client.get("/no")
        assert (response.status, response.body) == (403, b"") and client.closed()
    with connect(server) as client:
        client.send(b"GET /drop HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_to_end() == b""
    assert "GET /healthz" not in get_json(server, "/calls")


def test_what_rules_change(server: Server) -> None:
    with connect(server) as client:
        environ = client.get("/pretty/environ")
        assert b'"QUERY_STRING": "from=rule"' in environ.body
        assert client.get("/environ").headers["x-rule"] == "yes"
        squeezed = client.get("/stream", "Accept-Encoding: gzip")
        assert squeezed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(squeezed.body) == b"onetwo"
        assert get(server, "/stream").body == b"onetwo"


def test_over_uwsgi(server: Server) -> None:
    with connect(server, "uwsgi") as client:
        client.send(packet(request("/no")))
        response = client.read_response()
        assert response.status == 403 and client.closed()


WHERE = """
import json
def application(environ, start_response):
    start_response("200 OK", [])
    return [json.dumps([environ["SCRIPT_NAME"], environ["PATH_INFO"]]).encode()]
"""
# uWSGI 2.0.30 gives the same responses for these files over HTTP.
WITH_FILES = """[uwsgi]
http-socket = 127.0.0.1:0
socket = 127.0.0.1:0
wsgi-file = app.py
mount = /app=app.py
manage-script-name = 1
gevent = 2
static-map = /static=files
static-map = /app/other=files
check-static = below
route = ^/static/no basicauth:R,a:b
route = ^/static/gone break:403
route = ^/static/away redirect:/x
route = ^/static/fresh addheader:Cache-Control: no-cache
route = ^/static/skip goto:end
route = ^/e/moved rewrite:/app/e
route = ^/e/within rewrite:/e
route = ^/e/named setscriptname:/none
route = ^/gone$ break:403
route = ^/static/held rewrite:/e
route = ^/static/skipped break:403
route-label = end
"""
NAMES = ("no", "gone", "away", "fresh", "skipped", "held")


@pytest.fixture(scope="module")
def with_files(tmp_path_factory):
    place = tmp_path_factory.mktemp("with_files")
    for directory in ("files", "below"):
        (place / directory).mkdir()
        for name in NAMES:
            (place / directory / name).write_text("a file")
    with Server(place, app=WHERE, ini=WITH_FILES) as server:
        yield server


def test_rules_apply_to_files(with_files: Server) -> None:
    for prefix in ("/static", "/app/static"):
        response = get(with_files, f"{prefix}/no")
        assert response.status == 401
        assert response.headers["www-authenticate"] == 'Basic realm="R"'
        assert get(with_files, f"{prefix}/no", "Authorization: Basic YTpi").body == b"a file"
        assert get(with_files, f"{prefix}/gone").status == 403
        assert get(with_files, f"{prefix}/away").headers["location"] == "/x"
        fresh = get(with_files, f"{prefix}/fresh")
        assert (fresh.body, fresh.headers["cache-control"]) == (b"a file", "no-cache")
        assert get(with_files, f"{prefix}/skipped").body == b"a file"
        # A file is looked for by the path before the rules, which a rewrite does not change.
        assert get(with_files, f"{prefix}/held").body == b"a file"
    assert get(with_files, "/gone").status == 403
    # uWSGI serves the file to these.
    for path in ("/static//no", "/static/%2e/no", "/static/%2fno", "/staticno", "//gone",
                 "/static/x/%2e%2e/no"):
        assert get(with_files, path).body.startswith(b"["), path
    with connect(with_files, "uwsgi") as client:
        client.send(packet(request("/static/no")))
        assert client.read_response().status == 401


def test_the_mount_point_is_split_off_before_rules_and_files(with_files: Server) -> None:
    def paths_of(path: str) -> list[str]:
        return json.loads(get(with_files, path).body)

    assert get(with_files, "/app/static/fresh").body == b"a file"
    assert paths_of("/app/other/fresh") == ["/app", "/other/fresh"]
    assert paths_of("/app/e") == ["/app", "/e"]
    assert paths_of("/e/moved") == ["", "/app/e"]
    assert paths_of("/app/e/moved") == ["/app", "/app/e"]
    assert paths_of("/app/e/within") == ["/app", "/e"]
    assert paths_of("/e/named") == ["/none", "/e/named"]
