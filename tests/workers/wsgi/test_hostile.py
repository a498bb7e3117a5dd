"""Hostile HTTP: each is rejected with its status, and the application is not called.

A row is all that is sent on one connection. A good request follows, which must never be
served. The log names the peer and the reason.
"""

import json

import pytest

from tests.harness import Server
from tests.workers.wsgi.raw_client import (
    NEXT_REQUEST, Response, connect, get_json, wait_for_rejection)

ARGUMENTS = ("--http-headers-timeout", "10", "--socket-timeout", "10", "--limit-post", "1000000",
             "--disable-logging")
HOST = "Host: test"


def head(*fields: str, line: str = "POST /echo HTTP/1.1", host: str = HOST) -> bytes:
    """A request head with these fields, in latin-1."""
    return "".join(f"{one}\r\n" for one in (line, host, *fields, "") if one or one == ""
                   ).replace("\r\n\r\n\r\n", "\r\n\r\n").encode("latin-1")


CODINGS = ["xchunked", "chunked, identity", "identity", "gzip, chunked", "chunked, chunked",
           "\xa0chunked", "chunked;x", '"chunked"', "", "chunked,", ", chunked", "CHUNKED x",
           "gzip", "\u00adchunked"]
LENGTHS = ["+5", "-5", "-0", "5_0", "0x5", "5 5", "5,5", "5, 6", "", "five", "5.0", "\xb2",
           "\xd9\xa5", "1e1", "0;5", "\xa05", "5\x85"]
HOSTS = ["example.com/abc?bar=", "user@example.com", "a b", "a#b", "a/b", "a\\b", "[::1", "a:b",
         "a:99999999", "[x]", "<script>", "caf\xe9"]
GET = "GET /hello HTTP/1.1"

