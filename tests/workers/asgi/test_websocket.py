"""WebSockets with a real client: handshakes, messages, and closing by either side."""

import contextlib
import json
import socket
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect

from tests.harness import Server, settled
from tests.workers.asgi.conftest import APP
from tests.workers.wsgi.raw_client import RawClient
from tests.workers.wsgi.raw_client import connect as wire_to
from tests.workers.wsgi.raw_client import get, wait_for_rejection

ARGUMENTS = ("--ws-max-size", "100000", "--ws-max-queue", "4")
HANDSHAKE = ("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
             "{more}\r\n")


def opened(server: Server, path: str = "/echo", **options: object) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.port}{path}", max_size=None, **options)


@contextlib.contextmanager
def raw(server: Server, path: str = "/echo", more: str = "") -> Iterator[RawClient]:
    """Open a WebSocket whose frames the test encodes itself."""
    with wire_to(server) as wire:
        wire.send(HANDSHAKE.format(path=path, more=more).encode())
        assert b"101" in wire.readline()
        while wire.readline() != b"\r\n":
            pass
        yield wire


def frame(kind: Opcode, data: bytes, fin: bool = True) -> bytes:
    return Frame(kind, data, fin).serialize(mask=True)


def received(wire: RawClient) -> tuple[int, bytes]:
    """Read one frame, skipping pings; the opcode is -1 at the end."""
    while True:
        head = wire.read(2)
        if not head:
            return -1, b""
        length = head[1]
        if length == 126:
            length = int.from_bytes(wire.read(2), "big")
        data = wire.read(length)
        if head[0] & 15 != Opcode.PING:
            return head[0] & 15, data


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_messages_come_back(server: Server, compression: str | None) -> None:
    with opened(server, compression=compression) as socket:
        for message in ("text", "\u20ac" * 1000, b"\x00\xff", b"", "", b"x" * 100_000):
            socket.send(message)
            assert socket.recv() == message
        assert bool(socket.protocol.extensions) == (compression is not None)


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_types_that_an_application_may_send(server: Server, compression: str | None) -> None:
    with opened(server, "/kinds", compression=compression) as socket:
        assert [socket.recv() for _ in range(4)] == [b"bytes", b"array", b"view", "text"]
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv()
    assert caught.value.rcvd.code == 1011


def test_fragments_and_pings_in_between(server: Server) -> None:
    with raw(server) as wire:
        wire.send(frame(Opcode.TEXT, "\u20ac".encode()[:2], False) + frame(Opcode.PING, b"p")
                  + frame(Opcode.CONT, "\u20ac".encode()[2:], False)
                  + frame(Opcode.CONT, b"!", True))
        assert received(wire) == (Opcode.PONG, b"p")
        assert received(wire) == (Opcode.TEXT, "\u20ac!".encode())


def test_a_frame_byte_by_byte(server: Server) -> None:
    with raw(server) as wire:
        for octet in frame(Opcode.BINARY, b"slow"):
            wire.send(bytes((octet,)))
        assert received(wire) == (Opcode.BINARY, b"slow")


def test_the_scope_and_the_handshake(server: Server) -> None:
    with opened(server, "/scope?a=b", subprotocols=["soap", "chat"]) as socket:
        assert socket.subprotocol == "chat"
        assert socket.response.headers["X-Own"] == "1"
        assert socket.response.headers["Server"] == "geventuwsgi"
        assert json.loads(socket.recv()) == [
            "websocket", "ws", "/scope", ["soap", "chat"], "a=b", "127.0.0.1", False,
            ["websocket.http.response"]]


@pytest.mark.parametrize(("more", "status"), [
    ("Sec-WebSocket-Key: too short\r\n", 400),
    ("Sec-WebSocket-Version: 12\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", 426),
    ("", 400),
])
def test_an_invalid_handshake(server: Server, more: str, status: int) -> None:
    with wire_to(server) as wire:
        wire.send(("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n"
                   f"Upgrade: websocket\r\n{more}\r\n").encode())
        answer = wire.read_response()
        assert answer.status == status and wire.closed()
        assert (answer.headers.get("sec-websocket-version") == "13") == (status == 426)
        wait_for_rejection(server, wire, "an invalid WebSocket handshake", f"with {status}")


