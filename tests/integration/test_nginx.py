"""Requests through real nginx, in each of the ways to use it (see PROXIES)."""

import hashlib
import json
import random
import socket
import threading

import pytest

from tests.harness import wait_until
from tests.integration.conftest import PROXIES
from tests.integration.nginx import ask

BIG = random.Random(2).randbytes(20 << 20)  # 20 MB without repetition
EVERY = sorted(PROXIES)


@pytest.fixture(params=EVERY)
def nginx(nginx_of, request):
    """nginx in each of the ways to use it; the test must not cause an error in its log."""
    nginx = nginx_of(request.param)
    before = len(nginx.errors)
    yield nginx
    assert nginx.errors[before:] == []


def digest(body):
    return f"{len(body)} {hashlib.sha256(body).hexdigest()}".encode()


def test_the_example(nginx):
    page = nginx.ask("/")
    assert page.status == 200 and b"<h1>It works</h1>" in page.body
    assert b"for 127.0.0.1" in page.body
    assert page.get("content-length") == str(len(page.body))
    assert nginx.ask("/healthz").status == 204
    missing = nginx.ask("/nowhere")
    assert (missing.status, missing.body) == (404, b"not found\n")
    seen = json.loads(nginx.ask("/echo?a=1&b=%20", "POST", b"hello", {"X-Test": "y"}).body)
    assert seen["method"] == "POST" and seen["body"] == "hello"
    assert seen["query_string"] == "a=1&b=%20" and seen["headers"]["HTTP_X_TEST"] == "y"
    assert seen["headers"]["CONTENT_LENGTH"] == "5" and seen["scheme"] == "http"


@pytest.mark.parametrize("body", [b"", b"x", b"x" * 65536, b"x" * 65537, BIG],
                         ids=["0", "1", "64K", "64K+1", "20M"])
@pytest.mark.parametrize("path", ["/probe/digest", "/valid/digest"])
def test_post(nginx, path, body):
    answer = nginx.ask(path, "POST", body)
    assert (answer.status, answer.body) == (200, digest(body))


def test_a_chunked_post(nginx):
    """nginx buffers it and adds a length, or passes it on as it comes."""
    answer = nginx.ask("/probe/digest", "POST", iter([b"one", b"two" * 1000, b"three"]),
                       {"Transfer-Encoding": "chunked"}, encode_chunked=True)
    assert answer.body == digest(b"one" + b"two" * 1000 + b"three")


def test_an_upload_that_the_application_does_not_read(nginx):
    """The response arrives; the rest of the upload neither breaks it nor is served."""
    answer = nginx.ask("/probe/ignore", "POST", BIG)
    assert (answer.status, answer.body) == (200, b"ignored")


@pytest.mark.parametrize("size", [65536, 300_000, 5 << 20, 63 << 20])
def test_the_request_behind_an_upload_that_is_not_read(nginx, size):
    """nginx keeps its connection for it unless the response says that it will be closed."""
    for _ in range(20 if size < 1 << 20 else 2):
        for method, path, body in (("POST", "/probe/ignore", bytes(size)),
                                   ("POST", "/probe/digest", b"x"), ("GET", "/probe/who", None)):
            answer = nginx.ask(path, method, body)
            assert answer.status == 200, (path, answer.body[:200])


@pytest.mark.parametrize("path", ["/stream", "/probe/who", "/probe/large?1", "/probe/file",
                                  "/probe/pieces?3", "/valid/who"])
def test_head(nginx, place, path):
    (place / "download").write_bytes(BIG[:1000])
    got, head = nginx.ask(path), nginx.ask(path, "HEAD")
    assert head.body == b"" and head.status == got.status == 200
    assert head.get("content-length") == got.get("content-length")
    assert head.get("content-type") == got.get("content-type")


