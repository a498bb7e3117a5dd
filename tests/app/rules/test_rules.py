"""Internal routing: every condition and action, and the order of rules."""

import base64
import os
import re
import zlib
from pathlib import Path
from typing import Any

import pytest

from geventuwsgi.app.rules import actions
from geventuwsgi.app.rules import variables
from geventuwsgi.app.rules.response_filter import wrap
from geventuwsgi.app.rules.rules import CONDITIONS, Filters, Routes
from geventuwsgi.app.wsgi import WsgiExchange
from geventuwsgi.config.options import rules as grammar
from geventuwsgi.protocol.response import ResponseDefaults


class Transport:
    persists = True
    response_defaults = ResponseDefaults("", False)


def request(path: str = "/", **more: str) -> dict[str, Any]:
    return {"REQUEST_METHOD": "GET", "PATH_INFO": path, "REQUEST_URI": path, "SCRIPT_NAME": "",
            "QUERY_STRING": "", "REMOTE_ADDR": "10.1.2.3", "HTTP_HOST": "shop.example",
            "wsgi.url_scheme": "http", **more}


def follow(environ: dict[str, Any], *rules: str,
           filters: Filters = Filters()) -> actions.RuleContext:
    exchange = WsgiExchange(Transport(), environ, "GET", "/", "HTTP/1.1",  # type: ignore[arg-type]
                            True, False)
    return Routes(rules, filters).follow(exchange)


def response_of(context: actions.RuleContext) -> tuple[str, dict[str, str], bytes]:
    """Call the application that responds instead."""
    assert context.replacement is not None
    seen: list[Any] = []
    body = context.replacement(context.environ, lambda *args: seen.append(args))
    data = b"".join(body)
    if hasattr(body, "close"):
        body.close()
    return seen[0][0], dict(seen[0][1]), data


def test_the_grammar_and_the_rules_have_the_same_words() -> None:
    assert set(grammar.ACTIONS) == set(actions.ACTIONS)
    assert set(grammar.CONDITIONS) == set(CONDITIONS)
    assert set(grammar.FUNCTIONS) == {*variables.FUNCTIONS, "uwsgi"}
    assert set(grammar.WORDS["uwsgi"]) == set(variables.SERVER)


@pytest.mark.parametrize("rule, holds", [
    ("route ^/a addvar:X=1", True), ("route ^/b addvar:X=1", False),
    ("route-uri ^/a$ addvar:X=1", True), ("route-host ^shop addvar:X=1", True),
    ("route-qs page addvar:X=1", False), ("route-remote-addr ^10\\. addvar:X=1", True),
    ("route-user-agent . addvar:X=1", False), ("route-remote-user . addvar:X=1", False),
    ("route-referer . addvar:X=1", False), ("route-run addvar:X=1", True),
    ("route-if equal:${HTTP_HOST};shop.example addvar:X=1", True),
    ("route-if-not equal:${HTTP_HOST};shop.example addvar:X=1", False),
    ("route-if eq:${NONE}; addvar:X=1", True), ("route-if ==:a;b addvar:X=1", False),
    ("route-if startswith:${PATH_INFO};/a addvar:X=1", True),
    ("route-if endswith:${HTTP_HOST};.example addvar:X=1", True),
    ("route-if contains:${HTTP_HOST};op.ex addvar:X=1", True),
    ("route-if regexp:${HTTP_HOST};^(s).*e$ addvar:X=$1", True),
    ("route-if-not re:${HTTP_HOST};^x addvar:X=1", True),
    ("route-if empty:${NONE} addvar:X=1", True), ("route-if empty:${HTTP_HOST} addvar:X=1", False),
    ("route-if ishigher:${CONTENT_LENGTH};15 addvar:X=1", True),
    ("route-if >:${CONTENT_LENGTH};16 addvar:X=1", False),
    ("route-if ishigherequal:${CONTENT_LENGTH};16 addvar:X=1", True),
    ("route-if >=:1;2 addvar:X=1", False), ("route-if islower:x;1 addvar:X=1", True),
    ("route-if <:2;1 addvar:X=1", False), ("route-if islowerequal:-1;-1 addvar:X=1", True),
    ("route-if <=:2;1 addvar:X=1", False),
    ("route-if ipv4in:${REMOTE_ADDR};10.0.0.0/8 addvar:X=1", True),
    ("route-if ipv4in:${REMOTE_ADDR};192.168.0.0/16 addvar:X=1", False),
    ("route-if ipv6in:fe80::1;fe80::/10 addvar:X=1", True),
    ("route-if ipv4in:other;10.0.0.0/8 addvar:X=1", False),
    ("route-if exists:/dev/null addvar:X=1", True), ("route-if isfile:/dev addvar:X=1", False),
    ("route-if isdir:/dev addvar:X=1", True), ("route-if isexec:/bin/sh addvar:X=1", True),
    ("route-if islink:/proc/self addvar:X=1", True),
])
def test_conditions(rule: str, holds: bool) -> None:
    environ = request("/a", CONTENT_LENGTH="16")
    follow(environ, rule)
    assert ("X" in environ) is holds


