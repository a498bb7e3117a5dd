"""uwsgi packets: accepted or rejected as a whole, and one per connection."""

import json
import struct

import pytest

from tests.harness import Server
from tests.workers.wsgi.raw_client import connect, get_json, packet, request, wait_for_rejection

ARGUMENTS = ("--socket", "127.0.0.1:0", "--http-socket", "127.0.0.1:0", "--buffer-size", "8192",
             "--uwsgi-allow-from", "127.0.0.1,10.0.0.0/8", "--limit-post", "100000",
             "--http-headers-timeout", "10", "--socket-timeout", "10")
THREADS = 4
GET = packet(request())


def test_a_request(server: Server) -> None:
    with connect(server, "uwsgi") as client:
        client.send(GET + packet(request("/smuggled")))
        response = client.read_response()
        assert response.body == b"hello" and client.closed()
        # As in uWSGI: nginx adds what a client needs beyond the application's own fields.
        assert set(response.headers) == {"content-type", "content-length"}
    assert "GET /smuggled" not in get_json(server, "/calls")


def test_octet_by_octet(server: Server) -> None:
    with connect(server, "uwsgi") as client:
        client.sock.setsockopt(6, 1, 1)  # TCP_NODELAY
        for octet in packet(request("/echo", "POST", CONTENT_LENGTH="4"), b"body"):
            client.send(bytes([octet]))
        assert client.read_response().body == b"body"


def test_variables_reach_the_environ_and_the_servers_own_are_kept(server: Server) -> None:
    with connect(server, "uwsgi") as client:
        client.send(packet([
            *request("/environ", SCRIPT_NAME="/app", REMOTE_USER="admin", CUSTOM="yes",
                     HTTPS="on").items(),
            ("HTTP_X_A", "1"), ("HTTP_X_A", "2"), ("wsgi.input", "forged"),
            ("wsgi.url_scheme", "ftp"), ("geventuwsgi.socket", "forged"), ("uwsgi.version", "0")]))
        environ = json.loads(client.read_response().body)
    assert environ["REMOTE_USER"] == "admin" and environ["CUSTOM"] == "yes"
    assert environ["SCRIPT_NAME"] == "/app" and environ["REMOTE_ADDR"] == "10.9.8.7"
    assert environ["SERVER_NAME"] == "front" and environ["HTTP_X_A"] == "1, 2"
    assert environ["wsgi.url_scheme"] == "https"
    assert "forged" not in json.dumps(environ) and environ["uwsgi.version"].startswith("b'")


def test_head_stream_and_error(server: Server) -> None:
    for path, method, body in (("/hello", "HEAD", b""), ("/stream", "GET", b"onetwo"),
                               ("/write", "GET", b"onetwothree"),
                               ("/file?app.py", "GET", b"calls"),
                               ("/error", "GET", b"500 Internal Server Error\n")):
        with connect(server, "uwsgi") as client:
            client.send(packet(request(path, method)))
            response = client.read_response(method)
            assert body in response.body and "transfer-encoding" not in response.headers
            assert client.read_to_end() == b""
            assert response.status == (500 if path == "/error" else 200)


def test_code_loading_variables_are_inert(server: Server) -> None:
    evil = server.directory / "evil.py"
    evil.write_text("open('evil ran', 'w')\ndef application(e, s): s('200 OK', []); return [b'!']")
    for name in ("UWSGI_FILE", "UWSGI_SCRIPT", "UWSGI_MODULE", "UWSGI_POSTFILE", "UWSGI_CHDIR",
                 "UWSGI_PYHOME", "UWSGI_TOUCH_RELOAD", "UWSGI_CACHE_GET", "UWSGI_APPID"):
        with connect(server, "uwsgi") as client:
            client.send(packet(request("/echo", "POST", CONTENT_LENGTH="4", **{name: str(evil)}),
                               b"body"))
            assert client.read_response().body == b"body"
    with connect(server, "uwsgi") as client:
        client.send(packet(request("/environ", UWSGI_SETENV="EVIL=1", UWSGI_CALLABLE="quit")))
        assert json.loads(client.read_response().body)["UWSGI_SETENV"] == "EVIL=1"
    assert not (server.directory / "evil ran").exists()


def test_ping(server: Server) -> None:
    before = get_json(server, "/calls")
    with connect(server, "uwsgi") as client:
        client.send(packet(modifier1=100))
        assert client.read_to_end() == b"\x64\x00\x00\x01"
        server.wait_for(f"PING from {client.name}")
    assert get_json(server, "/calls") == before


@pytest.mark.parametrize("variables", [
    {"SERVER_PROTOCOL": "HTTP/1.0"}, {"REQUEST_METHOD": "", "SERVER_PROTOCOL": ""}])
