"""More requests than slots: 503 at once with `queue-limit`, a wait without it."""

import resource
import threading

import pytest

from tests.harness import Server, wait_until
from tests.workers.wsgi.conftest import APP
from tests.workers.wsgi.raw_client import HOST, RawClient, connect, get, get_json, packet, request

pytestmark = pytest.mark.slow


def occupy(server: Server, count: int) -> list[RawClient]:
    """Fill slots until the file `release` exists, and wait until they are full."""
    clients = []
    for _ in range(count):
        client = connect(server)
        client.send(b"GET /wait-for?release HTTP/1.1\r\n" + HOST + b"\r\n")
        first = client.readline()
        client.buffered = first + client.buffered
        clients.append(client)
    return clients


def queue(server: Server, client: RawClient) -> RawClient:
    """Send a request that finds no slot, and wait until it is in the queue."""
    before = len(server.find("waits for a slot"))
    client.send(b"GET /hello HTTP/1.1\r\n" + HOST + b"\r\n")
    server.wait_for("waits for a slot", before + 1)
    return client


def finish(server: Server, clients: list[RawClient]) -> None:
    """Release the requests: those that run or wait are served."""
    (server.directory / "release").touch()
    for client in clients:
        with client:
            assert client.read_response().body in (b"begunended", b"hello")


def test_past_the_queue_it_is_503_at_once(tmp_path) -> None:
    with Server(tmp_path, "app:application", "--http-socket", "127.0.0.1:0", "--socket",
                "127.0.0.1:0", "--gevent", "2", "--queue-limit", "2", "--log-level", "debug",
                app=APP) as server:
        inside = occupy(server, 2)
        inside += [queue(server, connect(server)) for _ in range(2)]
        rejected = [get(server, "/rejected") for _ in range(5)]
        with connect(server) as client:
            client.send(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 5000000\r\n\r\nx")
            rejected.append(client.read_response())
        with connect(server, "uwsgi") as client:
            client.send(packet(request("/rejected")))
            rejected.append(client.read_response())
        for response in rejected:
            assert response.status == 503 and response.headers["retry-after"] == "1"
        finish(server, inside)
        assert get(server, "/hello").body == b"hello"
        calls = get_json(server, "/calls")
        assert "GET /rejected" not in calls and "POST /echo" not in calls
        lines = wait_until(lambda: server.find("were refused with 503"))
        counted = sum(int(line.partition("worker 1: ")[2].split()[0]) for line in lines)
        assert counted == 7 and len(lines) <= 2, lines
        assert "all 2 slots are busy" in lines[0]
        wait_until(lambda: len([line for line in server.out if " 503) " in line]) == 7,
                   "seven request lines")
        assert server.stop() == 0, server.log


def test_a_kept_connection_is_rejected_too(tmp_path) -> None:
    with Server(tmp_path, "app:application", "--gevent", "1", "--queue-limit", "1",
                "--log-level", "debug", app=APP) as server:
        with connect(server) as kept:
            waiting = connect(server)
            assert kept.get("/hello").status == waiting.get("/hello").status == 200
            inside = occupy(server, 1)
            queue(server, waiting)
            response = kept.get("/hello")
            assert response.status == 503 and response.headers["connection"] == "close"
            assert kept.closed()
            finish(server, [*inside, waiting])


def test_no_request_is_rejected_that_another_worker_could_serve(tmp_path) -> None:
    with Server(tmp_path, "app:application", "--gevent", "1", "--queue-limit", "1", "--processes",
                "2", app=APP) as server:
        inside = occupy(server, 1)
        # One at a time, on connections of their own: the other worker is always free.
        assert [get(server, "/hello").status for _ in range(40)] == [200] * 40
        # With both busy and a queue of one each, the rest is rejected; the first worker that
        # sees that both are busy may reject one that the other had a place for.
        inside += occupy(server, 1)
        responses: list[int] = []
        threads = [threading.Thread(target=lambda: responses.append(get(server, "/hello").status))
                   for _ in range(12)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(responses) >= 10, lambda: f"{responses} {server.log}")
        assert {*responses} == {503}
        finish(server, inside)
        for thread in threads:
            thread.join(20)
        assert len(responses) == 12 and responses.count(200) in (1, 2)
        assert server.stop() == 0


def test_without_the_limit_they_wait(tmp_path) -> None:
    with Server(tmp_path, "app:application", "--gevent", "1", app=APP) as server:
        inside = occupy(server, 1)
        for _ in range(5):
            inside.append(connect(server))
            inside[-1].send(b"GET /hello HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        finish(server, inside)


def test_out_of_descriptors_it_recovers(tmp_path) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))

    with Server(tmp_path, "app:application", "--disable-logging", app=APP,
                preexec_fn=few) as server:
        kept = [connect(server) for _ in range(70)]
        line = server.wait_for("cannot accept connections on http://127.0.0.1")
        assert "Too many open files; trying again" in line
        stamps = [one.partition("]")[0] for one in server.find("cannot accept connections")]
        assert len(stamps) <= len(set(stamps)) + 1, "once a second"
        for client in kept:
            client.sock.close()
        assert get(server, "/hello").body == b"hello"
        before = len(server.find("cannot accept connections"))
        assert get(server, "/hello").body == b"hello"
        assert len(server.find("cannot accept connections")) == before
        assert server.stop() == 0, server.log