HEADS: list[tuple[str, bytes, int]] = [
    # 1, 2: transfer codings, alone and together with a length
    *((f"TE {coding!r}", head(f"Transfer-Encoding: {coding}"), 501) for coding in CODINGS),
    *((f"TE {coding!r} + CL", head(f"Transfer-Encoding: {coding}", "Content-Length: 5"), 400)
      for coding in [*CODINGS, "chunked"]),
    ("CL + TE chunked", head("Content-Length: 5", "Transfer-Encoding: chunked"), 400),
    ("TE vertical tab", head("Transfer-Encoding: \x0bchunked"), 400),
    ("TE twice", head("Transfer-Encoding: chunked", "Transfer-Encoding: identity"), 400),
    ("TE twice chunked", head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 400),
    ("TE in 1.0", head("Transfer-Encoding: chunked", line="POST /echo HTTP/1.0"), 400),
    # 3, 4, 5: lengths
    *((f"CL {length!r}", head(f"Content-Length: {length}"), 400) for length in LENGTHS),
    ("CL twice", head("Content-Length: 5", "Content-Length: 6"), 400),
    ("CL twice the same", head("Content-Length: 5", "Content-Length: 5"), 400),
    ("CL empty then 5", head("Content-Length:", "Content-Length: 5"), 400),
    ("CL 2^64+5", head("Content-Length: 18446744073709551621"), 413),
    ("CL 5000 digits", head(f"Content-Length: {'9' * 5000}"), 413),
    ("CL over limit-post", head("Content-Length: 1000001"), 413),
    # 11, 12: lines and names
    ("bare LF in a field", head("X: x\nTransfer-Encoding: chunked"), 400),
    ("bare CR in a field", head("X: x\rTransfer-Encoding: chunked"), 400),
    ("LF only", head().replace(b"\r\n", b"\n"), 400),
    ("CR only", head().replace(b"\r\n", b"\r"), 400),
    ("NUL in a field", head("X: a\0b"), 400), ("NUL in a name", head("X\0: a"), 400),
    ("DEL in a field", head("X: a\x7fb"), 400), ("escape in a field", head("X: \x1b[2J"), 400),
    ("space before the colon", head("Content-Length : 5"), 400),
    ("tab before the colon", head("Transfer-Encoding\t: chunked"), 400),
    ("0x85 after a name", head("Transfer-Encoding\x85: chunked"), 400),
    ("0xa0 after a name", head("Transfer-Encoding\xa0: chunked"), 400),
    ("space in a name", head("X Y: 1"), 400), ("empty name", head(": x"), 400),
    ("no colon", head("nothing"), 400), ("obs-fold", head("X: a\r\n b"), 400),
    ("obs-fold with a tab", head("X: a\r\n\tTransfer-Encoding: chunked"), 400),
    ("folded first field", head(" Content-Length: 5", host=""), 400),
    # 13: request lines
    ("leading space", b" " + head(line=GET), 400),
    ("NUL in the method", head(line="G\0T / HTTP/1.1"), 400),
    ("colon in the method", head(line="GE:T / HTTP/1.1"), 400),
    ("method only", head(line="GET"), 400), ("no version", head(line="GET /hello"), 400),
    ("two blanks", head(line="GET  /hello HTTP/1.1"), 400),
    ("tab", head(line="GET\t/hello HTTP/1.1"), 400),
    ("blank in the target", head(line="GET /a b HTTP/1.1"), 400),
    ("blank at the end", head(line="GET /hello HTTP/1.1 "), 400),
    ("CR in the version", head(line="GET /hello HTTP/1.1\rX"), 400),
    ("control in the target", head(line="GET /\x01 HTTP/1.1"), 400),
    ("NUL in the target", head(line="GET /\0 HTTP/1.1"), 400),
    ("fragment", head(line="GET /hello#x HTTP/1.1"), 400),
    ("HTTP/1.10", head(line="GET /hello HTTP/1.10"), 400),
    ("HTTP/1.", head(line="GET /hello HTTP/1."), 400),
    ("HTTP/4294967297.1", head(line="GET /hello HTTP/4294967297.1"), 400),
    ("http/1.1", head(line="GET /hello http/1.1"), 400),
    ("ICY/1.1", head(line="GET /hello ICY/1.1"), 400),
    ("HTTP/2.0", head(line="GET /hello HTTP/2.0"), 505),
    ("HTTP/0.9", head(line="GET /hello HTTP/0.9"), 505),
    ("HTTP/3.1", head(line="GET /hello HTTP/3.1"), 505),
    ("h2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("relative target", head(line="GET hello HTTP/1.1"), 400),
    ("asterisk for GET", head(line="GET * HTTP/1.1"), 400),
    ("authority for GET", head(line="GET example.com:80 HTTP/1.1"), 400),
    ("CONNECT with a path", head(line="CONNECT /hello HTTP/1.1"), 400),
    ("ftp target", head(line="GET ftp://x/ HTTP/1.1"), 400),
    ("userinfo in the target", head(line="GET http://a@b/ HTTP/1.1"), 400),
    ("no authority", head(line="GET http:///x HTTP/1.1"), 400),
    ("two empty lines first", b"\r\n\r\n" + head(line=GET), 400),
    # 14: Host
    *((f"Host {host!r}", head(line=GET, host=f"Host: {host}"), 400) for host in HOSTS),
    ("two Hosts", head(HOST, line=GET), 400),
    ("two Hosts in one", head(line=GET, host="Host: a, b"), 400),
    ("no Host", head("X: y", line=GET, host=""), 400),
    # 22: expectations
    ("417", head("Expect: 200-ok", "Content-Length: 5"), 417),
    ("417 of two", head("Expect: 100-continue, x", "Content-Length: 5"), 417),
    # 26, 29: sizes
    ("regex bait", head(f"X: {'x ' * 3500}\x10"), 400),
    ("long line", head(line=f"GET /{'x' * 9000} HTTP/1.1"), 414),
    ("1 MiB line", head(line=f"GET /{'x' * (1 << 20)} HTTP/1.1"), 414),
    ("1 MiB of no line", b"G" * (1 << 20), 414),
    ("long value", head(f"X: {'x' * 9000}", line=GET), 431),
    ("1 MiB value", head(f"X: {'x' * (1 << 20)}", line=GET), 431),
    ("1 MiB name", head(f"{'x' * (1 << 20)}: y", line=GET), 431),
    ("101 fields", head(*(f"X-{n}: y" for n in range(100)), line=GET), 431),
    ("10000 fields", head(*(f"X-{n}: y" for n in range(10000)), line=GET), 431),
    ("endless head", head(*(f"X: {'x' * 8000}" for n in range(20)), line=GET), 431),
    # other protocols
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 40, 400),
    ("uwsgi", b"\x00\x0f\x00\x00\x0e\x00REQUEST_METHOD\x03\x00GET", 400),
    ("PROXY v1", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + head(line=GET), 400),
    ("PROXY v2", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0" + head(line=GET), 400),
    ("SSH", b"SSH-2.0-OpenSSH_9\r\n", 400), ("NUL bytes", b"\0" * 100, 400),
]


def reject(server: Server, data: bytes, status: int) -> Response:
    """Send it and a good request; check that there is one response, and return it."""
    before = get_json(server, "/calls")
    with connect(server) as client:
        client.send(data + NEXT_REQUEST)
        response = client.read_response()
        assert (response.status, response.whole) == (status, True)
        assert client.closed() and not client.reset
        line = wait_for_rejection(server, client, f"closed with {status}")
    assert "[WARNING]" in line
    assert get_json(server, "/calls") == before, "the application was called"
    return response


@pytest.mark.parametrize("data, status", [row[1:] for row in HEADS], ids=[row[0] for row in HEADS])
def test_heads(server: Server, data: bytes, status: int) -> None:
    response = reject(server, data, status)
    assert response.headers["connection"] == "close" and response.headers["date"]
    # The page echoes nothing of the request.
    assert response.body.startswith(b"%d " % status) and len(response.body) < 60


def test_a_good_request_before_it_is_served(server: Server) -> None:
    with connect(server) as client:
        client.send(head(line=GET) + head("Content-Length: x") + NEXT_REQUEST)
        assert client.read_response().body == b"hello" and client.read_response().status == 400
        assert client.closed()
    assert not any("smuggled" in call for call in get_json(server, "/calls"))


# Bodies: the application may already run when one turns out to be broken. It never gets
# the end of it, and nothing after it is served.

CHUNKED = head("Transfer-Encoding: chunked")
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: y\r\n\r\n"
BODIES = [
    *((f"size {size!r}", size + b"\r\nhello\r\n0\r\n\r\n") for size in (
        b"+5", b"-5", b"5_0", b"0x5", b" 5", b"", b"g", b"5 5", b"\xd9\xa5", b"5\t ;", b"5;a=",
        b"5;", b"5;=b", b'5;a="', b"5;a\nb", b"5;\r", b"5;a\0", b"F" * 17, b"F" * 2000,
        b"10000000000000005", b"5;" + b"a" * 5000)),
    ("1 MiB extension", b"5;" + b"a" * (1 << 20) + b"\r\nhello\r\n0\r\n\r\n"),
    ("many extensions", b"1;abcdefgh=ijklmnop\r\nx\r\n" * 2000 + b"0\r\n\r\n"),
    ("any two bytes after data", b"5\r\nhelloXX0\r\n\r\n"),
    ("LF after data", b"5\r\nhello\n0\r\n\r\n"), ("LF after size", b"5\nhello\r\n0\r\n\r\n"),
    ("too long", b"4\r\nhello\r\n0\r\n\r\n"), ("too short", b"6\r\nhello\r\n0\r\n\r\n"),
    ("request as trailer", b"0\r\n" + SMUGGLED), ("trailer without colon", b"0\r\nxyz\r\n\r\n"),
    ("space in trailer name", b"0\r\nX : y\r\n\r\n"), ("LF trailer", b"0\r\nX: y\n\r\n"),
    ("folded trailer", b"0\r\nX: y\r\n z\r\n\r\n"), ("NUL trailer", b"0\r\nX: \0\r\n\r\n"),
    ("10000 trailers", b"0\r\n" + b"X: y\r\n" * 10000 + b"\r\n"),
    ("1 MiB trailer", b"0\r\nX: " + b"y" * (1 << 20) + b"\r\n\r\n"),
    *((f"trailer {name}", b"0\r\n%s: 5\r\n\r\n" % name.encode()) for name in (
        "Content-Length", "transfer-encoding", "Host", "Authorization", "X-Forwarded-For")),
]


@pytest.mark.parametrize("path, status", [("/echo", 400), ("/quiet", 200), ("/hello", 200)])
@pytest.mark.parametrize("body", [row[1] for row in BODIES], ids=[row[0] for row in BODIES])
def test_chunked_bodies(server: Server, body: bytes, path: str, status: int) -> None:
    bodies = get_json(server, "/bodies")
    with connect(server) as client:
        client.send(CHUNKED.replace(b"/echo", path.encode()) + body + NEXT_REQUEST)
        response = client.read_response()
        assert response.status == status and b"whole" not in response.body
        assert client.closed() and not client.reset
        wait_for_rejection(server, client, "closed")
    assert get_json(server, "/bodies") == bodies
    assert not any("smuggled" in call for call in get_json(server, "/calls"))


CUT_SHORT = [
    head("Content-Length: 10") + b"hello", CHUNKED + b"5\r\nhel", CHUNKED + b"5\r\nhello\r\n",
    CHUNKED + b"5\r\nhello\r\n0\r\n", CHUNKED + b"5\r", CHUNKED,
    head("Content-Length: 100000") + b"x" * 70000]


def is_left(data: bytes, path: str) -> bool:
    """Whether nobody reads the body: a chunked one is not drained, the response says close."""
    return path == "/hello" and data.startswith(CHUNKED)


@pytest.mark.parametrize("path", ["/echo", "/quiet", "/size", "/hello"])
@pytest.mark.parametrize("data", CUT_SHORT)
def test_bodies_that_are_cut_short(server: Server, data: bytes, path: str) -> None:
    bodies = get_json(server, "/bodies")
    with connect(server) as client:
        client.send(data.replace(b"/echo", path.encode()))
        client.sock.shutdown(1)
        assert client.read_response().status == (200 if path in ("/quiet", "/hello") and (
            b"Content-Length: 10\r" not in data) else 400)
        assert client.closed()
        if not is_left(data, path):
            wait_for_rejection(server, client, "the connection ended inside the request body")
    assert get_json(server, "/bodies") == bodies


def test_an_empty_trailer_section_and_good_trailers(server: Server) -> None:
    with connect(server) as client:
        client.send(CHUNKED.replace(b"/echo", b"/environ")
                    + b'5;a=b;c="d"\r\nhello\r\n0\r\nX-Real-IP: 6.6.6.6\r\nX: y\r\n\r\n')
        assert b"6.6.6.6" not in client.read_response().body
        assert client.get("/hello").body == b"hello"


def test_very_many_small_chunks_take_linear_time(server: Server) -> None:
    with connect(server) as client:
        client.send(CHUNKED + b"1\r\nx\r\n" * 200_000 + b"0\r\n\r\n")
        assert client.read_response().body == b"x" * 200_000


# Requests that are valid, but have been errors in other servers.

@pytest.mark.parametrize("field", ["Proxy: http://evil/", "X_Forwarded_For: 6.6.6.6",
                                   "X-Forwarded_For: 6.6.6.6", "Content_Length: 66",
                                   "Transfer_Encoding: chunked"])
def test_fields_that_never_reach_the_application(server: Server, field: str) -> None:
    with connect(server) as client:
        bare = json.loads(client.get("/environ").body)
        assert json.loads(client.get("/environ", field).body).keys() == bare.keys()
        assert "wsgi.input" in bare and client.get("/hello").status == 200


def test_bytes_that_killed_workers(server: Server) -> None:
    with connect(server) as client:
        worker = client.get("/pid").body
        assert client.get("/hello", "Sec-WebSocket-Protocol: \x80\xff").status == 200
        assert client.get("/%1b[2J\xff%0d%0a", "User-Agent: \xff\xfe").status == 200
        assert client.get("/pid").body == worker


def test_connections_that_vanish(server: Server) -> None:
    with connect(server) as client:
        worker = client.get("/pid").body
        for data in (b"", b"G", b"GET /hello HTTP/1.1\r\n", head("Content-Length: 10")):
            for _ in range(20):
                with connect(server) as other:
                    other.send(data)
        assert client.get("/pid").body == worker
