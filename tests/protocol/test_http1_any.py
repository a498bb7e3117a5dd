"""HTTP/1 with any input: time grows no faster than the bytes, and cuts change nothing."""

import time
from collections.abc import Callable
from itertools import chain

import pytest
from hypothesis import given, strategies as st

from geventuwsgi.errors import ProtocolError
from geventuwsgi.protocol.http1 import RequestParser
from geventuwsgi.protocol.message import Limits
from tests.protocol.http1 import CHUNKED, LAST, request, seen
from tests.protocol.pieces import Pieces, cut, drive


# Time: growth, not seconds. Eightfold input may cost eightfold, quadratic costs 64 times.

def seconds(work: Callable[[], object]) -> float:
    best = 9e9
    for _ in range(5):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


WIDE = Limits(line=2 ** 30, field=2 ** 30, fields=2 ** 30, head=2 ** 30)


@pytest.mark.parametrize("build", [
    lambda n: [CHUNKED + b"1\r\nx\r\n" * (n // 4) + b"0\r\n\r\n"],
    lambda n: [CHUNKED, *[b"1\r\nx\r\n"] * (n // 8), b"0\r\n\r\n"],
    lambda n: [CHUNKED, *[b"1", b"\r", b"\n", b"x", b"\r", b"\n"] * (n // 32), b"0\r\n\r\n"],
    lambda n: [request(b"X: " + b" a" * n)],
    lambda n: [request(b"X: " + b"\t" * n)],
    lambda n: [request(b"X" * n + b": 1")],
    lambda n: [request(*[b"Host-: x"] * (n // 8))],
    lambda n: [request(b"Connection: " + b"a," * n)],
    lambda n: [request(b"Transfer-Encoding: " + b" " * n + b"chunked", body=b"0\r\n\r\n")],
    lambda n: [request(line=b"GET /" + b"%" * n + b" HTTP/1.1")],
    lambda n: [request(line=b"GET http://" + b"a." * n + b" HTTP/1.1")],
], ids=["chunks", "chunk by chunk", "byte by byte", "blanks", "tabs", "name", "fields", "options",
        "coding", "target", "authority"])
def test_time_is_linear(build: Callable[[int], Pieces]) -> None:
    small, large = build(8000), build(64000)
    for pieces in small, large:
        assert drive(RequestParser(WIDE), pieces, seen)[0][2] is True
    ratio = (seconds(lambda: drive(RequestParser(WIDE), large, seen))
             / seconds(lambda: drive(RequestParser(WIDE), small, seen)))
    assert ratio < 30


@pytest.mark.parametrize("tail", [b"\x10", b"\r\nX : 1", b"\n"])
@pytest.mark.parametrize("part", [b" a", b" ", b"\t", b"a", b":", b"\xff"])
def test_time_to_reject_is_linear(part: bytes, tail: bytes) -> None:
    def refuse(size: int) -> None:
        with pytest.raises(ProtocolError):
            RequestParser(WIDE).head(request(b"X: " + part * size + tail))
    ratio = seconds(lambda: refuse(64000)) / seconds(lambda: refuse(8000))
    assert ratio < 30


# Fuzz.

ALPHABET = [
    b"GET", b"POST", b" ", b"/", b"HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\r\n\r\n", b"\r", b"\n",
    b"Host: x\r\n", b"Host", b":", b"Content-Length: 3\r\n", b"Content-Length", b"3", b"0",
    b"Transfer-Encoding: chunked\r\n", b"chunked", b"Connection: close\r\n", b"\t", b"abc",
    b"3\r\nabc\r\n", b"0\r\n\r\n", b"0\r\nX: 1\r\n\r\n", b";a=b", b"\0", b"\xff", b"*",
    b"Expect: 100-continue\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\n"]
SMALL = Limits(line=30, field=40, fields=3, head=120)

streams = st.one_of(
    st.binary(max_size=80),
    st.lists(st.sampled_from(ALPHABET), max_size=14).map(b"".join),
    st.lists(st.one_of(st.sampled_from(ALPHABET), st.binary(max_size=3)), max_size=14)
    .map(b"".join).map(b"POST / HTTP/1.1\r\nHost: x\r\n".__add__))


@given(streams, st.lists(st.integers(0, 10 ** 6), max_size=6), st.sampled_from([Limits(), SMALL]))
def test_the_result_does_not_depend_on_the_cuts(
        data: bytes, places: list[int], limits: Limits) -> None:
    """Invariant: the events depend on the bytes, never on the cuts."""
    whole = drive(RequestParser(limits), [data], seen)
    assert drive(RequestParser(limits), cut(data, places), seen) == whole
    assert drive(RequestParser(limits), [data[at:at + 1] for at in range(len(data))], seen) == whole


@given(streams)
def test_a_parsed_head_is_what_was_sent(data: bytes) -> None:
    """Invariant: method, target, version and fields of a head, written out again, are the
    octets that were read (but for the minor version and an empty line in front)."""
    parser = RequestParser()
    try:
        if not parser.head(data):
            return
    except ProtocolError:
        return
    lead = 2 if data.startswith(b"\r\n") else 0
    again = f"{parser.method} {parser.target} {parser.version}\r\n{parser.fields}\r\n"
    sent = data[lead:parser.head_size]
    assert again.replace("HTTP/1.1", "HTTP/1.", 1).split("\r\n")[1:] == (
        sent.decode("latin-1").split("\r\n")[1:])
    assert sent.startswith(f"{parser.method} {parser.target} HTTP/1.".encode("latin-1"))
    assert parser.buffered == data[parser.head_size:]


token = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=12)
value = st.text(st.characters(max_codepoint=255).filter(
    lambda c: c == "\t" or " " <= c != "\x7f"), max_size=30)
NOT_FRAMING = {"host", "content-length", "transfer-encoding", "connection", "expect"}


@given(token, st.text(st.characters(min_codepoint=33, max_codepoint=255).filter(
    lambda c: c not in "#\x7f"), max_size=30), st.lists(st.tuples(token, value), max_size=8),
    st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.booleans(),
    st.lists(st.integers(0, 10 ** 6), max_size=8))
def test_every_valid_request_is_parsed(
        method: str, path: str, fields: list[tuple[str, str]], parts: list[bytes],
        chunked: bool, places: list[int]) -> None:
    """Invariant: what the grammar allows is parsed back equal, with its body and what follows."""
    fields = [(name, text) for name, text in fields if name.lower() not in NOT_FRAMING]
    if method == "CONNECT":
        method = "GET"
    body = b"".join(parts)
    block = "".join(f"{name}:{text}\r\n" for name, text in [("Host", "x"), *fields])
    if chunked:
        block += "Transfer-Encoding: chunked\r\n"
        coded = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    else:
        block += f"Content-Length: {len(body)}\r\n"
        coded = body
    head = f"{method} /{path} HTTP/1.1\r\n{block}\r\n".encode("latin-1")
    first, second = drive(RequestParser(), cut(head + coded + LAST, places), seen)
    assert first[0][:2] == (method, "/" + path) and first[0][5] == block
    assert first[1:] == [body, True] and second[0][1] == "/pipelined"


@given(st.binary(max_size=200), st.lists(st.integers(0, 10 ** 6), max_size=10))
def test_a_body_is_the_same_in_any_chunks(body: bytes, places: list[int]) -> None:
    """Invariant: the result does not depend on how a body is cut into chunks."""
    coded = b"".join(chain(
        (b"%X;x\r\n%b\r\n" % (len(part), part) for part in cut(body, places) if part),
        [b"0\r\n\r\n"]))
    [[_, found, complete]] = drive(RequestParser(), [CHUNKED + coded], seen)
    assert found == body and complete