@pytest.mark.parametrize("argument, text", [
    ("$1-$2-$9", "a-b-"), ("$0", "/a/b"), ("${HTTP_HOST}${NONE}", "shop.example"),
    ("${cookie[k]}", "v w"), ("${cookie[none]}", ""), ("${qs[p]}", "1 2"), ("${qs[q]}", ""),
    ("${base64[HTTP_HOST]}", base64.b64encode(b"shop.example").decode()),
    ("${hex[REMOTE_ADDR]}", b"10.1.2.3".hex()), ("$", "$"), ("100%", "100%"),
    ("${wsgi.input}", "${wsgi.input}"), ("${time[none]}", "")])
def test_placeholders(argument: str, text: str) -> None:
    environ = request("/a/b", HTTP_COOKIE='k="v w"; x=1', QUERY_STRING="p=1+2&q=")
    follow(environ, f"route ^/(.)/(.) addvar:X={argument}")
    assert environ["X"] == text


def test_times_and_processes() -> None:
    environ = request()
    follow(environ, "route-run addvar:X=${time[unix]} ${httptime[60]} ${uwsgi[pid]}")
    assert len(environ["X"].split()) == 8 and " GMT " in environ["X"]


def test_the_order_of_rules() -> None:
    environ = request()
    follow(environ, "route-run goto:there", "route-run addvar:SKIPPED=1", "route-label there",
           "route-run addvar:A=1", "route-run last:", "route-run addvar:LATE=1")
    assert environ["A"] == "1" and not {"SKIPPED", "LATE"} & set(environ)
    assert follow(environ, "route-run goto:nowhere", "route-run addvar:LATE=1").closed
    # A label of the client's that there is not: uWSGI drops the connection, too.
    for label in ("", "x"):
        context = follow(request("/", HTTP_A=label), "route-run goto:${HTTP_A}", "route-label y")
        assert context.closed and not context.exchange.transport.persists
    assert "LATE" not in environ


def test_responses_of_rules() -> None:
    environ = request("/old/x", QUERY_STRING="a=\r\nSet-Cookie: b")
    status, headers, body = response_of(follow(environ, "route ^/old/(.*) redirect:/new/$1"))
    assert (status, headers["Location"], body) == ("302 Found", "/new/x", b"Moved")
    rule = "route-run redirect-permanent:https://${HTTP_HOST}/?${QUERY_STRING}"
    status, headers, body = response_of(follow(environ, rule))
    assert (status, body) == ("301 Moved Permanently", b"Moved Permanently")
    assert headers["Location"] == "https://shop.example/?a=Set-Cookie: b"
    status, _, body = response_of(follow(environ, "route-run return:404"))
    assert status == "404 Not Found" and body == b"Not Found"
    context = follow(environ, "route-run break:413 Request Entity Too Large")
    status, _, body = response_of(context)
    assert status == "413 Request Entity Too Large" and body == b""
    assert context.exchange.transport.persists is False
    assert follow(environ, "route-run break:").closed


def test_the_request_as_the_application_sees_it() -> None:
    environ = request("/app/x", SCRIPT_NAME="/app")
    context = follow(
        environ, "route-run fixpathinfo:", "route-run setuser:alice", "route-run setmethod:PUT",
        "route-run seturi:/u", "route-run setremoteaddr:1.2.3.4", "route-run setscheme:https",
        "route-run setdocroot:/d", "route-run addvar:wsgi.input=1", "route-run donotlog:",
        "route-run logvar:k=v", "route-run logvar:l=w", "route-run setscheme:ftp")
    assert environ["PATH_INFO"] == "/x" and environ["REMOTE_USER"] == "alice"
    assert environ["REQUEST_METHOD"] == "PUT" and environ["RAW_URI"] == "/u"
    assert environ["REMOTE_ADDR"] == "1.2.3.4" and environ["wsgi.url_scheme"] == "https"
    assert "wsgi.input" not in environ and environ["DOCUMENT_ROOT"] == "/d"
    assert context.exchange.logged is False and context.exchange.logvars == {"k": "v", "l": "w"}
    follow(environ, "route ^/x rewrite:/y?a=1", "route ^/y rewrite-last:/z", "route . setuser:bob")
    assert (environ["PATH_INFO"], environ["QUERY_STRING"], environ["REMOTE_USER"]) == (
        "/z", "a=1", "alice")
    follow(environ, "route ^/z rewrite:/y?b=2")  # the client's query stays, as in uWSGI
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/y", "b=2&a=1")
    follow(environ, "route-run setpathinfo:/p", "route-run setscriptname:/s")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/s", "/p")


