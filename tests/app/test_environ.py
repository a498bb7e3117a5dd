"""The environ of a request: what an application gets, and what never reaches it."""

import re
from io import StringIO
from typing import Any

import pytest

from geventuwsgi.app import environ as environs
from geventuwsgi.protocol.http1 import RequestParser
from geventuwsgi.protocol.uwsgi import PacketParser, encode

BASE = environs.template(
    errors=StringIO(), file_wrapper=list, multithread=True, multiprocess=False,
    server_name="here", server_port="8000", scheme="http", software="x/1", version=b"1",
    node=b"node")


def http(target: str = "/", *fields: str, method: str = "GET", version: str = "1.1",
         host: str = "Host: h") -> dict[str, Any]:
    """Return the environ of a request over HTTP."""
    lines = [f"{method} {target} HTTP/{version}", *([host] if host else []), *fields]
    parser = RequestParser()
    assert parser.head("".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1"))
    return environs.from_http(BASE, parser)


def packet(*pairs: tuple[str, str], **variables: str) -> dict[str, Any]:
    """Return the environ of a request over uwsgi."""
    parser = PacketParser()
    assert parser.head(encode([("REQUEST_METHOD", "GET"), *pairs, *variables.items()]))
    return environs.from_packet(BASE, parser)


# The target

def test_the_asterisk_form() -> None:
    """PATH_INFO is what uWSGI and gunicorn make of it."""
    environ = http("*", method="OPTIONS")
    assert (environ["PATH_INFO"], environ["REQUEST_URI"], environ["QUERY_STRING"]) == ("*", "*", "")


@pytest.mark.parametrize("target, path", [
    ("/", "/"), ("/a/b", "/a/b"), ("//", "//"), ("//a//b//", "//a//b//"),
    ("/a%2Fb", "/a/b"), ("/a%2fb", "/a/b"), ("/%2F%2Fa", "///a"),
    ("/a/../b", "/b"), ("/a/./b", "/a/b"), ("/../../etc/passwd", "/etc/passwd"), ("/..", "/"),
    ("/.", "/"), ("/a/..", "/"), ("/a/.", "/a/"), ("/a/b/..", "/a/"), ("/a//../b", "/a/b"),
    ("/.well-known/x", "/.well-known/x"), ("/..a/.b", "/..a/.b"), ("/a.b/c..", "/a.b/c.."),
    # Dot segments are removed before decoding, as uWSGI does: what was encoded stays.
    ("/a/%2e%2e/b", "/a/../b"), ("/a/.%2e/b", "/a/../b"), ("/a/..%2fb", "/a/../b"),
    ("/%2e/x", "/./x"),
    ("/%00", "/\0"), ("/a%0d%0ab", "/a\r\nb"), ("/%1b[2J", "/\x1b[2J"), ("/%20", "/ "),
    ("/caf%C3%A9", "/caf\xc3\xa9"), ("/caf\xc3\xa9", "/caf\xc3\xa9"), ("/%ff\xff", "/\xff\xff"),
    ("/100%", "/100%"), ("/%zz%4", "/%zz%4"), ("/%2541", "/%41"), ("/a+b", "/a+b"),
    ("/%3Fx", "/?x"), ("/a;b=c", "/a;b=c"),
    ("http://example.com/x/../y", "/y"), ("http://example.com", "/"),
    ("HTTPS://example.com:8443/a%20b", "/a b")])
def test_path_info(target: str, path: str) -> None:
    environ = http(target)
    assert environ["PATH_INFO"] == path and environ["QUERY_STRING"] == ""
    assert environ["RAW_URI"] == target
    # Of an absolute-form target the path: rules on the URI hold for it too.
    assert environ["REQUEST_URI"] == (re.sub("(?i)^https?://[^/]*", "", target) or "/")
    assert environ["SCRIPT_NAME"] == ""


@pytest.mark.parametrize("target, path, query", [
    ("/a?b=c", "/a", "b=c"), ("/a?", "/a", ""), ("/?x?y", "/", "x?y"),
    ("/a?b=%2F%00&c=/../d", "/a", "b=%2F%00&c=/../d"), ("/a%3Fb?c", "/a?b", "c"),
    ("/a/../b?/./", "/b", "/./"), ("http://h?x=1", "/", "x=1"), ("/?\xe9", "/", "\xe9")])
def test_query_string(target: str, path: str, query: str) -> None:
    environ = http(target)
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == (path, query)


def test_targets_without_a_path() -> None:
    environ = http("example.com:443", method="CONNECT")
    assert environ["PATH_INFO"] == "" and environ["REQUEST_URI"] == "example.com:443"


def test_absolute_form_replaces_host() -> None:
    environ = http("http://first.example:81/x", host="Host: second.example")
    assert environ["HTTP_HOST"] == "first.example:81"
    assert (environ["REQUEST_URI"], environ["RAW_URI"]) == ("/x", "http://first.example:81/x")
    assert environ["wsgi.url_scheme"] == "http"
    assert http("https://e/")["wsgi.url_scheme"] == "http", "the client does not decide"


# Fields

def test_request_line_and_fields() -> None:
    environ = http("/x", "Content-Type: text/plain", "content-length: 0", "X-One:  two \t",
                   "x-MiXed: Case", "X-Empty:", method="PUT", version="1.0", host="")
    assert environ["REQUEST_METHOD"] == "PUT" and environ["SERVER_PROTOCOL"] == "HTTP/1.0"
    assert environ["CONTENT_TYPE"] == "text/plain" and environ["CONTENT_LENGTH"] == "0"
    assert environ["HTTP_X_ONE"] == "two" and environ["HTTP_X_MIXED"] == "Case"
    assert environ["HTTP_X_EMPTY"] == ""
    assert not {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH", "HTTP_HOST", ""} & set(environ)


def test_values_are_latin_1() -> None:
    assert http("/", "X-A: caf\xc3\xa9")["HTTP_X_A"] == "caf\xc3\xa9"
    assert http("/", "Sec-WebSocket-Protocol: \x80\xff")["HTTP_SEC_WEBSOCKET_PROTOCOL"] == (
        "\x80\xff")


@pytest.mark.parametrize("field", [
    "X_Forwarded_For: 1.2.3.4", "X-Forwarded_For: 1.2.3.4", "Content_Length: 5",
    "Transfer_Encoding: chunked", "Content_Type: x", "_: x", "Host_: x", "X_Forwarded-Proto: https",
    "Proxy: http://evil/", "PROXY: http://evil/", "proxy: x"])
def test_fields_that_are_dropped(field: str) -> None:
    for _ in range(2):  # the second name comes from memory
        assert set(http("/", field)) == set(http("/"))


def test_an_underscore_never_reaches_a_field_of_the_same_name() -> None:
    environ = http("/", "X-Forwarded-For: true", "X_Forwarded_For: forged", "X-A: 1", "X_A: 2")
    assert environ["HTTP_X_FORWARDED_FOR"] == "true" and environ["HTTP_X_A"] == "1"


@pytest.mark.parametrize("fields, key, value", [
    (["X-A: 1", "x-a: 2", "X-A: 3"], "HTTP_X_A", "1, 2, 3"),
    (["Cookie: a=1", "Cookie: b=2"], "HTTP_COOKIE", "a=1; b=2"),
    (["Accept: a", "Accept:"], "HTTP_ACCEPT", "a, "),
    (["Content-Type: a", "Content-Type: b"], "CONTENT_TYPE", "a, b")])
def test_repeated_fields_are_joined(fields: list[str], key: str, value: str) -> None:
    assert http("/", *fields)[key] == value


def test_names_of_the_server_cannot_be_reached_by_fields() -> None:
    environ = http("/", "wsgi.input: x", "SERVER-NAME: x", "uwsgi.version: x", "REMOTE-ADDR: x",
                   "SCRIPT-NAME: /x", "HTTPS: on", "UWSGI-SCHEME: https", "Remote-User: admin")
    assert {key: environ[key] for key in BASE} == BASE
    assert environ["HTTP_REMOTE_USER"] == "admin" and "REMOTE_USER" not in environ


def test_the_memory_of_names_is_bounded() -> None:
    for number in range(3000):
        assert http("/", f"X-Name-{number}: {number}")[f"HTTP_X_NAME_{number}"] == str(number)
    assert len(environs._keys) <= 2048
    assert "HTTP_PROXY" not in http("/", "pRoXy: late") and http("/", "X-Late: 1")["HTTP_X_LATE"]


def test_each_environ_is_its_own() -> None:
    first = http()
    first["wsgi.url_scheme"] = "https"
    assert type(first) is dict and http()["wsgi.url_scheme"] == "http"
    assert "REQUEST_METHOD" not in BASE


# Packets

def test_packet_variables_reach_the_environ_as_sent() -> None:
    environ = packet(
        REQUEST_URI="/app/a%20b?x", PATH_INFO="/a/../b//c", SCRIPT_NAME="/app", QUERY_STRING="x",
        REMOTE_USER="admin", REMOTE_ADDR="10.1.2.3", SERVER_NAME="front", SERVER_PORT="443",
        HTTP_X_FORWARDED_FOR="1.2.3.4", CUSTOM="yes", HTTP_X_CAF="caf\xe9", CONTENT_LENGTH="",
        SERVER_PROTOCOL="HTTP/1.0", DOCUMENT_ROOT="/srv")
    assert environ["PATH_INFO"] == "/a/../b//c" and environ["SCRIPT_NAME"] == "/app"
    assert environ["REMOTE_USER"] == "admin" and environ["SERVER_PORT"] == "443"
    assert environ["CUSTOM"] == "yes" and environ["HTTP_X_CAF"] == "caf\xe9"
    assert environ["RAW_URI"] == environ["REQUEST_URI"] == "/app/a%20b?x"
    assert environ["CONTENT_LENGTH"] == "" and environ["SERVER_PROTOCOL"] == "HTTP/1.0"


def test_a_packet_without_required_variables() -> None:
    environ = packet()
    assert environ["PATH_INFO"] == "" and environ["SCRIPT_NAME"] == ""
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1" and environ["SERVER_NAME"] == "here"


def test_packet_repeats() -> None:
    environ = packet(("HTTP_X_A", "1"), ("HTTP_X_A", "2"), ("HTTP_COOKIE", "a=1"),
                     ("HTTP_COOKIE", "b=2"), ("CUSTOM", "1"), ("CUSTOM", "2"))
    assert environ["HTTP_X_A"] == "1, 2" and environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["CUSTOM"] == "2"


@pytest.mark.parametrize("name", [
    "wsgi.input", "wsgi.errors", "wsgi.url_scheme", "wsgi.file_wrapper", "wsgi.early_hints",
    "uwsgi.version", "uwsgi.node", "geventuwsgi.socket", "wsgi.new"])
def test_a_packet_never_replaces_variables_of_the_server(name: str) -> None:
    environ = packet((name, "forged"))
    assert environ.get(name) == BASE.get(name)


# The scheme

@pytest.mark.parametrize("variables, scheme", [
    ({}, "http"),
    ({"HTTP_X_FORWARDED_PROTO": "https"}, "https"),
    ({"HTTP_X_FORWARDED_PROTO": "HTTPS"}, "https"),
    ({"HTTP_X_FORWARDED_PROTO": "https, http"}, "https"),
    ({"HTTP_X_FORWARDED_PROTO": " http , https"}, "http"),
    ({"HTTP_X_FORWARDED_PROTO": "wss"}, "https"), ({"HTTP_X_FORWARDED_PROTO": "WS"}, "http"),
    ({"HTTP_X_FORWARDED_PROTO": "ftp"}, "http"),
    ({"HTTP_X_FORWARDED_PROTO": "javascript:alert(1)//"}, "http"),
    ({"HTTP_X_FORWARDED_PROTO": "http", "HTTP_X_FORWARDED_SSL": "on"}, "http"),
    ({"HTTP_X_FORWARDED_SSL": "on"}, "https"), ({"HTTP_X_FORWARDED_SSL": "off"}, "http"),
    ({"HTTPS": "on"}, "https"), ({"HTTPS": "1"}, "https"), ({"HTTPS": "ON"}, "https"),
    ({"HTTPS": "off"}, "http"), ({"HTTPS": ""}, "http"),
    ({"UWSGI_SCHEME": "https"}, "https"),
    ({"UWSGI_SCHEME": "http", "HTTPS": "on", "HTTP_X_FORWARDED_PROTO": "https"}, "http"),
    ({"REQUEST_SCHEME": "https"}, "http")])
def test_scheme(variables: dict[str, str], scheme: str) -> None:
    assert environs.scheme(variables, True, "http") == scheme
    assert environs.scheme(variables, False, "http") == "http"
    assert environs.scheme(variables, False, "https") == "https"
