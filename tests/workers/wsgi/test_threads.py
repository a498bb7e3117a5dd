"""Requests in native threads (`threads = N`) and in the main thread (a plain [uwsgi] file)."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.harness import GEVENTUWSGI, Program, Server, alive, settled, wait_until
from tests.tls import dial
from tests.workers.wsgi.raw_client import HOST, RawClient, connect, get, get_json

APP = Path(__file__).with_name("thread_app.py").read_text()
INI = """\
[uwsgi]
http-socket = 127.0.0.1:0
module = app:application
threads = {threads}
route = ^/healthz$ return:200
static-map = /static=static
pidfile = pid
log-format = %(method) %(uri) %(status) on %(core) %(name)
"""
LARGE = 20_000_000
MAIN, POOL = 1, 4


def serving(directory: Path, threads: int, more: str = "") -> Server:
    return Server(directory, ini=INI.format(threads=threads) + more, app=APP)


@pytest.fixture(scope="module", params=[MAIN, POOL], ids=["main-thread", "threads"])
def server(request: pytest.FixtureRequest,
           tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("server")
    (directory / "static").mkdir()
    (directory / "static" / "file.txt").write_text("static")
    with (directory / "large").open("wb") as file:
        file.truncate(LARGE)
    with serving(directory, request.param, "reaper = true\n") as server:
        server.threads = request.param
        yield server
        assert server.stop() == 0, server.log
        assert not server.find("internal error") and not server.find("between two requests")


def occupied(server: Server, name: str) -> list[RawClient]:
    """Occupy every thread until `release`."""
    (server.directory / name).unlink(missing_ok=True)
    clients = [connect(server) for _ in range(server.threads)]
    for client in clients:
        client.send(f"GET /hold?{name} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
    wait_until(lambda: len(list(server.directory.glob(f"{name}-*"))) == server.threads, name)
    return clients


def release(server: Server, name: str, clients: list[RawClient]) -> None:
    (server.directory / name).touch()
    for client in clients:
        with client:
            assert client.read_response().body == b"held"


def noted(server: Server, note: object) -> None:
    wait_until(lambda: note in get_json(server, "/notes"),
               lambda: f"{note}: {get_json(server, '/notes')}\n{server.log}")


def test_what_the_application_sees(server: Server) -> None:
    seen = [get_json(server, "/facts") for _ in range(20)]
    assert {one["variable"] for one in seen} == {"fresh"}
    assert all(one["patched"] == [] for one in seen)
    assert {one["multithread"] for one in seen} == {server.threads > 1}
    by_thread = {one["thread"]: one["count"] for one in seen}
    assert sum(by_thread.values()) == 20, "thread-locals belong to the thread"
    if server.threads == MAIN:
        assert all(one["main"] for one in seen)
    else:
        names = {one["name"] for one in seen}
        assert names <= {"MainThread", *(f"uWSGIWorker1Core{core}" for core in range(1, POOL))}


def test_requests_run_at_once_or_one_after_the_other(server: Server) -> None:
    clients = [connect(server) for _ in range(POOL)]
    began = time.monotonic()
    for client in clients:
        client.send(b"GET /sleep?0.3 HTTP/1.1\r\n" + HOST + b"\r\n")
    for client in clients:
        with client:
            assert client.read_response().body == b"slept"
    assert (time.monotonic() - began < 0.9) == (server.threads == POOL)


def test_everything_else_goes_on_while_the_application_computes(server: Server) -> None:
    clients = [connect(server) for _ in range(server.threads)]
    for client in clients:
        client.send(b"GET /spin?2 HTTP/1.1\r\n" + HOST + b"\r\n")
    try:
        with connect(server) as other:
            time.sleep(0.2)     # the threads compute
            slowest = 0.0
            for _ in range(5):
                began = time.monotonic()
                assert other.get("/healthz").status == 200
                assert get(server, "/static/file.txt").body == b"static"
                slowest = max(slowest, time.monotonic() - began)
            assert slowest < 1.0, "they did not wait for the threads"
    finally:
        for client in clients:
            with client:
                assert client.read_response().body == b"done"


@pytest.mark.parametrize("fields, body", [
    (b"Content-Length: 5\r\n", b"12345"),
    (b"Content-Length: 3000000\r\n", b"x" * 3_000_000),
    (b"Transfer-Encoding: chunked\r\n", b"186a0\r\n" + b"x" * 100_000 + b"\r\n0\r\n\r\n"),
    (b"Content-Length: 5\r\nExpect: 100-continue\r\n", b"12345")])
def test_bodies(server: Server, fields: bytes, body: bytes) -> None:
    with connect(server) as client:
        for path in (b"/echo", b"/two-readers"):
            client.send(b"POST %s HTTP/1.1\r\n" % path + HOST + fields + b"\r\n")
            if b"Expect" in fields:
                assert client.read_response().status == 100
            client.send(body)
            size = {b"1": 100_000}.get(body[:1], len(body)) if b"chunked" in fields else len(body)
            assert client.read_response().body == b"%d" % size


def test_a_body_that_breaks_off(server: Server) -> None:
    with connect(server) as client:
        client.send(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 300000\r\n\r\nxx")
        client.sock.shutdown(socket.SHUT_WR)
        assert client.read_response().status == 400
    with connect(server) as client:
        client.send(b"POST /echo HTTP/1.1\r\n" + HOST
                    + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n")
        assert client.read_response().status == 400
    assert not server.find("Error handling request POST /echo")


def test_nothing_of_a_request_works_after_it(server: Server) -> None:
    Path(server.directory, "late").unlink(missing_ok=True)
    with connect(server) as client:
        client.send(b"POST /late HTTP/1.1\r\n" + HOST + b"Content-Length: 200000\r\n\r\n"
                    + b"a" * 200_000)
        assert client.read_response().body == b"early"
        client.send(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 150000\r\n\r\n")
        Path(server.directory, "late").touch()
        client.send(b"b" * 150_000)
        assert client.read_response().body == b"150000"
        assert client.get("/sleep?0").body == b"slept"
    for name in ("read", "write", "socket", "hints"):
        noted(server, [name, "the request is over"])


def test_pieces_are_sent_at_once(server: Server) -> None:
    path = Path(server.directory, "second")
    path.unlink(missing_ok=True)
    with connect(server) as client:
        client.send(b"GET /stream?second HTTP/1.1\r\n" + HOST + b"\r\n")
        received = b""
        while b"first" not in received:
            received += client.read(1)
        path.touch()
        client.buffered = received + client.buffered
        assert client.read_response().body == b"firstsecond"


def test_a_slow_client_stops_its_thread_and_nothing_grows(server: Server) -> None:
    pieces = Path(server.directory, "pieces")
    pieces.unlink(missing_ok=True)
    with connect(server) as client:
        client.send(b"GET /endless HTTP/1.1\r\n" + HOST + b"\r\n")
        wait_until(pieces.exists, "the first piece")
        count = int(settled(lambda: pieces.read_text(), "the thread waits for the client"))
        assert count < 200, "13 MB: the kernel's buffers, and at most PENDING of ours"
    noted(server, ["endless", "ClientDisconnected"])


@pytest.mark.parametrize("path", [f"/large?{LARGE}", "/file"])
def test_a_slow_reader_keeps_no_thread(server: Server, path: str) -> None:
    """As many of them as there are threads; the next request is served nevertheless."""
    clients = [connect(server) for _ in range(server.threads)]
    for client in clients:
        client.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        assert client.readline().startswith(b"HTTP/1.1 200")
    assert get(server, "/sleep?0").body == b"slept"
    for client in clients:
        with client:
            client.buffered = b"HTTP/1.1 200 OK\r\n" + client.buffered
            assert client.read_response().body == bytes(LARGE) if path == "/file" else b"x" * LARGE


def test_a_file_that_becomes_shorter(server: Server) -> None:
    """The application ended before that; the connection is cut, with a line."""
    path = server.directory / "shrinking"
    path.write_bytes(b"x" * 20_000_000)
    with connect(server) as client:
        client.send(b"GET /file?shrinking HTTP/1.1\r\nHost: test\r\n\r\n")
        client.sock.recv(1)
        os.truncate(path, 10_000_000)
        assert len(client.read_to_end()) < 11_000_000
        server.wait_for("GET /file?shrinking: the file ended 10000000 bytes early")


def test_errors(server: Server) -> None:
    with connect(server) as client:
        assert client.get("/error").status == 500
    server.wait_for("ValueError: of the application")
    lines = "\n".join(server.err)
    trace = lines[lines.index("Error handling request GET /error from"):]
    assert trace.splitlines()[2].endswith("in application"), "without the server's frames"
    assert "ValueError: of the application" in trace
    with connect(server) as client:
        response = client.get("/error-later")
        assert response.status == 200 and not response.whole
    server.wait_for("ValueError: later")


def test_an_exception_without_a_truth_value(server: Server) -> None:
    assert get(server, "/falsy").status == 500
    server.wait_for("Falsy: without a truth value")


def test_the_head_of_a_stream_is_sent_at_once(server: Server) -> None:
    path = Path(server.directory, "head")
    path.unlink(missing_ok=True)
    with connect(server) as client:
        assert client.get("/stream?head", method="HEAD").status == 200
        path.touch()
        assert client.get("/healthz").status == 200


def test_output_does_not_wait_for_input(server: Server) -> None:
    with connect(server) as client:
        client.send(b"POST /echo-meanwhile HTTP/1.1\r\n" + HOST
                    + b"Transfer-Encoding: chunked\r\n\r\n")
        received = b""
        while b"ready" not in received:     # before anything of the body was sent
            received += client.read(1)
        client.send(b"5\r\nhello\r\n0\r\n\r\n")
        client.buffered = received + client.buffered
        assert client.read_response().body == b"readyhello"


def test_the_client_leaves(server: Server) -> None:
    before = get_json(server, "/notes").count(["gone", True, True])
    path = Path(server.directory, "waiting")
    path.unlink(missing_ok=True)
    with connect(server) as client:
        client.send(b"GET /gone HTTP/1.1\r\n" + HOST + b"\r\n")
        wait_until(path.exists, "the application has it")
    wait_until(lambda: get_json(server, "/notes").count(["gone", True, True]) > before, server.log)
    server.wait_for("GET /gone 499")


def test_a_client_that_leaves_while_it_waits_is_dropped(server: Server) -> None:
    held = occupied(server, "dropped")
    with connect(server) as client:
        client.send(b"GET /sleep?0.001 HTTP/1.1\r\n" + HOST + b"\r\n")
    began = time.monotonic()
    wait_until(lambda: get(server, "/healthz").status == 200 and time.monotonic() - began > 0.3)
    release(server, "dropped", held)
    server.wait_for("GET /sleep?0.001 499")


def test_a_handed_over_socket_blocks(server: Server) -> None:
    with connect(server) as client:
        assert client.get("/upgrade").status == 101
        for text in (b"one", b"t" * 300_000):
            client.send(text)
            assert client.read(len(text)) == text.upper()
        client.sock.shutdown(socket.SHUT_WR)
        assert client.closed()
    noted(server, ["blocking", True])


def test_log_variables(server: Server) -> None:
    clients = [connect(server) for _ in range(POOL)]
    for index, client in enumerate(clients):
        client.send(f"GET /logvar?v{index} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
    for index, client in enumerate(clients):
        with client:
            assert client.read_response().body == b"v%d" % index
        server.wait_for(f" v{index}")


def test_the_reaper(server: Server) -> None:
    pid = int(get(server, "/child").body)
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the end of the zombie")


def test_the_stacks_name_thread_and_request(server: Server) -> None:
    path = Path(server.directory, "stacks")
    path.unlink(missing_ok=True)
    with connect(server) as client:
        client.send(b"GET /hold?stacks HTTP/1.1\r\n" + HOST + b"\r\n")
        text = wait_until(lambda: "GET /hold?stacks" in (text := stacks(server)) and text)
        path.touch()
        assert client.read_response().body == b"held"
    assert "request GET /hold?stacks" in text and "in hold" in text
    assert "geventuwsgi/workers" not in text, "neither idle threads nor our frames"


def stacks(server: Server) -> str:
    """Return what --stacks prints."""
    with Program(*GEVENTUWSGI, "--stacks", "pid", cwd=server.directory) as program:
        assert program.wait() == 0, program.log
    return "\n".join(program.out)


# Signals, in the main thread

def test_signal_handlers_work_in_the_main_thread(tmp_path: Path) -> None:
    with serving(tmp_path, MAIN) as server:
        assert get(server, "/alarm").body == b"alarmed"
        assert get(server, "/late-alarm").body == b"set"
        server.wait_for("an exception was raised between two requests")
        assert get(server, "/sleep?0").body == b"slept"
        assert server.stop() == 0


def test_a_signal_handler_may_raise_at_any_moment(tmp_path: Path) -> None:
    with serving(tmp_path, MAIN) as server:
        worker = get_json(server, "/facts")["pid"]
        assert get(server, "/ticking?0.003").body == b"set"
        server.wait_for("an exception was raised between two requests", 100)
        statuses = {get(server, "/ticking?0.003").status for _ in range(50)}
        assert statuses <= {200, 500}
        wait_until(lambda: get(server, "/ticking?0").status == 200, "the end of the timer")
        assert get_json(server, "/facts")["pid"] == worker
        assert server.stop() == 0


def test_a_read_that_a_signal_ends_loses_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, MAIN) as server, connect(server) as client:
        client.send(b"POST /read-with-alarm HTTP/1.1\r\n" + HOST
                    + b"Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        received = b""
        while b"waiting" not in received:
            received += client.read(1)
        client.send(b"3\r\ntwo\r\n0\r\n\r\n")
        client.buffered = received + client.buffered
        assert client.read_response().body == b"waitingonetwo"


def test_tls(authority: Authority) -> None:
    ini = INI.format(threads=POOL).replace("http-socket = 127.0.0.1:0",
                                           "https-socket = 127.0.0.1:0,here.crt,here.key")
    with Server(authority.directory, ini=ini, app=APP) as server:
        with dial(server, authority.client()) as client:
            for _ in range(3):
                assert client.get(f"/large?{LARGE}").body == b"x" * LARGE
            client.send(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 3000000\r\n\r\n"
                        + b"x" * 3_000_000)
            assert client.read_response().body == b"3000000"
        with dial(server, authority.client()) as client:
            assert client.get("/upgrade").status == 101
            client.send(b"t" * 100_000)
            assert client.read(100_000) == b"T" * 100_000
        assert get_json_over_tls(server, authority)["patched"] == []
        assert server.stop() == 0


def get_json_over_tls(server: Server, authority: Authority) -> dict:
    with dial(server, authority.client()) as client:
        found: dict = json.loads(client.get("/facts").body)
        return found


# Harakiri

@pytest.mark.slow
@pytest.mark.parametrize("threads", [MAIN, POOL])
def test_harakiri(tmp_path: Path, threads: int) -> None:
    with serving(tmp_path, threads, "harakiri = 1\n") as server:
        worker = get_json(server, "/facts")["pid"]
        for path, frame in (("/spin?30", "while time.monotonic() < end"),
                            ("/swallow", "time.sleep(30)"))[:1 if threads > 1 else 2]:
            began = time.monotonic()
            response = get(server, path)
            assert response.status == 504 and time.monotonic() - began < 2.5
            server.wait_for(f"GET {path} since")
            server.wait_for("stack of the thread")
            server.wait_for(frame)
        assert get(server, "/sleep?0.3").body == b"slept", "the exception hits no other request"
        assert get_json(server, "/facts")["pid"] == worker
        if threads == MAIN:
            noted(server, ["/swallow", "Harakiri"])
        assert not server.find("will be replaced")
        assert server.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("threads", [MAIN, POOL])
def test_harakiri_of_what_cannot_be_ended(tmp_path: Path, threads: int) -> None:
    """504 at once; then another worker. In the meantime the other threads go on, also for
    requests that wait."""
    more = "harakiri = 1\nharakiri-graceful-timeout = 1\nworker-reload-mercy = 3\n"
    with serving(tmp_path, threads, more) as server:
        worker = get_json(server, "/facts")["pid"]
        clients = [connect(server) for _ in range(threads)]
        for client in clients:
            client.send(b"GET /in-c?60 HTTP/1.1\r\n" + HOST + b"\r\n")
        began = time.monotonic()
        with connect(server) as waiting:
            waiting.send(b"GET /sleep?0 HTTP/1.1\r\n" + HOST + b"\r\n")
            for client in clients:
                with client:
                    assert client.read_response().status == 504
            assert time.monotonic() - began < 3
            # If the only thread is lost, nobody waits for it in vain: another worker responds, or
            # this one rejects what it has accepted.
            assert waiting.read_response().status in ((200,) if threads > 1 else (200, 503))
        server.wait_for("GET /in-c?60 ignores its harakiri and keeps its thread")
        wait_until(lambda: get_json(server, "/facts")["pid"] != worker, server.log)
        wait_until(lambda: not alive(worker), "the end of the worker")
        assert get(server, "/sleep?0").body == b"slept"
        assert server.stop() == 0


@pytest.mark.slow
def test_harakiri_after_early_hints(tmp_path: Path) -> None:
    with serving(tmp_path, MAIN, "harakiri = 1\n") as server, connect(server) as client:
        assert client.get("/hints-and-sleep").status == 103
        assert client.read_response().status == 504


@pytest.mark.slow
def test_a_slow_reader_is_no_slow_request(tmp_path: Path) -> None:
    with serving(tmp_path, POOL, "slow-request = 0.5\n") as server:
        with connect(server) as reader:
            reader.send(f"GET /large?{LARGE} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
            reader.readline()
            for _ in range(POOL):
                assert get(server, "/sleep?1").body == b"slept"
        server.wait_for("slow request: GET /sleep?1", POOL)
        assert not server.find("slow request: GET /large")


@pytest.mark.slow
def test_a_stop_does_not_wait_for_a_thread_that_never_ends(tmp_path: Path) -> None:
    for threads in (MAIN, POOL):
        with serving(tmp_path, threads, "harakiri = 1\nworker-reload-mercy = 4\n") as server:
            assert get(server, "/in-c?60").status == 504
            began = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began < 8


@pytest.mark.slow
@pytest.mark.parametrize("threads", [MAIN, POOL])
def test_cancel_on_disconnect(tmp_path: Path, threads: int) -> None:
    with serving(tmp_path, threads, "cancel-on-disconnect = true\n") as server:
        with connect(server) as client:
            client.send(b"GET /spin?20 HTTP/1.1\r\n" + HOST + b"\r\n")
            wait_until(lambda: get(server, "/healthz").status == 200)
        server.wait_for("GET /spin?20 cancelled, as its client is gone")
        began = time.monotonic()
        assert get(server, "/sleep?0").body == b"slept"
        assert time.monotonic() - began < 5
        assert server.stop() == 0


@pytest.mark.slow
def test_slow_request_and_block_warning(tmp_path: Path) -> None:
    more = "slow-request = 0.5\nblock-warning = 300\npy-tracebacker = tb\n"
    with serving(tmp_path, POOL, more) as server:
        assert get(server, "/sleep?1").body == b"slept"
        line = server.wait_for("slow request: GET /sleep?1")
        assert "on core" in line
        server.wait_for("time.sleep(float(environ")
        assert not server.find("is blocked for"), "a thread that waits blocks nothing"
        assert get(server, "/with-the-lock").body == b"done"
        wait_until(lambda: server.find("is blocked for") or server.find("was blocked for"))
        with connect(server) as client, socket.socket(socket.AF_UNIX) as tracebacker:
            client.send(b"GET /hold?traced HTTP/1.1\r\n" + HOST + b"\r\n")
            wait_until(lambda: list(tmp_path.glob("traced-*")), "the application has it")
            tracebacker.connect(str(tmp_path / "tb1"))
            text = b"".join(iter(lambda: tracebacker.recv(65536), b"")).decode()
            (tmp_path / "traced").touch()
            assert client.read_response().body == b"held"
        assert "GET /hold?traced" in text and "function = hold" in text
        assert server.stop() == 0


@pytest.mark.slow
def test_requests_in_progress_end_before_a_stop_and_a_reload(tmp_path: Path) -> None:
    for threads in (MAIN, POOL):
        with serving(tmp_path, threads) as server:
            for number in (signal.SIGHUP, signal.SIGTERM):
                with connect(server) as client:
                    client.send(b"GET /hold?end HTTP/1.1\r\n" + HOST + b"\r\n")
                    wait_until(lambda: list(tmp_path.glob("end-*")), "the application has it")
                    server.send_signal(number)
                    if number == signal.SIGHUP:
                        server.wait_for("(generation 2)")
                    Path(tmp_path, "end").touch()
                    assert client.read_response().body == b"held"
                Path(tmp_path, "end").unlink()
            assert server.wait() == 0


# Several workers

@pytest.mark.slow
def test_connections_go_to_a_free_worker(tmp_path: Path) -> None:
    """Of two workers one is busy: no quick request waits for it. If both are, health checks are
    answered."""
    with serving(tmp_path, MAIN, "processes = 2\n") as server:
        with connect(server) as first:
            first.send(b"GET /sleep?2 HTTP/1.1\r\n" + HOST + b"\r\n")
            for _ in range(30):
                began = time.monotonic()
                assert get(server, "/sleep?0").body == b"slept"
                assert time.monotonic() - began < 1.5
            with connect(server) as second:
                second.send(b"GET /sleep?1.5 HTTP/1.1\r\n" + HOST + b"\r\n")
                wait_until(lambda: get(server, "/healthz").status == 200)
                assert second.read_response().body == b"slept"
            assert first.read_response().body == b"slept"
        assert server.stop() == 0


@pytest.mark.slow
def test_a_worker_that_was_full_gets_connections_again(tmp_path: Path) -> None:
    with serving(tmp_path, MAIN, "processes = 2\n") as server:
        for _ in range(2):
            burst = [connect(server) for _ in range(12)]
            for client in burst:
                client.send(b"GET /sleep?0.05 HTTP/1.1\r\n" + HOST
                            + b"Connection: close\r\n\r\n")
            for client in burst:
                with client:
                    assert client.read_response().body == b"slept"
            with connect(server) as slow:
                slow.send(b"GET /sleep?2 HTTP/1.1\r\n" + HOST + b"\r\n")
                began = time.monotonic()
                for _ in range(50):
                    assert get(server, "/sleep?0").body == b"slept"
                assert time.monotonic() - began < 1.5, "none of them waits for the long request"
                assert slow.read_response().body == b"slept"


@pytest.mark.slow
def test_queue_limit(tmp_path: Path) -> None:
    with serving(tmp_path, MAIN, "queue-limit = 1\n") as server:
        with connect(server) as first, connect(server) as second, connect(server) as third:
            for client in (first, second, third):
                client.send(b"GET /sleep?0.5 HTTP/1.1\r\n" + HOST + b"\r\n")
                time.sleep(0.1)     # in this order
            assert third.read_response().status == 503
            assert first.read_response().status == second.read_response().status == 200
        assert server.stop() == 0


def test_a_patched_process_has_no_native_threads(tmp_path: Path) -> None:
    program = ("from gevent import monkey; monkey.patch_all()\nimport geventuwsgi\n"
               "geventuwsgi.serve(lambda environ, start: [], bind='127.0.0.1:0', threads=2)\n")
    with Program(GEVENTUWSGI[0], "-c", program, cwd=tmp_path) as started:
        assert started.wait() != 0
        started.wait_for("requests run in native threads, but this process is monkey-patched")