def test_basic_authentication() -> None:
    rule = "route ^/admin basicauth:Shop,alice:se:cret"
    status, headers, _ = response_of(follow(request("/admin"), rule))
    assert status[:3] == "401" and headers["WWW-Authenticate"] == 'Basic realm="Shop"'
    for wrong in ("alice:no", "alice", ":", "alice:se:cret "):
        encoded = base64.b64encode(wrong.encode()).decode()
        environ = request("/admin", HTTP_AUTHORIZATION=f"Basic {encoded}")
        assert response_of(follow(environ, rule))[0][:3] == "401"
    for wrong in ("Basic", "Basic ?", "Bearer x", "Basic \xff"):
        assert follow(request("/admin", HTTP_AUTHORIZATION=wrong), rule).replacement
    right = "basic " + base64.b64encode(b"alice:se:cret").decode()
    environ = request("/admin", HTTP_AUTHORIZATION=right)
    assert follow(environ, rule).replacement is None and environ["REMOTE_USER"] == "alice"
    both = ("route-run basicauth-next:Shop,bob:b", rule)
    assert follow(request("/admin", HTTP_AUTHORIZATION=right), *both).replacement is None
    assert follow(request("/admin"), *both).replacement


def test_files(tmp_path: Path) -> None:
    (tmp_path / "pub").mkdir()
    (tmp_path / "pub" / "a.txt").write_text("a")
    (tmp_path / "secret").write_text("secret")
    rule = f"route ^/f/(.*) static:{tmp_path}/pub/$1"
    status, headers, body = response_of(follow(request("/f/a.txt"), rule))
    assert (status, headers["Content-Type"], body) == ("200", "text/plain", b"a")
    for path in ("/f/../secret", "/f/none", "/f/", "/f/a.txt\0", "/f//etc/passwd"):
        assert response_of(follow(request(path), rule))[0] == "404 Not Found"


def respond(headers: list[tuple[str, str]], pieces: list[bytes], *rules: str,
            status: str = "200 OK") -> tuple[str, list[tuple[str, str]], bytes, list[bytes]]:
    """Run an application with rules; return status, headers, body and its pieces."""
    seen: list[Any] = []
    closed: list[bool] = []
    sent: list[bytes] = []

    class Body:
        def __iter__(self) -> Any:
            return iter(pieces)

        def close(self) -> None:
            closed.append(True)

    def application(environ: Any, start_response: Any) -> Any:
        start_response(status, headers)(b"written ")
        return Body()

    def start_response(*args: Any) -> Any:
        seen.append(args)
        return sent.append
    environ = request()
    body = wrap(application, follow(environ, *rules))(environ, start_response)
    sent += list(body)
    body.close()
    assert closed == [True]
    return seen[0][0], seen[0][1], b"".join(sent), sent


def test_headers_of_the_response() -> None:
    _, headers, body, _ = respond(
        [("Content-Type", "text/plain"), ("X-Powered-By", "x")], [b"body"],
        "route-run addheader:Cache-Control: max-age=60", "route-run delheader:x-powered-by",
        "route-run remheader:None")
    assert headers == [("Content-Type", "text/plain"), ("Cache-Control", "max-age=60")]
    assert body == b"written body"


def test_compression() -> None:
    rules = ("route-run gzip:", "route-run chunked:")
    _, headers, body, pieces = respond(
        [("Content-Length", "13"), ("ETag", '"a"')], [b"a" * 1000, b"", b"b"], *rules)
    assert headers == [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]
    assert zlib.decompress(body, 31) == b"written " + b"a" * 1000 + b"b"
    # Each piece can be read as it comes.
    reader = zlib.decompressobj(31)
    assert reader.decompress(pieces[0]) == b"written "
    for status, header in (("304 Not Modified", ("ETag", '"a"')), ("404 Not Found", ("A", "b")),
                           ("200 OK", ("Content-Encoding", "br"))):
        _, headers, body, _ = respond([header], [b"body"], *rules, status=status)
        assert headers == [header] and body == b"written body"


