"""An ASGI worker: drains, deadlines, blocked loops, and native threads."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode
from websockets.sync.client import connect as websocket

from geventuwsgi.workers.limits import CLOSE_TIMEOUT
from tests.harness import ROOT, Program, Server, alive, wait_until
from tests.workers.asgi.conftest import APP
from tests.workers.asgi.test_websocket import frame, raw, received
from tests.workers.wsgi.raw_client import connect, get

pytestmark = pytest.mark.slow

BELOW_ROOT_PATH = APP.replace('scope["path"].strip',
                              'scope["path"][len(scope["root_path"]):].strip')


def serve(tmp_path: Path, *arguments: str, **options: object) -> Server:
    return Server(tmp_path, "--asgi", "app:app", *arguments, app=APP, **options)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_threads_processes_and_signals(tmp_path: Path, loop: str) -> None:
    """Features that fail in a monkey-patched process."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    with serve(tmp_path, "--asgi-loop", loop) as server:
        found = json.loads(get(server, "/thread").body)
        assert not found["own"] and found["ticks"] > 10 and not found["main"]
        assert found["loop"].startswith("uvloop" if loop == "uvloop" else "asyncio")
        assert get(server, "/process").body == b"from a child"
        assert get(server, "/signals").body in (b"ValueError", b"RuntimeError")
        assert get(server, "/resolve").body == b"True"
        assert server.stop() == 0


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="Python 3.12 has it")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_eager_tasks_are_not_kept(tmp_path: Path, loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
        if (3, 13) <= sys.version_info < (3, 13, 3):
            pytest.skip("uvloop passes an argument that this Python's factory does not know")
    app = APP.replace('report("startup")', """report("startup")
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)""")
    with Server(tmp_path, "--asgi", "app:app", "--asgi-loop", loop, app=app) as server:
        with connect(server) as wire:
            for path, body in (("/hello", b"Hello, world!"), ("/stream?n=2", b"0\n1\n"),
                               ("/wait?for=0.01", b"waited"), ("/background?for=0.01", b"done")):
                assert wire.get(path).body == body
            wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" * 3)
            assert [wire.read_response().body for _ in range(3)] == [b"abc"] * 3
        with raw(server) as wire:
            wire.send(frame(Opcode.TEXT, b"eager"))
            assert received(wire) == (Opcode.TEXT, b"eager")
        server.wait_for("APP disconnect")
        assert server.stop() == 0
        assert not server.find("did not end in time") and not server.find("Traceback")


def test_auto_finds_asgi_and_patches_nothing(tmp_path: Path) -> None:
    ini = "[uwsgi]\nhttp-socket = 127.0.0.1:0\nmodule = app:app\ngevent = 10\n"
    with Server(tmp_path, ini=ini, app=APP) as server:
        server.wait_for("without monkey-patching; interface = asgi avoids this")
        assert not json.loads(get(server, "/thread").body)["own"]
        server.send_signal(signal.SIGHUP)
        server.wait_for("ready: 1 worker (generation 2)")
        assert get(server, "/hello").body == b"Hello, world!"
        (tmp_path / "app.ini").write_text(ini + "route = ^/hello break:403\n")
        server.send_signal(signal.SIGHUP)
        server.wait_for("route: rules are not run with ASGI")
        server.wait_for("generation 2 keeps serving")
        assert server.stop() == 0


IMPORTED = "print('IMPORTED', flush=True)\n" + APP


@pytest.mark.parametrize("option", ["", "threads = 4", "lazy-apps = true"])
def test_auto_finds_asgi_where_nothing_is_patched(tmp_path: Path, option: str) -> None:
    """The application is not imported a second time, and serves as with interface = asgi."""
    ini = f"[uwsgi]\nhttp-socket = 127.0.0.1:0\nmodule = app:app\n{option}\n"
    with Server(tmp_path, ini=ini, app=IMPORTED) as server:
        assert not json.loads(get(server, "/thread").body)["own"]
        server.wait_for("ready: 1 worker (generation 1)")
        assert len(server.find("IMPORTED")) == 1
        assert ("threads: has no effect with ASGI" in server.log) == ("threads" in option)
        server.send_signal(signal.SIGHUP)
        server.wait_for("ready: 1 worker (generation 2)")
        assert get(server, "/hello").body == b"Hello, world!"
        assert server.stop() == 0


def test_auto_loads_asgi_again_if_its_import_starts_threads(tmp_path: Path) -> None:
    app = ("import threading, time\n"
           "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n" + IMPORTED)
    ini = "[uwsgi]\nhttp-socket = 127.0.0.1:0\nmodule = app:app\n"
    with Server(tmp_path, ini=ini, app=app) as server:
        server.wait_for("in each worker, as its import starts threads; interface = asgi avoids")
        assert get(server, "/hello").body == b"Hello, world!"
        assert len(server.find("IMPORTED")) == 2
        assert server.stop() == 0


def test_auto_with_lazy_apps_is_an_error(tmp_path: Path) -> None:
    with Server(tmp_path, "app:app", "--lazy-apps", app=APP, ready=False) as server:
        assert server.wait() == 4
        server.wait_for("set interface = asgi")


def test_auto_rejects_rules(tmp_path: Path) -> None:
    with Server(tmp_path, "app:app", "--route", "^/no break:403", app=APP, ready=False) as server:
        assert server.wait() == 4
        server.wait_for("the application is ASGI: --route: rules are not run with ASGI")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0 or not all(
    path.stat().st_mode & 1 for path in (Path(os.__file__).parent, *Path(os.__file__).parents)),
    reason="only root can drop root, and where others can read this Python")
