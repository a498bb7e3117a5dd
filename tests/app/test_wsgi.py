"""An exchange sends the right octets and calls close() once, whatever the application does."""

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from geventuwsgi.app.wsgi import WsgiExchange, FileWrapper
from geventuwsgi.errors import ResponseError
from tests.app.exchange import OK, TYPE, Body, Transport, Wire, exchange, returning, run

CHUNKED = b"Transfer-Encoding: chunked"


class Bytes(bytes):
    """A subclass, as some template engines return."""


# Bodies

@pytest.mark.parametrize("result, length", [
    ([b"hello"], 5), ((b"hello",), 5), ([b"he", b"llo"], 5), ([b"", b"hello", b""], 5),
    ([], 0), ((), 0), ([b""], 0), ([Bytes(b"hello")], 5), ([Bytes(b"he"), b"llo"], 5),
    ([b"x" * 70_000, b"y" * 70_000], 140_000)])
def test_a_list_has_a_length(result: Any, length: int) -> None:
    one, wire = run(result)
    assert b"Content-Length: %d\r\n" % length in wire.head + b"\r\n"
    assert wire.body == b"".join(result) and one.body_size == length
    assert one.keep_alive and one.head_sent and one.status == 200 and not one.fault
    assert wire.octets.count(b"HTTP/1.1 ") == 1
    assert len(wire.octets) == one.header_size + one.body_size


@pytest.mark.parametrize("result", [b"hello", Bytes(b"hello"), b""])
def test_bytes_without_a_list_are_the_body_as_in_uwsgi(result: bytes) -> None:
    one, wire = run(result)
    assert b"Content-Length: %d" % len(result) in wire.head and wire.body == result
    assert one.body_size == len(result) and not one.fault


def test_a_complete_response_releases_its_slot_before_it_is_sent() -> None:
    assert run([b"hello"])[1].events == ["release", "send"]
    assert run([b"he", b"llo"])[1].events == ["release", "send"]
    body = Body(b"he", b"llo")
    assert run(body)[1].events == ["send", "send", "send", "release"] and body.closed == 1


@pytest.mark.parametrize("result", [
    lambda: iter([b"he", b"llo"]), lambda: (piece for piece in (b"he", b"llo")),
    lambda: Body(b"he", b"", Bytes(b"llo")), lambda: map(bytes, [b"he", b"llo"])])
def test_an_iterator_is_chunked_and_never_held_back(result: Callable[[], Any]) -> None:
    one, wire = run(result())
    assert CHUNKED in wire.head and wire.body == b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
    assert one.keep_alive and one.body_size == 5 and wire.events.count("send") == 3


def test_an_iterator_for_a_client_that_cannot_read_chunks() -> None:
    one, wire = run(iter([b"he", b"llo"]), protocol="HTTP/1.0")
    assert wire.body == b"hello" and b"Connection: close" in wire.head and not one.keep_alive
    one, wire = run(iter([b"he", b"llo"]), raw=True)
    assert wire.body == b"hello" and b"chunked" not in wire.head and not one.keep_alive
    one, wire = run(iter([b"hello"]), ("Content-Length", "5"), protocol="HTTP/1.0")
    assert wire.body == b"hello" and b"Connection: keep-alive" in wire.head and one.keep_alive


def test_a_generator_may_start_the_response_late() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        yield b""
        start_response(OK, TYPE)
        yield b"hello"
    one, wire = exchange()
    one.run(application)
    assert wire.body.startswith(b"5\r\nhello\r\n")


def test_an_empty_iterator() -> None:
    one, wire = run(iter([]))
    assert b"Content-Length: 0" in wire.head and wire.body == b"" and one.keep_alive


def test_write() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        write = start_response(OK, TYPE)
        assert not wire.octets
        write(b"")
        write(b"he")
        assert wire.body == b"2\r\nhe\r\n", "write sends at once"
        return [b"llo"]
    one, wire = exchange()
    one.run(application)
    assert wire.body == b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n" and one.body_size == 5


def test_write_then_an_iterator_then_nothing() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response(OK, [("Content-Length", "5")])(b"hello")
        return result
    for result in ([], Body(), [b""], iter([b""]), FileWrapper(io.BytesIO(b""))):
        one, wire = exchange()
        one.run(application)
        assert wire.body == b"hello" and one.keep_alive and not one.fault


