"""slow-request, harakiri-path and harakiri-verbose."""

import re
import time
from functools import partial

import pytest

from tests.harness import Server, wait_until
from tests.parallel import in_parallel
from tests.workers.wsgi.conftest import APP
from tests.workers.wsgi.raw_client import HOST, RawClient, connect, packet, request

pytestmark = pytest.mark.slow

ARGUMENTS = ("--http-socket", "127.0.0.1:0", "--socket", "127.0.0.1:0", "--slow-request", "0.5",
             "--harakiri", "1", "--harakiri-path", "/su=30", "--harakiri-path", "/sl=1",
             "--harakiri-path", "/sleep=0", "--harakiri-path", "/sleep-later=1",
             "--harakiri-path", "/wait-for=0", "--harakiri-verbose", "--disable-logging")
LONGER = 1.6  # seconds, than the limit and a sweep


def slow(server: Server, client: RawClient, name: str) -> str:
    """Make a request that ends once it was logged as slow; return the line."""
    client.send(f"GET /wait-for?{name} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
    line = server.wait_for(f"slow request: GET /wait-for?{name} from {client.name}")
    (server.directory / name).touch()
    assert client.read_response().body == b"begunended"
    return line


def a_slow_request_is_logged_once_and_served(server: Server) -> None:
    with connect(server) as first:
        first.send(b"GET /wait-for?first HTTP/1.1\r\n" + HOST + b"\r\n")
        line = server.wait_for("slow request: GET /wait-for?first ")
        with connect(server) as second:
            slow(server, second, "second")  # which takes at least two more sweeps
            assert second.get("/hello").body == b"hello"
        (server.directory / "first").touch()
        assert first.read_response().body == b"begunended"
        name = first.name
    assert server.find("slow request: GET /wait-for?first ") == [line]
    found = re.search(r"\[WARNING\] slow request: GET /wait-for\?first from (\S+) has been running "
                      r"for (\d+\.\d) seconds on core \d+ of worker 1 \(pid: \d+\), here:", line)
    assert found and found[1] == name and float(found[2]) >= 0.5
    stack = server.err[server.err.index(line) + 1:]
    assert 'app.py", line' in stack[0] and "in wait_for" in stack[0], "the application's frames"


def each_request_of_a_connection_counts(server: Server) -> None:
    with connect(server) as client:
        for name in ("third", "fourth"):
            slow(server, client, name)


def lasts(server: Server, path: str) -> None:
    with connect(server) as client:
        assert client.get(path).body == b"slept"


def is_ended(server: Server, path: str) -> None:
    began = time.monotonic()
    with connect(server) as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        response = client.read_to_end()
        assert b"slept" not in response and b"held" not in response and b"ended" not in response
        assert time.monotonic() - began > 0.9


def script_name_counts(server: Server) -> None:
    with connect(server, "uwsgi") as client:
        client.send(packet(request("/sleep?30", SCRIPT_NAME="/mounted")))
        assert client.read_response().status == 504, "the path is /mounted/sleep"


def test_slow_requests_and_the_longest_prefix(server: Server) -> None:
    """Zero is no limit; a path without a prefix of its own has that of harakiri."""
    in_parallel([
        *(partial(lasts, server, path) for path in (
            f"/sleep?{LONGER}", f"/x/../sleep?{LONGER}", f"/sleep-and-note?{LONGER}")),
        *(partial(is_ended, server, path) for path in (
            "/sleep-later?30", "/hold?never", "/x/../hold?never")),
        *(partial(check, server) for check in (
            script_name_counts, a_slow_request_is_logged_once_and_served,
            each_request_of_a_connection_counts))])


def test_verbose_logs_the_whole_worker(server: Server) -> None:
    start = len(server.err)
    with connect(server) as other, connect(server) as client:
        other.send(b"GET /wait-for?verbose HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        other.readline()  # it has a slot
        client.send(b"GET /hold?verbose HTTP/1.1\r\n" + HOST + b"Cookie: secret=1\r\n"
                    b"User-Agent: probe\r\nAuthorization: Basic secret\r\n\r\n")
        assert client.read_response().status == 504
        wait_until(lambda: [one for one in server.err[start:] if "end of worker 1 status" in one])
        (server.directory / "verbose").touch()
        other.read_to_end()
    report = "\n".join(server.err[start:])
    assert "REQUEST_URI = /hold?verbose" in report and "HTTP_USER_AGENT = probe" in report
    assert "secret" not in report
    assert "HARAKIRI !!! worker 1 status !!!" in report
    assert re.search(r"request GET /wait-for\?verbose from 127.0.0.1:\d+ on core \d+, "
                     r"running for", report)
    assert "in wait_for" in report and "in hold" in report


@pytest.mark.parametrize("lines, message", [
    (("harakiri-path = reports=5",), "bad.ini:2: harakiri-path: 'reports' is not a path prefix"),
    (("harakiri-path = /reports/",), "bad.ini:2: harakiri-path: '/reports/' is not of the form"),
    (("harakiri-path = /reports/=soon",), "bad.ini:2: harakiri-path: '/reports/=soon' is not"),
    (("harakiri-path = /reports/=-1",), "bad.ini:2: harakiri-path: '/reports/=-1' is not"),
    (("harakiri-path = /re*/=5",), "bad.ini:2: harakiri-path: '/re*/' is not a path prefix"),
    (("harakiri-path = /a=5", "harakiri-path = /a=6"),
     "bad.ini:3: harakiri-path: /a has two limits, 5 and 6 seconds"),
    (("harakiri = 10", "slow-request = 10"),
     "bad.ini:3: slow-request: no request runs for 10 seconds: harakiri = 10 (bad.ini:2) ends"),
    (("harakiri = 10", "slow-request = 20", "harakiri-path = /a=20"),
     "bad.ini:3: slow-request: no request runs for 20 seconds: the longest harakiri-path, 20,"),
    (("block-warning = 5",), "bad.ini:2: block-warning: '5': must be at least 10"),
    (("worker-timeout = 2", "block-warning = 2s"),
     "bad.ini:3: block-warning: no worker stays blocked for 2000 milliseconds: worker-timeout = 2 "
     "(bad.ini:2) replaces it before"),
    (("queue-limit = -1",), "bad.ini:2: queue-limit: '-1': must be at least 0"),
    (("cancel-on-disconnect = maybe",), "bad.ini:2: cancel-on-disconnect: 'maybe' is neither"),
])
def test_bad_input(tmp_path, lines, message) -> None:
    (tmp_path / "bad.ini").write_text("[geventuwsgi]\n" + "\n".join(lines) + "\n")
    with Server(tmp_path, "-c", "bad.ini", "app:application", app=APP, ready=False) as server:
        assert server.wait() == 1
    assert f"geventuwsgi: error: {message}" in server.log