def test_an_upgrade_in_http_1_0_is_a_plain_request(server: Server) -> None:
    with wire_to(server) as wire:
        wire.send(HANDSHAKE.format(path="/hello", more="").replace("P/1.1", "P/1.0").encode())
        assert wire.read_response().body == b"Hello, world!"


def test_an_upgrade_to_something_else_is_a_plain_request(server: Server) -> None:
    assert get(server, "/hello", "Upgrade: h2c", "Connection: Upgrade").body == b"Hello, world!"


@pytest.mark.parametrize(("path", "status", "body"), [
    ("/refuse", 403, b""), ("/deny", 401, b"who are you?"), ("/fail", 500, b""),
    ("/return", 500, b"")])
def test_rejections(server: Server, path: str, status: int, body: bytes) -> None:
    with pytest.raises(InvalidStatus) as caught:
        opened(server, path)
    response = caught.value.response
    assert response.status_code == status
    if body:
        assert response.body == body and response.headers["WWW-Authenticate"] == "Basic"


@pytest.mark.parametrize(("code", "reason"), [(1000, "bye"), (4321, "")])
def test_the_client_closes(server: Server, code: int, reason: str) -> None:
    with opened(server) as socket:
        socket.close(code, reason)
    server.wait_for(f"APP disconnect {code} {reason}".rstrip())


def test_the_client_closes_without_a_code(server: Server) -> None:
    with raw(server) as wire:
        wire.send(frame(Opcode.CLOSE, b""))
        assert received(wire)[0] == Opcode.CLOSE
        assert wire.closed()
    server.wait_for("APP disconnect 1005")


@pytest.mark.parametrize("more", ["", "Sec-WebSocket-Extensions: permessage-deflate\r\n"])
def test_the_client_closes_between_two_fragments(server: Server, more: str) -> None:
    name = f"cut{len(more)}"
    with raw(server, f"/echo?name={name}", more) as wire:
        wire.send(frame(Opcode.TEXT, b"half of ", False) + frame(Opcode.CLOSE, b"\x03\xe8"))
        assert received(wire) == (Opcode.CLOSE, b"\x03\xe8")
        assert wire.closed()
    server.wait_for(f"APP disconnect 1000 {name}")


def test_no_field_of_the_accept_stands_twice(server: Server) -> None:
    with opened(server, "/fields") as socket:
        assert socket.response.headers.get_all("Server") == ["own"]
        assert socket.response.headers.get_all("Date") == ["today"]


def test_the_client_vanishes(server: Server) -> None:
    with raw(server, "/echo?name=vanishing"):
        pass
    server.wait_for("APP disconnect 1006 vanishing")


@pytest.mark.parametrize(("path", "code", "reason"), [
    ("/close", 3001, "enough"), ("/fail_late", 1011, ""), ("/leave", 1000, "")])
def test_the_application_closes(server: Server, path: str, code: int, reason: str) -> None:
    with opened(server, path) as socket, pytest.raises(ConnectionClosed) as caught:
        socket.recv()
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (code, reason)
    if path == "/close":
        server.wait_for("APP own close websocket.disconnect 3001")
        server.wait_for("APP late send ClientDisconnected")


@pytest.mark.parametrize(("octets", "code"), [
    (frame(Opcode.TEXT, b"\xff\xfe"), 1007),
    (frame(Opcode.BINARY, b"x" * 100_001), 1009),
    (frame(Opcode.BINARY, b"x" * 60_000, False) + frame(Opcode.CONT, b"x" * 60_000), 1009),
    (frame(Opcode.CONT, b"nothing before"), 1002),
    (Frame(Opcode.TEXT, b"unmasked").serialize(mask=False), 1002),
    (b"\x83\x80\0\0\0\0", 1002),
    (b"\xa2\x80\0\0\0\0", 1002),  # a reserved bit
    (b"\x09\x80\0\0\0\0", 1002),  # a ping in fragments
    (b"\x89\xfe\0\x80" + bytes(132), 1002),  # one of 128 octets
    (b"\x82\xff" + (1 << 62).to_bytes(8, "big"), 1009),
    (b"\x82\xff" + (1 << 30).to_bytes(8, "big") + bytes(1000), 1009),
    (b"\x88\x82\0\0\0\0" + (1005).to_bytes(2, "big"), 1002),
    (b"\x88\x83\0\0\0\0" + (1000).to_bytes(2, "big") + b"\xff", 1007),
], ids=["not UTF-8", "too long", "too long in fragments", "continues nothing", "unmasked",
        "unknown opcode", "reserved bit", "ping in fragments", "ping too long", "2^62 octets",
        "2^30 octets", "close code 1005", "reason not UTF-8"])  # a mask is random, a name is not