def test_304(nginx):
    changed = nginx.ask("/probe/unchanged")
    assert changed.body == b"changed"
    for path in ("/probe/unchanged", "/valid/unchanged"):
        same = nginx.ask(path, headers={"If-None-Match": changed.get("etag")})
        assert (same.status, same.body, same.get("etag")) == (304, b"", '"tag"')


def test_response_fields(nginx):
    answer = nginx.ask("/probe/cookies")
    assert answer.all("set-cookie") == ["a=1; Path=/", "b=2"]
    assert answer.all("x-many") == ["one", "two"]
    assert answer.get("x-latin") == "caf\xe9"
    assert len(answer.all("date")) == 1 and len(answer.all("content-length")) == 1


def test_request_fields(nginx):
    with socket.create_connection(nginx.address, 10) as client:
        client.sendall(b"GET /probe/variables HTTP/1.1\r\nHost: shop.example:8080\r\n"
                       b"Connection: close\r\nX-Many: one\r\nX-Many: two\r\n"
                       b"Cookie: a=1; b=2\r\nUser-Agent: probe/1\r\nX-Latin: caf\xe9\r\n"
                       b"Accept:\r\nX_Under: no\r\n\r\n")
        received = b"".join(iter(lambda: client.recv(65536), b""))
    seen = json.loads(received.partition(b"\r\n\r\n")[2])
    assert seen["HTTP_X_MANY"] == "one, two"
    assert seen["HTTP_COOKIE"] == "a=1; b=2"
    assert seen["HTTP_USER_AGENT"] == "probe/1"
    assert seen["HTTP_X_LATIN"] == "caf\xe9"
    assert seen["HTTP_HOST"] == "shop.example:8080"
    assert "HTTP_X_UNDER" not in seen
    assert seen["SCRIPT_NAME"] == "/probe" and seen["PATH_INFO"] == "/variables"
    assert seen["REQUEST_URI"] == "/probe/variables"


@pytest.mark.parametrize("code", [400, 403, 404, 410, 418, 429, 500, 502, 503, 599])
def test_statuses_of_the_application(nginx, code):
    answer = nginx.ask(f"/probe/status?{code}")
    assert (answer.status, answer.body) == (code, b"as asked")


@pytest.mark.parametrize("path", ["/probe/fail", "/valid/fail"])
def test_an_exception_is_a_500_with_its_traceback_in_the_log(nginx, server, path):
    before = len(server.find("ValueError: broken as asked"))
    answer = nginx.ask(path)
    assert answer.status == 500 and b"broken" not in answer.body
    server.wait_for("ValueError: broken as asked", before + 1)


def test_a_large_response(nginx):
    answer = nginx.ask("/probe/large?50")
    assert len(answer.body) == 50 << 20
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(
        bytes(range(256)) * (50 << 12)).digest()


def test_a_file(nginx, place, server):
    (place / "download").write_bytes(BIG)
    answer = nginx.ask("/probe/file")
    assert answer.status == 200 and digest(answer.body) == digest(BIG)
    server.wait_for("via sendfile()")


def test_a_response_without_a_length(nginx):
    for path in ("/probe/pieces?1000", "/valid/pieces?1000"):
        answer = nginx.ask(path)
        assert answer.body == b"".join(b"piece %d\n" % index for index in range(1000))


@pytest.mark.parametrize("name", ["uwsgi-tcp", "http11"])
def test_the_example_s_stream(nginx_of, name):
    lines = nginx_of(name).ask("/stream").body
    assert lines == b"".join(b"line %d\n" % index for index in range(10))