def test_a_packet_without_a_method_is_a_get(server: Server, variables: dict[str, str]) -> None:
    """nginx's own tests of uwsgi_pass send SERVER_PROTOCOL alone."""
    with connect(server, "uwsgi") as client:
        client.send(packet(variables))
        assert client.read_response().status == 200
    with connect(server, "uwsgi") as client:
        client.send(packet({**variables, "PATH_INFO": "/environ"}))
        environ = json.loads(client.read_response().body)
    assert environ["REQUEST_METHOD"] == "GET" and environ["SCRIPT_NAME"] == ""
    assert environ["QUERY_STRING"] == "" and environ["SERVER_NAME"] and environ["SERVER_PORT"]
    assert environ["SERVER_PROTOCOL"] == (variables["SERVER_PROTOCOL"] or "HTTP/1.1")


def block(*pieces: bytes) -> bytes:
    data = b"".join(pieces)
    return struct.pack("<BHB", 0, len(data), 0) + data


METHOD = b"\x0e\x00REQUEST_METHOD\x03\x00GET"
SILENT = 0
PACKETS = [
    *((f"modifier {number}", packet(request(), modifier1=number), 400, "unavailable modifier")
      for number in (1, 5, 17, 22, 30, 32, 109, 110, 111, 115, 173, 255)),
    ("no block", packet(), 400, "block"),
    ("empty key", block(METHOD, b"\0\0\x01\0x"), 400, "empty key"),
    ("key over the end", block(METHOD, b"\xff\xff" + METHOD), 400, "over the end"),
    ("value over the end", block(METHOD, b"\x01\0A\xff\0x"), 400, "over the end"),
    ("trailing byte", block(METHOD, b"\x01"), 400, "over the end"),
    ("key without value", block(METHOD, b"\x01\0A"), 400, "over the end"),
    ("oversize", packet(request(HTTP_X=("x" * 8192))), 431, "8192"),
    ("65535 promised", packet(request(), size=65535), 431, "8192"),
    *((f"CONTENT_LENGTH {text!r}", packet(request(CONTENT_LENGTH=text), b"hello"), 400,
       "invalid CONTENT_LENGTH") for text in (
        "abc", "-5", "+5", "5_0", " 5", "5 ", "0x5", "5.0", "9" * 30, "1" * 5000, "\xb2")),
    ("body over limit-post", packet(request(CONTENT_LENGTH="100001")), 413, "limit-post"),
    ("HTTP", b"GET / HTTP/1.1\r\nHost: test\r\n\r\n", SILENT, "an HTTP request on a uwsgi socket "
     "(nginx proxy_pass instead of uwsgi_pass?)"),
    ("HTTP POST", b"POST / HTTP/1.1\r\n\r\n", SILENT, "an HTTP request on a uwsgi socket"),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 40, SILENT, "a TLS handshake"),
    ("PROXY v1", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + GET, SILENT, "PROXY protocol"),
    ("PROXY v2", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0" + GET, SILENT, "PROXY protocol"),
]


@pytest.mark.parametrize("data, status, reason", [row[1:] for row in PACKETS],
                         ids=[row[0] for row in PACKETS])
def test_rejected_packets(server: Server, data: bytes, status: int, reason: str) -> None:
    before = get_json(server, "/calls")
    with connect(server, "uwsgi") as client:
        client.send(data + GET)
        if status:
            assert client.read_response().status == status
            assert client.closed() and not client.reset
        else:
            assert client.read_to_end() == b""
        line = wait_for_rejection(server, client, reason, "closed")
        assert line.endswith(f"closed with {status}" if status else "; closed")
    assert get_json(server, "/calls") == before, "the application was called"


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 20, len(GET) - 1])
def test_truncated_packets(server: Server, cut: int) -> None:
    before = get_json(server, "/calls")
    with connect(server, "uwsgi") as client:
        client.send(GET[:cut])
        client.sock.shutdown(1)
        assert client.read_response().status == 400
        wait_for_rejection(server, client, "closed with 400")
    assert get_json(server, "/calls") == before


def test_a_short_body_never_looks_whole(server: Server) -> None:
    for path, length in (("/echo", "10"), ("/echo", "90000"), ("/quiet", "90000")):
        before = get_json(server, "/bodies")
        with connect(server, "uwsgi") as client:
            client.send(packet(request(path, "POST", CONTENT_LENGTH=length), b"short"))
            client.sock.shutdown(1)
            assert client.read_response().status == (200 if path == "/quiet" else 400)
            wait_for_rejection(server, client, "truncated request body", "closed")
        assert get_json(server, "/bodies") == before


def test_an_unread_body_is_no_packet_and_causes_no_reset(server: Server) -> None:
    with connect(server, "uwsgi") as client:
        client.send(packet(request("/hello", "POST", CONTENT_LENGTH="90000"),
                           packet(request("/smuggled")) * 400))
        assert client.read_response().body == b"hello" and client.closed() and not client.reset
    assert "GET /smuggled" not in get_json(server, "/calls")


def test_a_forbidden_peer(server: Server) -> None:
    before = get_json(server, "/calls")
    with connect(server, "uwsgi", source="127.0.0.2") as client:
        client.send(GET)
        assert client.read_response().status == 403 and client.closed() and not client.reset
        server.wait_for("Forbidden uWSGI request from IP 127.0.0.2")
    assert get_json(server, "/calls") == before