def test_a_client_that_breaks_the_protocol(server: Server, octets: bytes, code: int) -> None:
    before = len(server.find(f"APP disconnect {code}"))
    with raw(server) as wire:
        wire.send(octets)
        kind, data = received(wire)
        assert kind == Opcode.CLOSE and int.from_bytes(data[:2], "big") == code
    server.wait_for(f"APP disconnect {code}", before + 1)


@pytest.mark.parametrize(("data", "code"), [(None, 1009), (b"\xff" * 50, 1002)])
def test_invalid_or_too_much_compressed_data(server: Server, data: bytes | None,
                                             code: int) -> None:
    if data is None:
        press = zlib.compressobj(9, zlib.DEFLATED, -12)
        data = (press.compress(bytes(40 << 20)) + press.flush(zlib.Z_SYNC_FLUSH))[:-4]
    with raw(server, more="Sec-WebSocket-Extensions: permessage-deflate\r\n") as wire:
        wire.send(b"\xc2" + frame(Opcode.BINARY, data)[1:])
        kind, close = received(wire)
        assert kind == Opcode.CLOSE and int.from_bytes(close[:2], "big") == code
        assert wire.closed()


def test_data_before_the_accept_is_rejected(server: Server) -> None:
    with wire_to(server) as wire:
        wire.send(HANDSHAKE.format(path="/echo?early=1", more="").encode()
                  + frame(Opcode.TEXT, b"x"))
        assert wire.read_response().status == 400 and wire.closed()
    server.wait_for("data before the WebSocket was accepted")
    assert "(HTTP/1.1 400)" in server.wait_for("GET /echo?early=1 =>")


def test_an_incomplete_denial_is_logged(server: Server) -> None:
    with wire_to(server) as wire:
        wire.send(HANDSHAKE.format(path="/deny_half", more="").encode())
        assert wire.read_response().status == 500
    server.wait_for("GET /deny_half: the application ended before its denial response was")
    assert "(HTTP/1.1 500)" in server.wait_for("GET /deny_half =>")


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_pings_must_be_answered(tmp_path: Path, loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    with Server(tmp_path, "--asgi", "app:app", "--asgi-loop", loop, "--ws-ping-interval", "0.3",
                "--ws-ping-timeout", "1.2", app=APP) as server:
        with raw(server) as wire:
            head = wire.read(2)
            assert head == bytes((0x80 | Opcode.PING, 4))
            for _ in range(5):  # a second and a half: the pongs keep it open
                wire.send(frame(Opcode.PONG, wire.read(4)))
                wire.read(2)
            wire.read(4)
            kind, data = received(wire)  # after a ping without a pong
            assert kind == Opcode.CLOSE and int.from_bytes(data[:2], "big") == 1011
        server.wait_for("APP disconnect 1011 keepalive ping timeout")


def test_reading_stops_while_the_application_does_not_receive(server: Server) -> None:
    sent: list[int] = []
    with opened(server, "/slow?n=300", compression=None) as socket:
        def send() -> None:
            for number in range(300):
                socket.send(b"x" * 65536)
                sent.append(number)
        sender = threading.Thread(target=send)
        sender.start()
        assert settled(lambda: len(sent), "the client to block") < 300
        assert get(server, "/go").status == 200
        assert socket.recv() == "all"
        sender.join()


def test_send_waits_for_a_client_that_does_not_read(server: Server) -> None:
    with raw(server, "/flood") as wire:
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        wire.read(10)
        assert settled(lambda: int(get(server, "/flooded").body), "the flood to stop") < 500
    server.wait_for("APP ws flood ended")


def test_a_line_in_the_request_log(server: Server) -> None:
    with opened(server, "/echo?logged=1"):
        pass
    assert "(HTTP/1.1 101)" in server.wait_for("GET /echo?logged=1 =>")


def test_messages_without_a_limit(tmp_path: Path) -> None:
    message = b"x" * (17 << 20)     # the default is 16 MiB
    with Server(tmp_path, "--asgi", "app:app", "--ws-max-size", "0", app=APP) as server, \
            opened(server, compression=None) as socket:
        socket.send(message)
        assert socket.recv() == message