def test_auto_after_root_was_dropped() -> None:
    """The second template opens logs that only root can, as the first did."""
    directory = Path(tempfile.mkdtemp(prefix="geventuwsgi-"))
    try:
        directory.chmod(0o755)
        with Server(directory, "app:app", "--uid", "65534", "--gid", "65534",
                    "--access-logfile", "requests.log", app=APP) as server:
            log = directory / "requests.log"
            assert log.stat().st_uid == 0
            assert get(server, "/hello").body == b"Hello, world!"
            wait_until(lambda: "GET /hello" in log.read_text(), "the line")
            assert Path(f"/proc/{server.workers()[0]}").stat().st_uid == 65534
    finally:
        shutil.rmtree(directory)


def test_without_lazy_apps_one_load_serves_all_workers(tmp_path: Path) -> None:
    with serve(tmp_path, "--lazy-apps=false", "--processes", "2") as server:
        server.wait_for("APP startup", 2)
        assert len(server.find("application app:app loaded in")) == 1
        assert get(server, "/hello").body == b"Hello, world!"
        assert not json.loads(get(server, "/thread").body)["own"]
        assert server.stop() == 0


def test_uvicorns_worker_class_is_accepted(tmp_path: Path) -> None:
    with Server(tmp_path, "app:app", "-k", "uvicorn.workers.UvicornWorker", app=APP) as server:
        server.wait_for("uvicorn does not run")
        assert not server.find("saves that")
        assert get(server, "/hello").body == b"Hello, world!"


def test_an_ini_file_with_a_factory(tmp_path: Path) -> None:
    with Server(tmp_path, app=BELOW_ROOT_PATH + "\ndef make(): return app\n", ini="""
[uwsgi]
asgi = app:make
factory = true
http-socket = 127.0.0.1:0
processes = 2
root-path = /cut
""") as server:
        scope = json.loads(get(server, "/scope").body)
        assert (scope["path"], scope["root_path"], scope["raw_path"]) == (
            "/cut/scope", "/cut", "/scope")
        assert len(server.workers()) == 2