@pytest.mark.parametrize("result", [
    ["hello"], [b"he", "llo"], "hello", [5], [None], [bytearray(b"hello")], [memoryview(b"x")],
    ["he", "llo"], [b"x" * 70_000, "y"]])
def test_a_body_that_is_not_bytes(result: Any) -> None:
    with pytest.raises(ResponseError):
        run(result)
    one, wire = exchange()
    body = Body(*result)
    with pytest.raises(ResponseError):
        one.run(returning(body))
    assert body.closed == 1


def test_a_str_after_good_pieces_cuts_the_response() -> None:
    one, wire = exchange()
    body = Body(b"he", "llo")
    with pytest.raises(ResponseError):
        one.run(returning(body))
    assert body.closed == 1 and one.head_sent and not wire.body.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("result", [None, 5, object()])
def test_a_result_that_is_not_iterable(result: Any) -> None:
    one, wire = exchange()
    with pytest.raises(ResponseError, match=f"returned {type(result).__name__}, which is not"):
        one.run(returning(result))
    assert not wire.octets and not one.head_sent


def test_an_iterable_that_fails_itself() -> None:
    class Broken:
        def __iter__(self) -> Any:
            raise TypeError("its own")
    one, wire = exchange()
    with pytest.raises(TypeError, match="its own"):
        one.run(returning(Broken()))


# HEAD, and statuses without a body

@pytest.mark.parametrize("result", [
    lambda: [b"hello"], lambda: [b"he", b"llo"], lambda: iter([b"he", b"llo"]), lambda: [],
    lambda: FileWrapper(io.BytesIO(b"hello"))])
@pytest.mark.parametrize("kind", [
    {"method": "HEAD"}, {"status": "204 No Content"}, {"status": "304 Not Modified"},
    {"method": "HEAD", "protocol": "HTTP/1.0"}, {"method": "HEAD", "raw": True},
    {"status": "304 Not Modified", "raw": True}])
def test_no_body_where_none_may_be(result: Callable[[], Any], kind: dict[str, Any]) -> None:
    one, wire = run(result(), **kind)
    assert wire.octets.endswith(b"\r\n\r\n") and wire.body == b"" and one.body_size == 0
    assert CHUNKED not in wire.head and not one.fault
    assert one.keep_alive is (not kind.get("raw", False))


def test_head_has_the_length_of_a_get() -> None:
    assert b"Content-Length: 5" in run([b"hello"], method="HEAD")[1].head
    assert b"Content-Length: 9" in run([], ("Content-Length", "9"), method="HEAD")[1].head


# Content-Length

@pytest.mark.parametrize("result", [
    lambda: [b"hell"], lambda: [b"h", b"ell"], lambda: iter([b"he", b"ll"]), lambda: [],
    lambda: FileWrapper(io.BytesIO(b"hell"))])
def test_shorter_than_its_content_length(result: Callable[[], Any]) -> None:
    one, wire = run(result(), ("Content-Length", "5"))
    assert b"hell".startswith(wire.body) and not one.keep_alive and "shorter" in one.fault


@pytest.mark.parametrize("result", [
    lambda: [b"hello, world"], lambda: [b"hel", b"lo, ", b"world"],
    lambda: iter([b"hel", b"lo, world"]), lambda: FileWrapper(io.BytesIO(b"hello, world")),
    lambda: [b"x" * 70_000, b"y" * 70_000]])
def test_longer_than_its_content_length(result: Callable[[], Any]) -> None:
    one, wire = run(result(), ("Content-Length", "5"))
    assert wire.body in (b"hello", b"xxxxx") and not one.keep_alive
    assert "longer" in one.fault and one.body_size == 5


@pytest.mark.parametrize("length", ["x", "-1", "+5", "5_0", "", "9" * 30, " 5", "\u0665"])
def test_a_malformed_content_length(length: str) -> None:
    with pytest.raises(ResponseError):
        run([b"hello"], ("Content-Length", length))


# start_response

def test_not_called() -> None:
    for result in ([b"hello"], [], [b"a", b"b"], Body(b"a"), Body(), FileWrapper(io.BytesIO(b"x"))):
        one, wire = exchange()
        with pytest.raises(ResponseError, match="start_response"):
            one.run(lambda environ, start_response, result=result: result)
        assert not wire.octets
        assert getattr(result, "closed", 1) == 1


