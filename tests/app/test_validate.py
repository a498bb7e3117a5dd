"""Validators of other projects, around the application, report nothing."""

import io
import warnings
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.validate import validator

import pytest

from geventuwsgi.app import environ as environs
from geventuwsgi.app.input import Body, spool, whole
from geventuwsgi.app.wsgi import WsgiExchange, FileWrapper
from geventuwsgi.protocol.http1 import RequestParser
from geventuwsgi.protocol.uwsgi import PacketParser, encode
from tests.app.exchange import Transport, Wire

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # webob imports cgi, which goes in Python 3.13
    lint = pytest.importorskip("webtest.lint")

Start = Callable[..., Any]
TEXT = b"one\ntwo\nthree"


def reading(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    """Use each method of `wsgi.input` and the errors stream; return a list."""
    stream = environ["wsgi.input"]
    read = [stream.read(2), stream.readline(), *stream.readlines(), *stream, stream.read(5)]
    environ["wsgi.errors"].write("text\n")
    environ["wsgi.errors"].flush()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"".join(read)]


def generating(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return iter([environ["wsgi.input"].read(100)])


def writing(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])(environ["wsgi.input"].read(100))
    return []


def wrapping(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return environ["wsgi.file_wrapper"](io.BytesIO(environ["wsgi.input"].read(100)), 7)


@pytest.mark.parametrize("validate", [validator, lint.middleware])
@pytest.mark.parametrize("application", [reading, generating, writing, wrapping])
@pytest.mark.parametrize("make", [Body, whole, lambda receive: spool(receive, 5)])
@pytest.mark.parametrize("over", ["http", "uwsgi"])
def test_validated(over: str, make: Any, application: Any, validate: Any) -> None:
    base = environs.template(
        errors=io.StringIO(), file_wrapper=FileWrapper, multithread=False, multiprocess=True,
        server_name="h", server_port="80", scheme="http", software="x", version=b"1", node=b"n")
    if over == "http":
        parser = RequestParser()
        parser.head(b"POST /a/b?c=d HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\n"
                    b"Cookie: a=b\r\nContent-Length: %d\r\n\r\n" % len(TEXT))
        environ = environs.from_http(base, parser)
    else:
        packet = PacketParser()
        packet.head(encode({
            "REQUEST_METHOD": "POST", "PATH_INFO": "/a/b", "QUERY_STRING": "c=d",
            "REQUEST_URI": "/a/b?c=d", "CONTENT_LENGTH": str(len(TEXT)), "SERVER_NAME": "h",
            "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "CONTENT_TYPE": "text/plain"}))
        environ = environs.from_packet(base, packet)
    pieces = iter([TEXT[:5], TEXT[5:], b"", b"", b""])
    environ["REMOTE_ADDR"] = "127.0.0.1"
    wire = Wire()
    with make(lambda: next(pieces)) as environ["wsgi.input"]:
        exchange = WsgiExchange(Transport(wire), environ, "POST", "/a/b?c=d", "HTTP/1.1", True,
                                over == "uwsgi")
        exchange.run(validate(application))
    assert exchange.status == 200 and b"two" in wire.body and not exchange.fault
