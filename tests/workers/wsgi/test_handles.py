"""What an application keeps of a request works on no other request."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.harness import Server, wait_until
from tests.workers.wsgi.raw_client import HOST, connect, get, get_json

THREADS = 4
OVER = "the request is over"


@pytest.fixture
def notes(server: Server) -> Iterator["Notes"]:
    """What the application notes during the test."""
    yield Notes(server)


class Notes:
    """The notes from here on."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.start = len(get_json(server, "/notes"))

    def wait(self, count: int) -> list[Any]:
        """Return the notes when there are so many."""
        return wait_until(
            lambda: (found := get_json(self.server, "/notes")[self.start:])[count - 1:] and found,
            lambda: f"{get_json(self.server, '/notes')[self.start:]}\n{self.server.log}")


# The request body

@pytest.mark.parametrize("read, after", [(0, [OVER, OVER]), (1000, [repr(b"a" * 10), OVER]),
                                         (200_000, ["b''", "b''"])])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_body_is_read_by_its_own_request(server: Server, notes: Notes, read: int,
                                           after: list[str], chunked: bool) -> None:
    body = b"a" * 200_000
    framed = (b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
              if chunked else b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    with connect(server) as client:
        client.send(b"POST /late-read?%d HTTP/1.1\r\n" % read + HOST + framed)
        answer = client.read_response()
        assert answer.body == b"early"
        if answer.headers.get("connection") == "close":     # nobody knows how much is left
            assert chunked and client.closed()
            get(server, "/release-late")
            assert [text for _, text in notes.wait(2)] in (after, [OVER, OVER])
            return
        calls = get_json(server, "/calls").count("POST /echo")
        client.send(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 150000\r\n\r\n"
                    + b"s" * 75_000)
        wait_until(lambda: get_json(server, "/calls").count("POST /echo") > calls)
        get(server, "/release-late")
        found = notes.wait(2)
        client.send(b"s" * 75_000)
        assert client.read_response().body == b"s" * 150_000
    if chunked and read == len(body):   # the last chunk comes with the rest or is never read
        assert [text for _, text in found] in (after, [OVER, OVER])
    else:
        assert [text for _, text in found] == after


def test_a_read_that_waits_ends_with_its_request(server: Server, notes: Notes) -> None:
    with connect(server) as client:
        client.send(b"POST /waiting-read HTTP/1.1\r\n" + HOST
                    + b"Content-Length: 100000\r\n\r\n" + b"a" * 50_000)
        assert client.read_response().body == b"early"
        assert notes.wait(1) == [["waited", OVER]]
        client.send(b"a" * 50_000)
        assert client.get("/hello").body == b"hello"


# Output, the client's presence and its socket

def test_nothing_is_sent_after_the_response(server: Server, notes: Notes) -> None:
    with connect(server) as client:
        assert client.get("/late-output").body == b"early"
        calls = get_json(server, "/calls").count("POST /echo")
        client.send(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n")
        wait_until(lambda: get_json(server, "/calls").count("POST /echo") > calls)
        get(server, "/release-late")
        found = dict(notes.wait(5))
        client.send(b"0123456789" * 10_000)
        assert client.read_response().body == b"0123456789" * 10_000
        assert client.get("/hello").body == b"hello"
    assert found["write"] == found["socket"] == OVER and found["hints"] in (OVER, "None")
    assert found["gone"] == found["wait"] == "True"


def test_looking_at_the_socket_takes_nothing(server: Server) -> None:
    with connect(server) as client:
        for _ in range(2):
            assert json.loads(client.get("/look").body) == ["127.0.0.1", "127.0.0.1", 2]


@pytest.mark.parametrize("fields, status", [(("Upgrade: echo",), 101), ((), 200)])
def test_a_taken_connection_ends_with_its_request(server: Server, fields: tuple[str, ...],
                                                  status: int) -> None:
    start = len(server.out)
    with connect(server) as client:
        assert client.get("/keep-socket", *fields).status == 101
        assert client.closed()
    line = wait_until(lambda: [one for one in server.out[start:] if "/keep-socket" in one])[0]
    assert f" {status}) " in line


def test_a_connection_that_was_detached_stays(server: Server) -> None:
    start = len(server.out)
    with connect(server) as client:
        client.send(b"GET /detach-socket HTTP/1.1\r\n" + HOST + b"\r\n")
        wait_until(lambda: [one for one in server.out[start:] if "/detach-socket" in one])
        get(server, "/release-late")
        assert client.read_to_end() == b"later"


# All of it in any order

AFTER = {"write": OVER, "hints": f"{OVER}|None", "gone": "True", "look": OVER, "take": OVER}
SIZES = st.sampled_from([0, 10, 200_000])


class Handles(RuleBasedStateMachine):
    """Requests on one connection, whose handles are used when they are over: between two requests,
    and while another one runs. No response is ever touched, and no body read by another request."""

    requests: Bundle[str] = Bundle("requests")
    names = itertools.count()

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.server = server
        self.client = connect(server)

    def post(self, path: str, size: int, sent: bytes) -> None:
        self.client.send(b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (
            path.encode(), HOST, size) + sent)

    def use(self, name: str, thing: str) -> None:
        found = get(self.server, f"/use-stored?{name},{thing}").body.decode()
        # Octets of its own body that the server had read are still there.
        assert re.fullmatch(AFTER.get(thing, f"{OVER}|b'o*'"), found), f"{thing}: {found}"

    @rule(target=requests, size=SIZES, read=SIZES)
    def request(self, size: int, read: int) -> str:
        name = str(next(self.names))
        self.post(f"/store?{name},{read}", size, b"o" * size)
        answer = self.client.read_response()
        assert answer.body == b"%d" % min(size, read)
        if answer.headers.get("connection") == "close":
            self.another_connection()
        return name

    @rule(name=requests, thing=st.sampled_from(["read", *AFTER]))
    def use_between(self, name: str, thing: str) -> None:
        self.use(name, thing)

    @rule(name=requests, thing=st.sampled_from(["read", *AFTER]))
    def use_during(self, name: str, thing: str) -> None:
        calls = get_json(self.server, "/calls").count("POST /echo")
        self.post("/echo", 100_000, b"s" * 50_000)
        wait_until(lambda: get_json(self.server, "/calls").count("POST /echo") > calls)
        self.use(name, thing)
        self.client.send(b"s" * 50_000)
        assert self.client.read_response().body == b"s" * 100_000

    @rule()
    def pipelined(self) -> None:
        self.client.send((b"GET /hello HTTP/1.1\r\n" + HOST + b"\r\n") * 3)
        assert [self.client.read_response().body for _ in range(3)] == [b"hello"] * 3

    @rule()
    def another_connection(self) -> None:
        self.client.sock.close()
        self.client = connect(self.server)

    def teardown(self) -> None:
        self.client.sock.close()


def test_handles_in_any_order(server: Server) -> None:
    run_state_machine_as_test(lambda: Handles(server), settings=settings(max_examples=40))