def test_called_twice() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(OK, TYPE)
        start_response("404 Not Found", TYPE)
        return [b"hello"]
    one, wire = exchange()
    with pytest.raises(ResponseError, match="twice"):
        one.run(application)
    assert not wire.octets


def test_exc_info_replaces_the_head_while_it_can() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(OK, [("X-First", "1")])
        try:
            raise KeyError("x")
        except KeyError:
            start_response("500 Oops", TYPE, sys.exc_info())
        return [b"sorry"]
    one, wire = exchange()
    one.run(application)
    assert wire.head.startswith(b"HTTP/1.1 500 Oops\r\n") and b"X-First" not in wire.head
    assert one.status == 500 and wire.body == b"sorry" and one.keep_alive


def test_exc_info_after_the_head_is_raised_again() -> None:
    body = Body()

    def application(environ: dict[str, Any], start_response: Any) -> Body:
        start_response(OK, TYPE)(b"begun")
        try:
            raise KeyError("original")
        except KeyError:
            start_response("500 Oops", TYPE, sys.exc_info())
        return body
    one, wire = exchange()
    with pytest.raises(KeyError, match="original") as caught:
        one.run(application)
    assert one.status == 200 and wire.octets.count(b"HTTP/1.1 ") == 1
    assert caught.traceback[-1].name == "application"


@pytest.mark.parametrize("status, headers", [
    ("200 OK\r\nX: y", []), (b"200 OK", []), (200, []), ("", []), ("2000 x", []),
    (OK, [("X", "a\r\nSet-Cookie: b")]), (OK, [("X\n", "a")]), (OK, [("X", "a\0")]),
    (OK, [("X", b"a")]), (OK, [("X", None)]), (OK, None), (OK, [("X", "\u20ac")])])
def test_what_must_not_be_sent(status: Any, headers: Any) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(status, headers)
        return [b"hello"]
    one, wire = exchange()
    with pytest.raises(ResponseError):
        one.run(application)
    assert not wire.octets and not one.head_sent


# close()

ENDS: list[tuple[Body, type[BaseException] | None]] = [
    (Body(b"hello"), None), (Body(), None), (Body(b"a", KeyError("x")), KeyError),
    (Body(KeyError("x")), KeyError), (Body(b"a", GeneratorExit()), GeneratorExit),
    (Body("str"), ResponseError), (Body(SystemExit()), SystemExit)]


@pytest.mark.parametrize("body, error", ENDS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_close_is_called_exactly_once(
        method: str, body: Body, error: type[BaseException] | None) -> None:
    body.closed = 0
    one, wire = exchange(method)
    if error is None:
        one.run(returning(body))
    else:
        with pytest.raises(error):
            one.run(returning(body))
    assert body.closed == 1 and wire.events.count("release") == 1


def test_close_is_called_when_the_client_is_gone() -> None:
    class Gone(Wire):
        def send(self, data: bytes) -> None:
            raise ConnectionResetError
    for body in (Body(b"hello"), Body()):
        with pytest.raises(ConnectionResetError):
            one = WsgiExchange(Transport(Gone()), {}, "GET", "/", "HTTP/1.1", True, False)
            one.run(returning(body))
        assert body.closed == 1


def test_an_error_in_close() -> None:
    def fail() -> None:
        raise KeyError("in close")
    for pieces in ((b"hello",), (b"hello", ValueError("first"))):
        body = Body(*pieces, close=fail)
        one, wire = exchange()
        with pytest.raises(KeyError, match="in close"):
            one.run(returning(body))
        assert body.closed == 1


# Early hints

def test_early_hints() -> None:
    link = [("Link", "</a.css>; rel=preload")]
    for kind, expected in (({}, 1), ({"protocol": "HTTP/1.0"}, 0), ({"raw": True}, 0)):
        one, wire = exchange(**kind)
        one.early_hints(link)
        assert wire.octets.count(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>") == expected
        one.run(returning([b"hello"]))
        one.early_hints(link)
        assert wire.octets.count(b"103 Early") == expected, "none behind the head"
    one, wire = exchange()
    with pytest.raises(ResponseError):
        one.early_hints([("Link", "a\r\nX: y")])
    assert not wire.octets
