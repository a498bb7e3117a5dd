"""Slow requests are told once, harakiri may differ by path, and verbose tells of all."""

import re
import time

import pytest

from tests.harness import Server, wait_until
from tests.server.conftest import APP
from tests.server.wire import HOST, connect, get, packet, request

ARGUMENTS = ("--http-socket", "127.0.0.1:0", "--socket", "127.0.0.1:0", "--slow-request", "0.5",
             "--harakiri", "2", "--harakiri-path", "/sleep-later=1", "--harakiri-path", "/s=1.5",
             "--harakiri-path", "/sleep=0", "--harakiri-verbose", "--disable-logging")


def test_a_slow_request_is_told_once_and_served(server: Server) -> None:
    start = len(server.err)
    with connect(server) as wire:
        assert wire.get("/sleep?1.2").body == b"slept"
        assert wire.get("/sleep?0.1").body == b"slept"
        name = wire.name
    told = [line for line in server.err[start:] if "slow request" in line]
    assert len(told) == 1, told
    assert re.search(rf"\[WARNING\] slow request: GET /sleep\?1.2 from {name} has been running "
                     r"for 0\.[5-9] seconds on core \d+ of worker 1 \(pid: \d+\), here:", told[0])
    stack = server.err[server.err.index(told[0]) + 1:]
    assert 'app.py", line' in stack[0] and "in application" in stack[0], "the application's frames"


def test_each_request_of_a_connection_counts(server: Server) -> None:
    start = len(server.err)
    with connect(server) as wire:
        for seconds in ("0.81", "0.82"):
            wire.get(f"/sleep?{seconds}")
            assert any(f"slow request: GET /sleep?{seconds}" in line
                       for line in server.err[start:])


@pytest.mark.parametrize("path, least, most", [
    ("/sleep-later?30", 1, 1.5), ("/survivor?30", 1.5, 2), ("/hold?never", 2, 2.5)])
def test_the_longest_prefix_counts(server: Server, path: str, least: float, most: float) -> None:
    began = time.monotonic()
    with connect(server) as wire:
        wire.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        wire.rest()
    assert least <= time.monotonic() - began < most + 1


def test_zero_is_no_limit(server: Server) -> None:
    with connect(server) as wire:
        assert wire.get("/sleep?2.6").body == b"slept"


def test_script_name_and_dot_segments_count(server: Server) -> None:
    with connect(server, "uwsgi") as wire:
        wire.send(packet(request("/sleep?30", SCRIPT_NAME="/mounted")))
        assert wire.answer().status == 504, "the path is /mounted/sleep"
    with connect(server) as wire:
        wire.send(b"GET /x/../sleep?2.6 HTTP/1.1\r\n" + HOST + b"\r\n")
        assert wire.answer().body == b"slept"


def test_verbose_tells_of_the_whole_worker(server: Server) -> None:
    start = len(server.err)
    with connect(server) as other, connect(server) as doomed:
        other.send(b"GET /sleep?3 HTTP/1.1\r\n" + HOST + b"\r\n")
        doomed.send(b"GET /hold?verbose HTTP/1.1\r\n" + HOST + b"Cookie: secret=1\r\n"
                    b"User-Agent: probe\r\nAuthorization: Basic secret\r\n\r\n")
        assert doomed.answer().status == 504
        wait_until(lambda: [one for one in server.err[start:] if "end of worker 1 status" in one])
        other.answer()
    told = "\n".join(server.err[start:])
    assert "REQUEST_URI = /hold?verbose" in told and "HTTP_USER_AGENT = probe" in told
    assert "secret" not in told
    assert "HARAKIRI !!! worker 1 status !!!" in told
    assert re.search(r"request GET /sleep\?3 from 127.0.0.1:\d+ on core \d, running for", told)
    assert "in sleep" in told and "in hold" in told


def test_grace(tmp_path) -> None:
    with Server(tmp_path, "app:application", "--harakiri", "1", "--harakiri-graceful-timeout", "1",
                "--disable-logging", app=APP) as server:
        began = time.monotonic()
        with connect(server) as doomed:
            doomed.send(b"GET /immortal HTTP/1.1\r\n" + HOST + b"\r\n")
            assert doomed.answer().status == 504
        assert 2 <= time.monotonic() - began < 4
        server.wait_for("Respawned uWSGI worker 1")
        assert get(server, "/hello").body == b"hello"


@pytest.mark.parametrize("lines, told", [
    (("harakiri-path = reports=5",), "bad.ini:2: harakiri-path: 'reports' is no prefix of a path"),
    (("harakiri-path = /reports/",), "bad.ini:2: harakiri-path: '/reports/' is not of the form"),
    (("harakiri-path = /reports/=soon",), "bad.ini:2: harakiri-path: '/reports/=soon' is not"),
    (("harakiri-path = /reports/=-1",), "bad.ini:2: harakiri-path: '/reports/=-1' is not"),
    (("harakiri-path = /re*/=5",), "bad.ini:2: harakiri-path: '/re*/' is no prefix"),
    (("harakiri-path = /a=5", "harakiri-path = /a=6"),
     "bad.ini:3: harakiri-path: /a is given 5 seconds and 6"),
    (("harakiri = 10", "slow-request = 10"),
     "bad.ini:3: slow-request: no request runs for 10 seconds: harakiri = 10 (bad.ini:2) ends"),
    (("harakiri = 10", "slow-request = 20", "harakiri-path = /a=20"),
     "bad.ini:3: slow-request: no request runs for 20 seconds: the longest harakiri-path has 20"),
    (("block-warning = 5",), "bad.ini:2: block-warning: '5': must be at least 10"),
    (("worker-timeout = 2", "block-warning = 2s"),
     "bad.ini:3: block-warning: no worker is blocked for 2000 milliseconds: worker-timeout = 2 "
     "(bad.ini:2) replaces it before"),
    (("queue-limit = -1",), "bad.ini:2: queue-limit: '-1': must be at least 0"),
    (("cancel-on-disconnect = maybe",), "bad.ini:2: cancel-on-disconnect: 'maybe' is neither"),
])
def test_bad_input(tmp_path, lines, told) -> None:
    (tmp_path / "bad.ini").write_text("[geventuwsgi]\n" + "\n".join(lines) + "\n")
    with Server(tmp_path, "-c", "bad.ini", "app:application", app=APP, ready=False) as server:
        assert server.wait() == 1
    assert f"geventuwsgi: error: {told}" in server.log
