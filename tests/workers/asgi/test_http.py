"""HTTP of ASGI applications: order of messages, framing, backpressure and errors."""

import json
import os
import re
import socket
import time
from pathlib import Path

import pytest

from geventuwsgi.net.deadlines import RESET
from tests.harness import Server, settled
from tests.workers.wsgi import test_body
from tests.workers.wsgi.raw_client import (
    Response, connect, get, get_json, wait_for_rejection)

ARGUMENTS = ("--limit-post", "1000000")


def wait_for_app(server: Server, text: str) -> None:
    server.wait_for(f"APP {text}")


def post(server: Server, path: str, body: bytes, *fields: str, whole: bool = True) -> Response:
    with connect(server) as wire:
        head = [f"POST {path} HTTP/1.1", "Host: test", *fields]
        if whole:
            head.append(f"Content-Length: {len(body)}")
        wire.send("\r\n".join([*head, "", ""]).encode() + body)
        return wire.read_response()


def test_the_scope(server: Server) -> None:
    with connect(server) as wire:
        answer = wire.get("/scope/caf%C3%A9/../a//b?x=%20y", "X-One: 1", "X-ONE: 2",
                          "X_Two: dropped", "Accept:  */* ")
        scope = json.loads(answer.body)
        name = wire.sock.getsockname()
    assert scope["path"] == "/scope/a//b"
    assert scope["raw_path"] == "/scope/caf%C3%A9/../a//b"
    assert scope["query_string"] == "x=%20y"
    assert scope["headers"] == [["host", "test"], ["x-one", "1"], ["x-one", "2"],
                                ["accept", "*/*"]]
    assert (scope["type"], scope["http_version"], scope["method"], scope["scheme"]) == (
        "http", "1.1", "GET", "http")
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.5"}
    assert tuple(scope["client"]) == name[:2]
    assert scope["server"] == ["127.0.0.1", server.port]
    assert scope["root_path"] == ""
    assert sorted(scope["extensions"]) == [
        "http.response.early_hint", "http.response.pathsend", "http.response.trailers",
        "http.response.zerocopysend"]


def test_paths_are_decoded_from_utf_8(server: Server) -> None:
    assert get_json(server, "/scope/%E2%82%AC")["path"] == "/scope/\u20ac"
    assert get_json(server, "/scope/%ff")["path"] == "/scope/\ufffd"
    assert get_json(server, "/scope/a%2Fb")["path"] == "/scope/a/b"


def test_client_and_scheme_come_from_a_trusted_proxy(server: Server) -> None:
    scope = json.loads(get(server, "/scope", "X-Forwarded-For: 6.6.6.6, 10.1.2.3:99, 127.0.0.1",
                           "X-Forwarded-Proto: https").body)
    assert scope["client"] == ["10.1.2.3", 0] and scope["scheme"] == "https"
    with connect(server, source="127.0.0.9") as wire:
        scope = json.loads(wire.get("/scope", "X-Forwarded-For: 10.1.2.3",
                                    "X-Forwarded-Proto: https").body)
    assert scope["client"][0] == "127.0.0.9" and scope["scheme"] == "http"


def test_the_same_head_again_and_again_has_scopes_of_its_own(server: Server) -> None:
    with connect(server) as wire:
        for _ in range(4):
            answer = wire.get("/state", "X-A: b")
            own, shared, names = json.loads(answer.body)
            assert own and names == ["own", "shared", "started"]
        assert shared >= 4  # a shallow copy shares what it holds