def test_contradicting_interfaces_are_an_error(tmp_path: Path) -> None:
    with serve(tmp_path, "--interface", "wsgi", ready=False) as server:
        assert server.wait() == 2
        server.wait_for("wsgi contradicts asgi")


def test_an_application_that_does_not_load_is_exit_status_4(tmp_path: Path) -> None:
    with Server(tmp_path, "--asgi", "app:absent", app=APP, ready=False) as server:
        assert server.wait() == 4
        server.wait_for("app has no attribute 'absent'")


def test_a_stop_lets_requests_finish_and_ends_long_streams(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        wires = [connect(server) for _ in range(3)]
        wires[0].send(b"GET /wait?for=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        wires[1].send(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wires[2].get("/hello").body == b"Hello, world!"
        assert wires[2].get("/background?for=1").body == b"done"
        server.wait_for("APP wait began")
        server.wait_for("APP events began")
        with websocket(f"ws://127.0.0.1:{server.port}/echo") as client:
            client.send("there")
            assert client.recv() == "there"
            server.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as caught:
                client.recv()
            assert caught.value.rcvd.code == 1012
        server.wait_for("APP disconnect 1012")
        events = wires[1].read_response()
        assert events.whole and events.body == b"data: 1\n\n"
        server.wait_for("APP events send raised")
        answer = wires[0].read_response()
        assert answer.body == b"waited" and answer.headers["connection"] == "close"
        assert wires[2].closed()
        for wire in wires:
            wire.sock.close()
        assert server.wait() == 0
        server.wait_for("APP background ended")  # the stop waited for it
        assert server.out.index("APP background ended") < server.out.index("APP shutdown")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_stop_ends_what_waits_for_its_client(tmp_path: Path, loop: str) -> None:
    """Event streams, and long polls; not a request whose response is still computed."""
    with serve(tmp_path, "--asgi-loop", loop, "--worker-reload-mercy", "50") as server:
        wires = [connect(server) for _ in range(4)]
        for wire, path in zip(wires, ("quiet_events", "poll", "wait_gone", "listening?for=3"),
                              strict=True):
            wire.send(f"GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        for line in ("quiet events began", "poll began", "waiting for the client",
                     "listening began"):
            server.wait_for("APP " + line)
        assert wires[0].readline() == b"HTTP/1.1 200 OK\r\n"
        server.send_signal(signal.SIGTERM)
        assert wires[0].read_to_end().endswith(b"\r\n\r\n0\r\n\r\n")
        server.wait_for("APP quiet events ended")
        answers = [wire.read_response() for wire in wires[1:]]
        assert [(one.status, one.body) for one in answers[::2]] == [
            (200, b"nothing new"), (200, b"computed")]
        assert answers[1].status == 503
        assert all(one.headers["connection"] == "close" for one in answers)
        for wire in wires:
            wire.sock.close()
        assert server.wait(20) == 0
        assert not server.find("without a response")


def test_a_reload_ends_event_streams_that_begin_during_it(tmp_path: Path) -> None:
    with serve(tmp_path, "--worker-reload-mercy", "50") as server, connect(server) as wire, \
            connect(server) as other:
        assert wire.get("/hello").status == other.get("/hello").status == 200
        server.send_signal(signal.SIGHUP)
        server.wait_for("ready: 1 worker (generation 2)")
        answer = wire.get("/quiet_events")
        assert answer.whole and answer.body == b"" and wire.closed()
        answer = other.get("/poll")
        assert answer.body == b"nothing new"
        server.wait_for("APP shutdown", deadline=20)


def test_at_the_end_of_the_grace_period_a_request_can_end_by_itself(tmp_path: Path) -> None:
    with serve(tmp_path, "--worker-reload-mercy", "2") as server, connect(server) as wire:
        wire.send(b"GET /listening?for=60 HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for("APP listening began")
        server.send_signal(signal.SIGTERM)
        assert wire.read_response().status == 503
        assert server.wait() == 0
        assert not server.find("cancelled")


def test_a_drained_websocket_ends_with_the_close_frame_of_its_client(tmp_path: Path) -> None:
    with serve(tmp_path) as server, raw(server) as wire:
        server.send_signal(signal.SIGTERM)
        kind, code = received(wire)
        assert (kind, code) == (Opcode.CLOSE, (1012).to_bytes(2, "big"))
        server.wait_for("APP disconnect 1012")
        wire.sock.settimeout(CLOSE_TIMEOUT / 2)
        wire.send(frame(Opcode.CLOSE, code))
        assert wire.closed()
        assert server.wait() == 0


def test_empty_fragments_use_no_memory(tmp_path: Path) -> None:
    def memory() -> int:
        [pid] = server.workers()
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    with serve(tmp_path) as server, raw(server) as wire:
        wire.send(frame(Opcode.BINARY, b"", False))
        sizes = []
        for _ in range(5):
            wire.send(frame(Opcode.CONT, b"", False) * 10_000 + frame(Opcode.PING, b"there?"))
            assert received(wire) == (Opcode.PONG, b"there?")
            sizes.append(memory())
        wire.send(frame(Opcode.CONT, b"end"))
        assert received(wire) == (Opcode.BINARY, b"end")
        assert sizes[-1] - sizes[0] < 1_000_000, sizes


def test_a_reload_gives_idle_connections_one_more_request(tmp_path: Path) -> None:
    with serve(tmp_path) as server, connect(server) as wire:
        assert wire.get("/hello").headers.get("connection") is None
        server.send_signal(signal.SIGHUP)
        server.wait_for("ready: 1 worker (generation 2)")
        server.wait_for("APP startup", 2)
        # Until the worker learns of the reload, it keeps the connection.
        wait_until(lambda: wire.get("/hello").headers.get("connection") == "close", "the close")
        assert wire.closed()
        server.wait_for("APP shutdown")


def test_tasks_are_cancelled_after_the_grace_period(tmp_path: Path) -> None:
    with serve(tmp_path, "--worker-reload-mercy", "1") as server:
        with connect(server) as wire:
            wire.send(b"GET /wait?for=60 HTTP/1.1\r\nHost: a\r\n\r\n")
            server.wait_for("APP wait began")
            server.send_signal(signal.SIGTERM)
            server.wait_for("APP wait cancelled")
            assert wire.read_response().status == 503
        assert server.wait() == 0
        server.wait_for("APP shutdown")


def test_a_blocked_loop_is_logged_and_the_worker_replaced(tmp_path: Path) -> None:
    with serve(tmp_path, "--asgi-loop-timeout", "1", "--worker-timeout", "3") as server:
        [pid] = server.workers()
        with connect(server) as wire:
            wire.send(b"GET /block?for=30 HTTP/1.1\r\nHost: a\r\n\r\n")
            server.wait_for("the event loop has not responded for")
            server.wait_for("time.sleep(float(query(scope")
            wait_until(lambda: not alive(pid), "the end of the worker")
        server.wait_for("Respawned geventuwsgi worker")
        server.wait_for("APP startup", 2)
        assert get(server, "/hello").body == b"Hello, world!"
        assert server.stop() == 0


def test_harakiri_cancels_the_task(tmp_path: Path) -> None:
    with serve(tmp_path, "--harakiri", "1", "--harakiri-graceful-timeout", "1") as server:
        with connect(server) as wire:
            assert wire.get("/wait?for=30").status == 504
            assert wire.closed()
        server.wait_for("*** HARAKIRI ON WORKER 1")
        server.wait_for("HARAKIRI [core 0] 127.0.0.1 - GET /wait?for=30 since")
        server.wait_for("await asyncio.sleep(float(query(scope")
        server.wait_for("APP wait cancelled")
        with websocket(f"ws://127.0.0.1:{server.port}/echo") as client:
            answer = get(server, "/stubborn")
            assert answer.status == 504  # two seconds later; the task runs on
            client.send("alive")  # a WebSocket has no harakiri
            assert client.recv() == "alive"
        server.wait_for("GET /stubborn ignores its harakiri")
        assert get(server, "/hello").body == b"Hello, world!"
        assert len(server.workers()) == 1


def test_deadlines(tmp_path: Path) -> None:
    with serve(tmp_path, "--http-headers-timeout", "0.5", "--keepalive", "0.5",
               "--socket-timeout", "0.7") as server:
        silent, half, idle, body, reader = wires = [connect(server) for _ in range(5)]
        half.send(b"GET / HTTP/1.1\r\nHo")
        assert idle.get("/hello").status == 200
        body.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
        reader.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.send(b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n")
        assert silent.closed() and idle.closed()
        assert half.read_response().status == 408 and half.closed()
        assert body.read_response().status == 408 and body.closed()
        server.wait_for("APP flood ended by ClientDisconnected")
        server.wait_for("read nothing of a response for 0.7 seconds")
        for wire in wires:
            wire.sock.close()
        assert get(server, "/hello").body == b"Hello, world!"


def test_the_worker_ends_with_its_master(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        [pid] = server.workers()
        server.process.kill()
        wait_until(lambda: not alive(pid), "the end of the worker")


def test_a_worker_killed_in_the_middle_is_replaced(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        [pid] = server.workers()
        with connect(server) as wire:
            wire.send(b"GET /stream?n=1000&wait=0.05 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.read(20)
            os.kill(pid, signal.SIGKILL)
            assert not wire.read_to_end().endswith(b"0\r\n\r\n")
        server.wait_for("APP startup", 2)
        assert get(server, "/hello").body == b"Hello, world!"


def test_logs_are_reopened(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with serve(tmp_path, "--access-logfile", str(log), "--log-format", "%(method) %(uri) %(addr) "
               "%(var.HTTP_X_A)") as server:
        get(server, "/hello?1", "X-A: b")
        wait_until(lambda: "GET /hello?1 127.0.0.1 b\n" in log.read_text(), "the line")
        log.rename(tmp_path / "old.log")
        server.send_signal(signal.SIGUSR1)
        wait_until(log.exists, "the new file")
        get(server, "/hello?2")
        wait_until(lambda: "GET /hello?2 127.0.0.1 -\n" in log.read_text(), "the line")


def test_a_response_field_in_the_log(tmp_path: Path) -> None:
    line = "%(m)s %({Content-Length}o)s|%({x-none}o)s"
    with serve(tmp_path, "--access-logformat", line) as server:
        get(server, "/hello")
        server.wait_for("GET 13|-")


def test_applications_under_paths(tmp_path: Path) -> None:
    with Server(tmp_path, "app:app", "--interface", "asgi", "--mount", "/inner=app:app",
                app=BELOW_ROOT_PATH) as server:
        scope = json.loads(get(server, "/inner/scope").body)
        assert (scope["path"], scope["root_path"]) == ("/inner/scope", "/inner")
        scope = json.loads(get(server, "/scope").body)
        assert (scope["path"], scope["root_path"]) == ("/scope", "")


def test_the_proxy_protocol(tmp_path: Path) -> None:
    with serve(tmp_path, "--enable-proxy-protocol") as server:
        with connect(server) as wire:
            wire.send(b"PROXY TCP4 9.8.7.6 1.1.1.1 4321 80\r\n"
                      b"GET /scope HTTP/1.1\r\nHost: a\r\n\r\n")
            assert json.loads(wire.read_response().body)["client"] == ["9.8.7.6", 4321]
        with connect(server) as wire:    # a health probe
            wire.send(b"GET /scope HTTP/1.1\r\nHost: a\r\n\r\n")
            assert json.loads(wire.read_response().body)["client"][0] == "127.0.0.1"
        for data, reason in ((b"PROXY TCP4", "truncated PROXY protocol header"),
                             (b"PRO", "the connection ended inside the request head")):
            with connect(server) as wire:
                wire.send(data)
                wire.sock.shutdown(socket.SHUT_WR)
                assert wire.read_response().status == 400 and wire.closed()
            server.wait_for(f"{reason}; closed with 400")


def test_half_a_proxy_header_is_a_408(tmp_path: Path) -> None:
    with serve(tmp_path, "--enable-proxy-protocol", "--http-headers-timeout", "1") as server:
        with connect(server) as wire:
            wire.send(b"PROXY TCP4 9.8")
            assert wire.read_response().status == 408 and wire.closed()
        server.wait_for("no whole PROXY protocol header within 1 seconds; closed with 408")


@pytest.mark.parametrize("sent", [b"", b"PROXY TCP4", b"PROXY TCP4 9.8.7.6 1.1.1.1 4321 80\r\n"])
def test_a_stop_does_not_wait_for_a_connection_without_a_request(
        tmp_path: Path, sent: bytes) -> None:
    with serve(tmp_path, "--enable-proxy-protocol", "--http-headers-timeout", "90",
               "--worker-reload-mercy", "90") as server, connect(server) as wire:
        wire.send(sent)
        with connect(server) as other:  # accepted and served after the first one
            other.send(b"PROXY UNKNOWN\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
            assert other.read_response().status == 200
        assert server.stop(deadline=20) == 0
        assert wire.closed()


def test_slow_requests_are_logged_and_paths_have_their_own_harakiri(tmp_path: Path) -> None:
    with serve(tmp_path, "--slow-request", "0.3", "--harakiri-path", "/wait=0.8",
               "--gevent", "5") as server:
        server.wait_for("gevent: has no effect with ASGI")
        assert get(server, "/wait?for=20").status == 504
        server.wait_for("slow request: GET /wait?for=20 from 127.0.0.1:")
        assert get(server, "/stream?n=2&wait=0.6").body == b"0\n1\n"
        server.wait_for("slow request: GET /stream?n=2&wait=0.6")


def test_stacks_name_requests_and_threads(tmp_path: Path) -> None:
    with serve(tmp_path, "--pidfile", "pid") as server, connect(server) as wire:
        wire.send(b"GET /wait?for=60 HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for("APP wait began")
        with Program(sys.executable, "-m", "geventuwsgi", "--stacks", "pid",
                     cwd=tmp_path) as asked:
            assert asked.wait() == 0
        asked.wait_for("request GET /wait?for=60 from 127.0.0.1")
        assert asked.find("(asgi-loop):") and asked.find("await asyncio.sleep(float(query")


def without(tmp_path: Path, module: str) -> dict[str, str]:
    """Return an environment in which a module cannot be imported."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / f"{module}.py").write_text("raise ImportError('not installed')\n")
    return {"PYTHONPATH": f"{hidden}:{ROOT}"}


def test_without_the_library_a_websocket_gets_a_501(tmp_path: Path) -> None:
    with serve(tmp_path, env=without(tmp_path, "websockets")) as server:
        with connect(server) as wire:
            answer = wire.get("/echo", "Connection: Upgrade", "Upgrade: websocket",
                              "Sec-WebSocket-Version: 13",
                              "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
            assert answer.status == 501
        server.wait_for("pip install websockets")
        assert get(server, "/hello").body == b"Hello, world!"


def test_without_uvloop(tmp_path: Path) -> None:
    environment = without(tmp_path, "uvloop")
    with serve(tmp_path, env=environment) as server:
        assert json.loads(get(server, "/thread").body)["loop"].startswith("asyncio")
    with serve(tmp_path, "--asgi-loop", "uvloop", env=environment, ready=False) as server:
        assert server.wait() in (1, 3)
        server.wait_for("uvloop is not installed: pip install uvloop")