def test_without_rules_for_responses_the_application_is_not_wrapped() -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        return []
    assert wrap(application, follow(request(), "route-run addvar:A=1")) is application


def later(*rules: str, status: str = "200 OK", headers: Any = (), lazily: bool = False,
          filters: Filters = Filters(), environ: dict[str, Any] | None = None) -> Any:
    """Run an application with rules for responses; (status, headers, body, context, closes)."""
    seen: list[Any] = []
    closes: list[str] = []

    class Body:
        def __init__(self, start: Any) -> None:
            self.start = start

        def __iter__(self) -> Any:
            if lazily:
                self.start(status, list(headers))
            yield b"own"

        def close(self) -> None:
            closes.append("own")

    def application(environ: Any, start_response: Any) -> Any:
        if not lazily:
            start_response(status, list(headers))
        return Body(start_response)
    context = follow(request() if environ is None else environ, *rules, filters=filters)
    body = wrap(application, context)(context.environ, lambda *args: seen.append(args))
    data = b"".join(body)
    if hasattr(body, "close"):
        body.close()
    assert closes == ["own"]
    return seen[-1][0], dict(seen[-1][1]), data, context


@pytest.mark.parametrize("lazily", [False, True])
def test_responses_that_are_replaced(lazily: bool) -> None:
    rules = ("error-route-status ^404$ redirect:/gone", "error-route-run addheader:X-Error: 1",
             "response-route ^/ addheader:X-Any: ${uwsgi[status]}")
    status, headers, body, _ = later(*rules, status="404 Not Found", lazily=lazily)
    assert (status, headers["Location"], body) == ("302 Found", "/gone", b"Moved")
    status, headers, body, _ = later(*rules, status="500 Error", lazily=lazily)
    assert (status, headers, body) == ("500 Error", {"X-Error": "1", "X-Any": "500"}, b"own")
    status, headers, body, _ = later(*rules, lazily=lazily)
    assert (status, headers, body) == ("200 OK", {"X-Any": "200"}, b"own")
    assert later("response-route-if empty:${X} return:503", lazily=lazily)[2] == (
        b"Service Unavailable")


def test_final_rules() -> None:
    context = later("final-route-status ^5 donotlog:", "final-route-run logvar:s=${uwsgi[status]}",
                    "route-run addvar:X=1")[3]
    context.exchange.status = 503
    context.finish()
    assert context.exchange.logged is False and context.exchange.logvars == {"s": "503"}


def test_values_of_the_server() -> None:
    environ = request("/a.css")
    follow(environ, "route-run addvar:X=${uwsgi[pid]} ${uwsgi[wid]} ${mime[PATH_INFO]} "
           "${mime[NONE]}|${uwsgi[uuid]}")
    assert re.fullmatch(rf"{os.getpid()} 0 text/css \|[0-9a-f-]{{36}}", environ["X"])
    context = later("final-route-run logvar:s=${uwsgi[rsize]}")[3]
    context.exchange.body_size = 7
    context.finish()
    assert context.exchange.logvars == {"s": "7"}


def test_fields_of_responses() -> None:
    filters = Filters(frozenset(("x-gone", "x-user")), (("x-user", "REMOTE_USER"),))
    _, headers, _, context = later(
        "response-route-remote-user ^alice$ addheader:X-Seen: yes", filters=filters,
        headers=[("X-User", "alice"), ("X-Gone", "1"), ("X-Kept", "1")])
    assert headers == {"X-Kept": "1", "X-Seen": "yes"}
    assert context.environ["REMOTE_USER"] == "alice"


@pytest.mark.parametrize("lazily", [False, True])
def test_compression_that_the_application_asks_for(lazily: bool) -> None:
    options = {"headers": [("uWSGI-Encoding", "gzip"), ("Content-Length", "3")], "lazily": lazily,
               "filters": Filters(auto_gzip=True)}
    _, headers, body, _ = later(environ=request(HTTP_ACCEPT_ENCODING="gzip"), **options)
    assert headers["Content-Encoding"] == "gzip" and zlib.decompress(body, 31) == b"own"
    assert later(**options)[1:3] == ({"Content-Length": "3"}, b"own")


def test_server_name_as_http_host() -> None:
    environ = request(SERVER_NAME="machine")
    follow(environ, filters=Filters(host_named=True))
    assert environ["SERVER_NAME"] == "shop.example"