def test_keep_alive_and_pipelining_keep_the_order(server: Server) -> None:
    with connect(server) as wire:
        wire.send(b"GET /wait?for=0.2 HTTP/1.1\r\nHost: a\r\n\r\n"
                  b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
                  b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [wire.read_response().body for _ in range(3)] == [
            b"waited", b"abc", b"Hello, world!"]
        assert wire.get("/hello", "Connection: close").headers["connection"] == "close"
        assert wire.closed()


def test_pipelined_requests_keep_their_order_when_the_loop_was_blocked(server: Server) -> None:
    blocks = len(server.find("APP block began"))
    with connect(server) as wire:
        wire.send(b"GET /block?for=0.2 HTTP/1.1\r\nHost: a\r\n\r\n"
                  b"GET /wait?for=0.2 HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for("APP block began", blocks + 1)
        wire.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
                  b"GET /unread HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [wire.read_response().body for _ in range(4)] == [
            b"unblocked", b"waited", b"Hello, world!", b"unread"]


def test_many_pipelined_requests(server: Server) -> None:
    with connect(server) as wire:
        wire.send(b"".join(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n%04d" % n
                           for n in range(500)))
        assert [wire.read_response().body for _ in range(500)] == [b"%04d" % n for n in range(500)]


@pytest.mark.parametrize("size", [0, 1, 1024, 65536, 300_000, 1_000_000])
def test_bodies_come_back(server: Server, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    answer = post(server, "/echo", body)
    assert answer.whole and answer.body == body


def test_a_chunked_body_in_small_pieces(server: Server) -> None:
    with connect(server) as wire:
        message = (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                   b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nX-T: 1\r\n\r\n")
        for at in range(len(message)):
            wire.send(message[at:at + 1])
        assert wire.read_response().body == b"abcdefg"
        assert wire.get("/hello").body == b"Hello, world!"


def test_reading_stops_while_the_application_does_not_receive(server: Server) -> None:
    with connect(server) as wire:
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        wire.send(b"POST /slow_reader?for=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        wire.sock.setblocking(False)
        sent = 0
        end = time.monotonic() + 0.8
        while time.monotonic() < end and sent < 100_000_000:
            try:
                sent += wire.sock.send(b"x" * 65536)
            except BlockingIOError:
                time.sleep(0.01)
        # The server's own buffer and the two socket buffers.
        assert sent < 16_000_000
        wire.sock.setblocking(True)
        assert wire.read_response().body == b"enough"


def test_send_waits_for_a_client_that_does_not_read(server: Server) -> None:
    with connect(server) as wire:
        wire.send(b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.read(10)
        sent = settled(lambda: int(get(server, "/flooded").body), "the flood to stop")
        assert sent < 30_000_000
    wait_for_app(server, "flood ended by ClientDisconnected")


def test_a_disconnect_is_reported(server: Server) -> None:
    with connect(server) as wire:
        wire.send(b"GET /wait_gone HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for_app(server, "waiting for the client")
    wait_for_app(server, "the client left")


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("more", [b"", b"G", b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_a_disconnect_behind_pipelined_octets_is_reported(server: Server, more: bytes,
                                                          reset: bool) -> None:
    waits, gone = (len(server.find(f"APP {text}")) for text in (
        "waiting for the client", "the client left"))
    with connect(server) as wire:
        wire.send(b"GET /wait_gone HTTP/1.1\r\nHost: a\r\n\r\n" + more)
        server.wait_for("APP waiting for the client", waits + 1)
        if reset:
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    server.wait_for("APP the client left", gone + 1)


def test_a_request_and_a_reset_at_once(server: Server) -> None:
    blocks, gone = (len(server.find(f"APP {text}")) for text in ("block began", "the client left"))
    with connect(server) as wire, connect(server) as other:
        assert wire.get("/hello").status == 200
        other.send(b"GET /block?for=0.2 HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for("APP block began", blocks + 1)
        wire.send(b"GET /wait_gone HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        wire.sock.close()
    server.wait_for("APP the client left", gone + 1)


def test_an_upload_is_received_after_the_client_has_closed_its_sending_side(
        server: Server) -> None:
    with connect(server) as wire:  # much of it is unread when the sweep looks
        wire.send(b"POST /slow_echo?for=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n"
                  + b"x" * 900_000)
        wire.sock.shutdown(socket.SHUT_WR)
        assert wire.read_response().body == b"900000 False"


def test_a_truncated_body_never_looks_complete(server: Server) -> None:
    with connect(server) as wire:
        wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nonly this")
        wire.sock.shutdown(socket.SHUT_WR)
        assert wire.read_to_end().startswith(b"HTTP/1.1 400 ")
        wait_for_app(server, f"echo gone after {len(b'only this')}")
        wait_for_rejection(server, wire, "the connection ended inside the request body")


def test_a_broken_chunk_is_a_400(server: Server) -> None:
    answer = post(server, "/echo", b"3\r\nabc\r\nzz\r\n", "Transfer-Encoding: chunked",
                  whole=False)
    assert answer.status == 400
    server.wait_for("malformed chunk size line")


def test_limit_post(server: Server) -> None:
    assert post(server, "/echo", b"", "Content-Length: 1000001", whole=False).status == 413
    answer = post(server, "/echo", b"f4241\r\n" + b"x" * 1_000_001 + b"\r\n0\r\n\r\n",
                  "Transfer-Encoding: chunked", whole=False)
    assert answer.status == 413


def test_no_100_within_a_response(server: Server) -> None:
    test_body.test_no_100_within_a_response(server)


@pytest.mark.parametrize("more", [b"", b"GET / HTTP/1.0\r\n\r\n"], ids=["read", "not read"])
def test_a_response_cut_off_for_a_half_closed_client_does_not_look_whole(
        server: Server, more: bytes) -> None:
    with connect(server) as wire:
        wire.send(b"GET /stream?n=50&wait=0.1 HTTP/1.0\r\n\r\n" + more)
        wire.sock.shutdown(socket.SHUT_WR)
        response = wire.read_response()
        assert response.body.startswith(b"0\n") and b"49" not in response.body
        assert not response.whole and wire.reset


def test_100_continue_comes_with_the_first_receive(server: Server) -> None:
    head = b"POST /%s HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    with connect(server) as wire:
        wire.send(head % b"echo")
        assert wire.read_response().status == 100
        wire.send(b"hello")
        assert wire.read_response().body == b"hello"
        wire.send(head % b"unread")
        answer = wire.read_response()
        assert answer.body == b"unread" and answer.headers["connection"] == "close"


def test_a_body_left_unread_is_drained(server: Server) -> None:
    with connect(server) as wire:
        wire.send(b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n")
        assert wire.read_response().body == b"unread"
        wire.send(b"x" * 200_000)
        assert wire.get("/hello").body == b"Hello, world!"
        wire.send(b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n")
        answer = wire.read_response()
        # A proxy that believes the connection kept would send its next request into the close.
        assert answer.body == b"unread" and answer.headers["connection"] == "close"
        wire.send(b"x" * 900_000)
        assert wire.closed()


def test_streams_are_chunked_or_end_with_the_connection(server: Server) -> None:
    with connect(server) as wire:
        answer = wire.get("/stream?n=3&wait=0.01")
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.whole and answer.body == b"0\n1\n2\n"
        answer = wire.get("/stream?n=3", version="1.0")
        assert answer.body == b"0\n1\n2\n" and "transfer-encoding" not in answer.headers


def test_a_head_does_not_wait_for_the_body(server: Server) -> None:
    """`EventSource.onopen` waits for it."""
    with connect(server) as wire:
        wire.send(b"GET /quiet_events HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.readline() == b"HTTP/1.1 200 OK\r\n"
        while line := wire.readline().strip():
            assert b"length" not in line
        wire.sock.shutdown(socket.SHUT_WR)
        wait_for_app(server, "quiet events ended")


def test_responses_without_a_body(server: Server) -> None:
    with connect(server) as wire:
        answer = wire.get("/hello", method="HEAD")
        assert answer.headers["content-length"] == "13"
        assert wire.get("/stream", method="HEAD").status == 200
        for status in (204, 304):
            answer = wire.get(f"/empty?status={status}")
            assert answer.status == status and "transfer-encoding" not in answer.headers
        assert wire.get("/empty?status=200").headers["content-length"] == "0"
        assert wire.get("/hello").body == b"Hello, world!"


@pytest.mark.parametrize(("path", "status", "line"), [
    ("/fail", 500, "ValueError: before the start"),
    ("/exits", 500, "SystemExit: 3"),
    ("/cancels", 500, "GET /cancels => "),
    ("/nothing", 500, "/nothing: the application returned without a response"),
    ("/only_start", 500, "/only_start: the application returned before its response"),
    ("/bad?kind=value", 500, "control character in the value of header 'x-a'"),
    ("/bad?kind=name", 500, "malformed header name 'x a'"),
    ("/bad?kind=text", 500, "a header is not a pair of bytes"),
    ("/bad?kind=status", 500, "the status is str, not int"),
    ("/bad?kind=twice", 500, "http.response.start was sent twice"),
    ("/bad?kind=order", 500, "a body was sent before http.response.start"),
    ("/bad?kind=type", 500, "'http.response.nonsense' is not a message"),
    ("/bad?kind=body", 500, "the body is str, not bytes"),
])
def test_errors_before_the_head_are_a_500(server: Server, path: str, status: int,
                                          line: str) -> None:
    with connect(server) as wire:
        answer = wire.get(path)
        assert answer.status == status and answer.headers["connection"] == "close"
        assert b"Traceback" not in answer.body
        assert wire.closed()
    server.wait_for(line)
    assert get(server, "/hello").body == b"Hello, world!"


def test_errors_after_the_head_end_the_connection(server: Server) -> None:
    for path, line in (("/fail_late", "ValueError: in the middle"),
                       ("/half", "/half: the application returned before its response")):
        answer = get(server, path)
        assert answer.status == 200 and not answer.whole
        server.wait_for(line)
    answer = get(server, "/fail_late", version="1.0")
    assert not answer.whole  # only a reset can show it


def test_an_error_after_the_response_is_only_logged(server: Server) -> None:
    with connect(server) as wire:
        assert wire.get("/fail_after").body == b"fine"
        server.wait_for("ValueError: after the end")
        assert wire.get("/hello").body == b"Hello, world!"


def test_content_length_is_kept(server: Server) -> None:
    assert not get(server, "/short").whole
    server.wait_for("the body is 6 bytes shorter than its Content-Length")
    for path in ("/long", "/long?more=1"):
        with connect(server) as wire:
            response = wire.get(path)
            assert response.body == b"four" and response.headers["connection"] == "close"
            server.wait_for(f"{path}: the body is 9 bytes longer than its Content-Length")


def test_early_hints_and_trailers(server: Server) -> None:
    with connect(server) as wire:
        hint = wire.get("/hints")
        assert hint.status == 103 and hint.headers["link"] == "</a.css>; rel=preload"
        assert wire.read_response().body == b"hinted"
        wire.send(b"GET /trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close\r\n\r\n")
        received = wire.read_to_end()
        assert received.endswith(b"4\r\nbody\r\n0\r\nx-sum: 17\r\n\r\n")
        assert b"\r\ntrailer: x-sum\r\n" in received


@pytest.mark.parametrize("te", [b"TE: trailers\r\n", b"TE: gzip , Trailers\r\n", b"TE: gzip\r\n",
                                b""])
def test_trailers_are_sent_once_and_if_the_client_takes_them(server: Server, te: bytes) -> None:
    reports = len(server.find("APP trailers: "))
    with connect(server) as wire:
        wire.send(b"GET /trailers?twice=1 HTTP/1.1\r\nHost: a\r\n" + te + b"\r\n"
                  b"GET /wait?for=0.1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        received = wire.read_to_end()
    server.wait_for("APP trailers: http.response.trailers was sent without being announced, before "
                    "the end of the body, or after the last one", reports + 1)
    assert b"x-late" not in received
    body, end = re.findall(rb"\r\n\r\n(.*?)HTTP/1.1 200 OK.*\r\n\r\n(.*)", received, re.S)[0]
    assert end == b"waited"
    assert body == (b"4\r\nbody\r\n0\r\nx-sum: 17\r\n\r\n" if b"railers" in te else b"body")


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_files_are_sent_by_sendfile(server: Server, tmp_path: Path, size: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"0123456789" * (size // 10))
    with connect(server) as wire:
        answer = wire.get(f"/path?file={file}")
        assert answer.headers["content-length"] == str(size) and answer.body == file.read_bytes()
        if size:
            head = wire.get(f"/path?file={file}", method="HEAD")
            assert head.headers["content-length"] == str(size)
        assert wire.get("/hello").body == b"Hello, world!"
    assert get(server, "/path?file=/nowhere").status == 500


def test_files_of_proc(server: Server) -> None:
    """Their size is 0, or that of a page."""
    with connect(server) as wire:
        answer = wire.get("/path?file=/proc/self/status")
        assert b"VmRSS" in answer.body and answer.whole
        assert int(answer.headers["content-length"]) == len(answer.body)
        answer = wire.get("/path?file=/sys/kernel/mm/transparent_hugepage/enabled")
        assert b"never" in answer.body and answer.whole


def test_a_file_that_becomes_shorter(server: Server, tmp_path: Path) -> None:
    """The connection is cut, and the application is not to blame."""
    file = tmp_path / "shrinking"
    file.write_bytes(b"x" * 20_000_000)
    with connect(server) as wire:
        wire.send(f"GET /path?file={file} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert wire.read(1)
        os.truncate(file, 10_000_000)
        assert len(wire.read_to_end()) < 11_000_000 and wire.ended
        server.wait_for("shrinking: the file ended 10000000 bytes early")
    assert not server.find(f"Error handling GET /path?file={file}")


def test_a_part_of_a_file_between_other_pieces(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"0123456789")
    with connect(server) as wire:
        answer = wire.get(f"/zerocopy?file={file}")
        assert answer.body == b"23456!" and answer.whole


@pytest.mark.parametrize("file", ["/", "/dev/null", "/nothing/of/the/kind"])
def test_anything_but_a_regular_file_is_a_500(server: Server, file: str) -> None:
    assert get(server, f"/path?file={file}").status == 500


def test_a_client_that_disconnects_in_a_file(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "file"
    with file.open("wb") as handle:
        handle.truncate(200_000_000)
    with connect(server) as wire:
        wire.send(f"GET /path?file={file} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert wire.read(1000)
    assert get(server, "/hello").body == b"Hello, world!"


def test_background_tasks_delay_no_request(server: Server) -> None:
    with connect(server) as wire:
        assert wire.get("/background?for=0.3").body == b"done"
        assert wire.get("/hello").body == b"Hello, world!"
        wait_for_app(server, "background ended")
        assert wire.get("/spawn?for=0.2").body == b"spawned"
    wait_for_app(server, "spawned ended")


@pytest.mark.parametrize("size", [3, 100_000, 250_000])
def test_half_a_body_never_looks_complete_after_the_response(server: Server, size: int) -> None:
    before = len(server.find("APP received after"))
    with connect(server) as wire:
        wire.send(b"POST /receive_after HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size
                  + b"x" * (size // 2))
        assert wire.read_response().body == b"answered"
        wire.send(b"x" * (size - size // 2))
        assert wire.get("/hello").body == b"Hello, world!"
    server.wait_for("APP received after: http.disconnect 0", before + 1)


def test_a_request_sees_nothing_of_the_context_of_another(server: Server) -> None:
    with connect(server) as wire:
        for _ in range(3):
            assert wire.get("/context").body == b"unset"
        body = b"x" * 600_000  # reading pauses, and resumes within the application's task
        wire.send(b"POST /context HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
                  + body)
        assert wire.read_response().body == b"unset"
        assert wire.get("/context").body == b"unset"
        wire.send(b"GET /context HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
        assert [wire.read_response().body for _ in range(3)] == [b"unset"] * 3


@pytest.mark.parametrize(("message", "status"), [
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
])
def test_anything_but_http_is_rejected(server: Server, message: bytes, status: int) -> None:
    with connect(server) as wire:
        wire.send(message)
        assert wire.read_response().status == status
        assert wire.closed()


def test_a_burst_of_short_connections(server: Server) -> None:
    """2,000 connections, 100 at a time, within a second or two."""
    request = b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    for _ in range(20):
        wires = [connect(server) for _ in range(100)]
        for wire in wires:
            wire.send(request)
        for wire in wires:
            with wire:
                assert wire.read_to_end().endswith(b"Hello, world!")


def test_one_line_per_request_in_the_log(server: Server) -> None:
    get(server, "/hello?marked=1", "User-Agent: me")
    line = server.wait_for("/hello?marked=1")
    assert "127.0.0.1 () {" in line and "=> generated 13 bytes in" in line
    assert "(HTTP/1.1 200) 1 headers in" in line