@pytest.mark.parametrize("name", EVERY)
def test_a_stream_arrives_piece_by_piece(nginx_of, place, name):
    """The application sends the second event after the client has received the first."""
    nginx = nginx_of(name)
    mark = f"go-{name}"
    with socket.create_connection(nginx.address, 10) as client:
        client.sendall(b"GET /probe/events?%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                       % mark.encode())
        received = b""
        while b"data: first" not in received:
            piece = client.recv(65536)
            assert piece, received
            received += piece
        assert b"data: second" not in received
        (place / mark).touch()
        while piece := client.recv(65536):
            received += piece
    assert b"data: second\n\n" in received
    assert b"text/event-stream" in received


@pytest.mark.parametrize("name", EVERY)
def test_a_client_that_disconnects_in_a_response(nginx_of, place, name):
    """The application's close() is called, and the worker continues to serve."""
    nginx = nginx_of(name)
    mark = f"closed-{name}"
    with socket.create_connection(nginx.address, 10) as client:
        client.sendall(b"GET /probe/endless?%s HTTP/1.1\r\nHost: x\r\n\r\n" % mark.encode())
        rest = 1 << 20
        while rest > 0:
            rest -= len(client.recv(65536))
    wait_until((place / mark).exists, "close()")
    assert nginx.ask("/probe/who").status == 200


@pytest.mark.parametrize("name", EVERY)
def test_an_incomplete_response_never_looks_complete(nginx_of, server, name):
    nginx = nginx_of(name)
    with socket.create_connection(nginx.address, 10) as client:
        client.sendall(b"GET /probe/break_off HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b"".join(iter(lambda: client.recv(65536), b""))
    assert b"Content-Length: 1000000" in received
    assert len(received.partition(b"\r\n\r\n")[2]) <= 500000
    server.wait_for("ValueError: broken off as asked")
    nginx.wait_for("upstream prematurely closed connection while reading upstream")


@pytest.mark.parametrize("name", ["uwsgi-tcp", "http11", "http10", "http-unbuffered"])
def test_an_incomplete_response_without_a_length(nginx_of, server, name):
    """The client gets no last chunk. Over uwsgi and HTTP/1.0, where the connection ends the
    body, the server sends a reset. (A unix socket has none.)"""
    before = len(server.find("ValueError: broken off as asked"))
    with socket.create_connection(nginx_of(name).address, 10) as client:
        client.sendall(b"GET /probe/break_off?open HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b"".join(iter(lambda: client.recv(65536), b""))
    server.wait_for("ValueError: broken off as asked", before + 1)
    assert b" 502 " in received[:20] or b"Transfer-Encoding: chunked" in received
    assert not received.endswith(b"0\r\n\r\n")


MIXED = [("GET", "/", None, b"It works"), ("GET", "/healthz", None, b""),
         ("POST", "/echo", b"abc" * 50, b"abcabc"), ("GET", "/probe/who", None, b" "),
         ("POST", "/probe/digest", b"z" * 100000, digest(b"z" * 100000)),
         ("GET", "/probe/pieces?20", None, b"piece 19\n"), ("HEAD", "/probe/large?1", None, b""),
         ("GET", "/probe/large?1", None, b"\xff"), ("GET", "/valid/cookies", None, b"cookies"),
         ("GET", "/probe/status?404", None, b"as asked"), ("GET", "/probe/fail", None, b"500"),
         ("GET", "/valid/unchanged", None, b"changed"), ("GET", "/probe/file", None, b"")]


@pytest.mark.parametrize("name, count", [("uwsgi-tcp", 900), ("uwsgi-unix", 900),
                                         ("http11", 900), ("http10", 450),
                                         ("uwsgi-unbuffered", 450), ("http-unbuffered", 450)])
def test_a_mixed_load_has_no_502(nginx_of, place, name, count):
    (place / "download").write_bytes(BIG[:300000])
    nginx = nginx_of(name)
    before = len(nginx.errors)
    wrong, lock = [], threading.Lock()
    order = iter(random.Random(name).choices(MIXED, k=count))

    def client():
        while True:
            with lock:
                method, path, body, expected = next(order, (None,) * 4)
            if method is None:
                return
            answer = ask(nginx.address, path, method, body)
            status = {"/healthz": 204, "/probe/status?404": 404, "/probe/fail": 500}.get(path, 200)
            if answer.status != status or expected not in answer.body:
                wrong.append((method, path, answer.status, answer.body[:100]))
    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert nginx.errors[before:] == []
