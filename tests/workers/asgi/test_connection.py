"""The states of a connection, whatever the order in which the loop runs its callbacks."""

import asyncio
import contextlib
import gc
import os
import re
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from types import SimpleNamespace

import pytest
from websockets.frames import Frame, Opcode

from geventuwsgi.app.static.files import StaticFiles
from geventuwsgi.workers.limits import ConnectionLimits
from tests.workers.asgi.stepped import Stepped

BODY = re.compile(rb"content-length: \d+\r\n\r\n(\d+);")


async def answer(scope, receive, send) -> None:
    """Answer with the number in the path, after as many turns of the loop."""
    for _ in range(int(scope["path"][1:]) % 3):
        await asyncio.sleep(0)
    body = scope["path"][1:].encode() + b";"
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


HANDSHAKE = (b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
             b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")


def request(number: int) -> bytes:
    return b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number


def orders(run) -> Iterator[list[int]]:
    """Run a test once for each sequence of choices that it makes; yield the choices.

    Args:
        run: takes a function that chooses among `count` possibilities.
    """
    planned: list[tuple[int, int]] = []
    while True:
        made: list[tuple[int, int]] = []

        def choose(count: int) -> int:
            chosen = planned[len(made)][0] if len(made) < len(planned) else 0
            made.append((chosen, count))
            return chosen
        run(choose)
        yield [chosen for chosen, _ in made]
        while made and made[-1][0] + 1 == made[-1][1]:
            made.pop()
        if not made:
            return
        planned = [*made[:-1], (made[-1][0] + 1, made[-1][1])]


SEGMENTS = {
    "two and two": [request(1) + request(2), request(3) + request(4)],
    "cut in a head": [request(1) + request(2)[:9], request(2)[9:] + request(3), request(4)],
    "left bodies": [
        b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab", b"cd" + request(2),
        request(3) + request(4)],
}


EAGER = getattr(asyncio, "eager_task_factory", None)
needs_eager = pytest.mark.skipif(EAGER is None, reason="eager tasks came with Python 3.12")


@pytest.mark.parametrize("factory", [None, pytest.param(EAGER, marks=needs_eager)],
                         ids=["usual", "eager"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("segments", SEGMENTS.values(), ids=SEGMENTS)
def test_pipelined_requests_keep_their_order_in_every_order_of_callbacks(
        segments: list[bytes], secure: bool, factory, contexts) -> None:
    def run(choose) -> None:
        stepped = Stepped(answer, contexts if secure else None)
        stepped.loop.set_task_factory(factory)
        waiting = list(segments)
        try:
            stepped.transmit(waiting.pop(0))
            while possible := stepped.possible() + [lambda: stepped.transmit(waiting.pop(0))
                                                    ] * bool(waiting):
                possible[choose(len(possible)) if len(possible) > 1 else 0]()
            stepped.receive()
            assert BODY.findall(stepped.received) == [b"1", b"2", b"3", b"4"]
            assert not stepped.errors and not stepped.service.tasks
        finally:
            stepped.close()
    assert sum(1 for _ in orders(run)) >= 9


@pytest.mark.parametrize("opening", [request(1), HANDSHAKE], ids=["http", "websocket"])
def test_a_request_whose_task_never_runs_is_answered(opening: bytes) -> None:
    stepped = Stepped(answer)
    try:
        stepped.transmit(opening)
        stepped.loop.run_ready()  # the start of the transport
        for task in stepped.service.tasks:
            task.cancel()
        stepped.settle()
        stepped.service._sweep()
        stepped.settle()
        assert stepped.received.startswith((b"HTTP/1.1 500 ", b"HTTP/1.1 503 ")) and stepped.ended
        assert not (stepped.service.tasks or stepped.service.in_progress or stepped.errors)
    finally:
        stepped.close()


def test_the_file_of_a_request_whose_task_never_runs_is_closed(tmp_path: Path) -> None:
    (tmp_path / "1").write_text("a file")
    stepped = Stepped(answer)
    stepped.service.static = StaticFiles(roots=[str(tmp_path)])
    try:
        before = os.listdir("/proc/self/fd")
        stepped.transmit(request(1))
        stepped.loop.run_ready()  # the start of the transport
        assert len(os.listdir("/proc/self/fd")) == len(before) + 1
        for task in stepped.service.tasks:
            task.cancel()
        stepped.settle()
        stepped.service._sweep()
        stepped.settle()
        assert stepped.received.startswith(b"HTTP/1.1 500 ") and stepped.ended
        assert len(os.listdir("/proc/self/fd")) == len(before) - 1  # without the connection
    finally:
        stepped.close()


def test_a_file_gives_way_after_each_piece(tmp_path: Path, monkeypatch) -> None:
    with open(tmp_path / "1", "wb") as file:
        file.truncate(8 << 20)
    pieces: list[int] = []
    monkeypatch.setattr(os, "sendfile", lambda out, file, offset, count: (
        pieces.append(count), count)[1])  # the client reads faster than the server sends
    stepped = Stepped(answer)
    stepped.service.static = StaticFiles(roots=[str(tmp_path)])
    try:
        stepped.transmit(request(1))
        while steps := stepped.possible():
            before = len(pieces)
            steps[0]()
            assert len(pieces) - before <= 1
        assert sum(pieces) == 8 << 20 and not stepped.errors
    finally:
        stepped.close()


def test_responses_do_not_pile_up_for_a_client_that_only_sends() -> None:
    begun: list[str] = []

    async def app(scope, receive, send) -> None:
        begun.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 1_000_000})

    stepped = Stepped(app)
    try:
        stepped.transmit(b"".join(map(request, range(20))))
        while steps := stepped.possible():
            steps[0]()
        assert begun == ["/0"]
        stepped.settle()  # the client reads
        assert len(begun) == 20 and len(stepped.received) > 20_000_000
        stepped.transmit(request(20))
        while steps := stepped.possible():
            steps[0]()
        stepped.transmit(request(21))  # not pipelined, but in a segment of its own
        while steps := stepped.possible():
            steps[0]()
        assert begun[20:] == ["/20"]
        stepped.settle()
        assert begun[20:] == ["/20", "/21"] and not stepped.errors
    finally:
        stepped.close()


def denial(*messages: dict[str, object], status: int = 403, drain: bool = False,
           length: bytes = b"") -> tuple[Stepped, list[object]]:
    """Deny a WebSocket and then receive; return the ended connection and what it received."""
    received: list[object] = []

    async def app(scope, receive, send) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": status,
                    "headers": [(b"content-length", length)] if length else []})
        for message in messages:
            await send({"type": "websocket.http.response.body", **message})
        received.append(await receive())

    stepped = Stepped(app)
    try:
        stepped.transmit(HANDSHAKE)
        stepped.settle()
        if drain:
            assert not (received or stepped.ended)
            stepped.service.drain(0.0)
            stepped.settle()
    finally:
        stepped.close()
    assert not stepped.errors
    return stepped, received


def test_the_head_of_a_denial_does_not_wait_for_its_body() -> None:
    stepped, _ = denial()
    assert stepped.received.startswith(b"HTTP/1.1 403 ") and b"chunked" in stepped.received


@pytest.mark.parametrize("messages", [(), ({"body": b"x", "more_body": True},)])
def test_a_stop_ends_a_denial_that_waits_for_its_client(messages) -> None:
    stepped, received = denial(*messages, drain=True)
    assert received == [{"type": "websocket.disconnect", "code": 1012, "reason": ""}]
    assert stepped.received.startswith(b"HTTP/1.1 403 ") and stepped.ended
    assert not stepped.received.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(("status", "body"), [(101, b""), (200, 5), (200, "text")])
def test_a_denial_that_cannot_be_sent_is_a_500(status: int, body: object) -> None:
    stepped, _ = denial({"body": body}, status=status, length=b"5")
    assert stepped.received.startswith(b"HTTP/1.1 500 ") and stepped.ended


@pytest.mark.parametrize("body", [b"too long", b"1"])
def test_a_denial_with_a_wrong_length_is_logged(body: bytes, caplog) -> None:
    stepped, _ = denial({"body": body}, length=b"3")
    assert stepped.received.endswith(b"\r\n\r\n" + body[:3]) and stepped.ended
    assert "than its Content-Length" in caplog.text


@pytest.mark.parametrize("early", [False, True], ids=["stop", "early data"])
def test_a_handshake_rejected_by_the_server_is_recorded_once(early: bool) -> None:
    received: list[object] = []
    statuses: list[int] = []

    async def app(scope, receive, send) -> None:
        await receive()
        received.append(await receive())
        with pytest.raises(OSError):
            await send({"type": "websocket.accept"})

    stepped = Stepped(app)
    stepped.connection.service.complete = lambda record, _: statuses.append(record.status)
    stepped.service.access = SimpleNamespace(add=lambda _: None, flush=lambda: None,
                                             close=lambda: None)
    try:
        stepped.transmit(HANDSHAKE)
        stepped.settle()
        if early:
            stepped.transmit(b"early")
        else:
            stepped.service.drain(0.0)
        stepped.settle()
        status = 400 if early else 503
        assert stepped.received.startswith(b"HTTP/1.1 %d " % status) and stepped.ended
        assert statuses == [status] and stepped.service.in_progress == 0
        assert [one["code"] for one in received] == [1006 if early else 1012]
        assert not (stepped.service.exceptions or stepped.errors)
    finally:
        stepped.close()


@pytest.mark.parametrize("fields", [[], [(b"content-length", b"9")]], ids=["chunked", "length"])
@pytest.mark.parametrize("others", [False, True], ids=["waits", "streams in another task"])
def test_a_stop_cuts_a_stream_that_only_waits_for_its_client(others: bool, fields) -> None:
    more = asyncio.Event()

    async def app(scope, receive, send) -> None:
        async def stream() -> None:
            await send({"type": "http.response.body", "body": b"piece", "more_body": True})
            await more.wait()
            await send({"type": "http.response.body", "body": b" two"})

        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        if others:
            task = asyncio.ensure_future(stream())
        else:
            await send({"type": "http.response.body", "body": b"piece", "more_body": True})
        assert (await receive())["type"] == "http.disconnect"
        if others:
            task.cancel()

    stepped = Stepped(app)
    try:
        stepped.transmit(request(1))
        stepped.settle()
        stepped.service.drain(0.0)
        stepped.connection.drain(monotonic())  # as the sweep does a second later
        stepped.settle()
        assert stepped.ended != others and b"piece" in stepped.received
        if others:
            assert stepped.service.tasks
            stepped.loop.call_soon(more.set)
            stepped.settle()
        whole = b" two" in stepped.received and stepped.received.endswith(
            b" two" if fields else b"0\r\n\r\n")
        assert whole == others and stepped.ended and not stepped.service.tasks
    finally:
        stepped.close()


def futures() -> int:
    gc.collect()
    return sum(isinstance(one, asyncio.Future) for one in gc.get_objects())


@pytest.mark.parametrize("opening", [request(1), HANDSHAKE], ids=["http", "websocket"])
@pytest.mark.parametrize("sends", [False, True], ids=["receive", "send"])
def test_a_cancelled_call_leaves_nothing(opening: bytes, sends: bool) -> None:
    counts: list[int] = []

    async def app(scope, receive, send) -> None:
        await receive()
        data: dict[str, object] = {"type": "http.response.body", "body": b"x", "more_body": True}
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            data = {"type": "websocket.send", "text": "x"}
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        blocked = False
        while sends and not blocked:
            task = asyncio.ensure_future(send({**data, "body": b"x" * 65536, "text": "x" * 65536}))
            for _ in range(3):
                await asyncio.sleep(0)
            blocked = not task.done()
        counts.append(futures())
        for _ in range(200):
            waiter = asyncio.ensure_future(send(data) if sends else receive())
            await asyncio.sleep(0)
            assert waiter.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiter
        counts.append(futures())

    stepped = Stepped(app)
    try:
        stepped.transmit(opening)
        while steps := stepped.possible():
            steps[0]()
        assert not stepped.errors and counts[1] - counts[0] < 10
    finally:
        stepped.close()


def senders(data: bytes):
    """Applications that only send, by name: (opening octets, messages before, the message)."""
    start = {"status": 200, "headers": []}
    return {
        "body": (request(1), [{"type": "http.response.start", **start}],
                 {"type": "http.response.body", "body": data, "more_body": True}),
        "body of HEAD": (request(1).replace(b"GET", b"HEAD"),
                         [{"type": "http.response.start", **start}],
                         {"type": "http.response.body", "body": data, "more_body": True}),
        "early hints": (request(1), [], {"type": "http.response.early_hint", "links": [data]}),
        "messages": (HANDSHAKE, [{"type": "websocket.accept"}],
                     {"type": "websocket.send", "bytes": data}),
        "denial": (HANDSHAKE, [{"type": "websocket.http.response.start", **start}],
                   {"type": "websocket.http.response.body", "body": data, "more_body": True})}


@pytest.mark.parametrize("size", [1, 60_000])
@pytest.mark.parametrize("kind", senders(b""))
def test_an_application_that_only_sends_gives_way(kind: str, size: int) -> None:
    opening, before, message = senders(b"x" * size)[kind]
    sent = 0

    async def app(scope, receive, send) -> None:
        nonlocal sent
        for each in before:
            await send(each)
        while sent < 20_000:
            await send(message)
            sent += 1

    stepped = Stepped(app)
    stepped.transport._send = len  # the client reads faster than the application sends
    try:
        stepped.transmit(opening)
        most = 0
        for _ in range(30):
            earlier = sent
            stepped.possible()[0]()
            most = max(most, sent - earlier)
        assert 0 < most * (size + 1024) <= 262144 + size + 1024
        task, = stepped.service.tasks
        task.cancel()
        stepped.settle()
        assert task.done() and sent < 20_000
    finally:
        stepped.close()


@pytest.mark.parametrize("kind", [kind for kind in senders(b"") if "HEAD" not in kind])
def test_no_response_piles_up_for_a_client_that_does_not_read(kind: str) -> None:
    opening, before, message = senders(b"x" * 10_000)[kind]
    ended = False

    async def app(scope, receive, send) -> None:
        nonlocal ended
        for each in [*before, *[message] * 1000]:
            await send(each)
        ended = True

    stepped = Stepped(app)
    try:
        stepped.transmit(opening)
        while steps := stepped.possible():
            steps[0]()
        assert not ended and 65536 < stepped.transport.get_write_buffer_size() < 90_000
        stepped.settle()  # the client reads
        assert ended and len(stepped.received) > 10_000_000 and not stepped.errors
    finally:
        stepped.close()


def test_pongs_do_not_pile_up_for_a_client_that_does_not_read() -> None:
    async def app(scope, receive, send) -> None:
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    stepped = Stepped(app)
    try:
        stepped.transmit(HANDSHAKE)
        stepped.settle()
        head = len(stepped.received)
        pings = 20_000
        stepped.transmit(Frame(Opcode.PING, b"p" * 125).serialize(mask=True) * pings)
        for _ in range(1000):
            stepped.transmit(b"")
            if steps := stepped.possible():
                steps[0]()
        assert stepped.transport.get_write_buffer_size() < 200_000
        stepped.settle()
        assert len(stepped.received) - head == pings * 127
        stepped.transmit(Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True))
        stepped.settle()
        assert stepped.received.endswith(b"\x88\x02\x03\xe8") and stepped.ended
        assert not stepped.errors and not stepped.service.tasks
    finally:
        stepped.close()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_a_slow_reader_of_a_kept_connection_has_time_while_it_reads(secure: bool,
                                                                    contexts) -> None:
    async def app(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 5_000_000})

    stepped = Stepped(app, contexts if secure else None,
                      limits=ConnectionLimits(head_timeout=1.0, io_timeout=30.0))
    try:
        stepped.transmit(request(1))
        while steps := stepped.possible():
            steps[0]()
        assert stepped.connection.deadline > monotonic() + 20
        while stepped.receive():
            pass
        while steps := stepped.possible():
            steps[0]()
        stepped.connection.deadline = 0.0
        stepped.service._sweep()
        stepped.settle()
        assert len(stepped.received) > 5_000_000 and not stepped.ended
    finally:
        stepped.close()


@pytest.mark.parametrize("opening", [request(1), HANDSHAKE], ids=["http", "websocket"])
@pytest.mark.parametrize("sends", [False, True], ids=["receive", "send"])
def test_an_application_that_does_not_notice_its_end_gives_way(opening: bytes,
                                                               sends: bool) -> None:
    calls = 0

    async def app(scope, receive, send) -> None:
        nonlocal calls
        http = scope["type"] == "http"
        if not http:
            await send({"type": "websocket.accept"})
        while not (await receive())["type"].endswith(".disconnect"):
            pass
        while calls < 10_000:
            calls += 1
            if not sends:
                await receive()
                continue
            with contextlib.suppress(OSError):
                await send({"type": "http.response.start" if http else "websocket.send",
                            "status": 200, "text": ""})

    stepped = Stepped(app)
    try:
        stepped.transmit(opening)
        stepped.settle()
        stepped.transport.abort()  # as after a reset
        for _ in range(20):
            stepped.possible()[0]()
        assert 1 < calls < 30
        task, = stepped.service.tasks
        task.cancel()
        while steps := stepped.possible():
            steps[0]()
        assert task.cancelled() and calls < 30
    finally:
        stepped.close()


def test_earlier_responses_come_whole_although_the_client_sends_without_end() -> None:
    async def app(scope, receive, send) -> None:
        if scope["path"] == "/1":
            raise ValueError("on purpose")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 200_000})

    stepped = Stepped(app, buffer=4096)
    try:
        stepped.transmit(request(0) + request(1) + b"GET /2 HTTP/1.1\r\nHost: a\r\n" * 200_000)
        while not stepped.received.endswith(b"500 Internal Server Error\n") and not stepped.ended:
            for _ in range(50):  # it sends faster than it reads
                stepped.transmit(b"")
                if steps := stepped.possible():
                    steps[0]()
            stepped.receive()
        assert stepped.received.count(b"x") >= 200_000
        assert stepped.received.endswith(b"500 Internal Server Error\n")
    finally:
        stepped.close()


LINGERING, DRAINING, CLOSING = (
    b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n" + b"x" * 1000,
    b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n" + b"x" * 1000,
    b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("opening, seconds", [(LINGERING, 2.0), (DRAINING, 10.0), (CLOSING, 10.0)],
                         ids=["lingering", "draining", "closing"])
def test_the_end_of_a_response_leaves_the_deadline_of_the_state(
        opening: bytes, seconds: float, secure: bool, contexts) -> None:
    async def app(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 8_000_000})

    stepped = Stepped(app, contexts if secure else None,
                      limits=ConnectionLimits(keepalive=75.0, io_timeout=10.0))
    try:
        stepped.transmit(opening)
        while not stepped.connection.writing_paused:
            stepped.possible()[0]()
        while stepped.connection.writing_paused:
            if steps := stepped.possible():
                steps[0]()
            else:
                stepped.receive()
        assert stepped.connection.lost or stepped.connection.deadline < monotonic() + 10.0
        stepped.settle()
        assert len(stepped.received) > 8_000_000 and not stepped.errors
        if opening == CLOSING:
            assert stepped.ended and stepped.connection.lost
            return
        assert stepped.connection.deadline < monotonic() + seconds
        order = stepped.connection.reuse_order(monotonic())
        assert order is None or order[1] <= monotonic()
        stepped.connection.deadline = 0.0
        stepped.service._sweep()
        stepped.settle()
        assert stepped.connection.lost
    finally:
        stepped.close()


@pytest.mark.parametrize("by_file", [False, True], ids=["body", "file"])
def test_a_stalled_body_is_timed_out_after_a_large_response(by_file: bool, tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 8_000_000)
    broken: list[str] = []

    async def app(scope, receive, send) -> None:
        async def stream() -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            with open(tmp_path / "file", "rb") as file:
                await send({"type": "http.response.zerocopysend", "file": file, "more_body": True}
                           if by_file else {"type": "http.response.body",
                                            "body": b"x" * 8_000_000, "more_body": True})
        streaming = asyncio.ensure_future(stream())
        while (kind := (await receive())["type"]) == "http.request":
            pass
        broken.append(kind)
        await streaming

    stepped = Stepped(app, limits=ConnectionLimits(io_timeout=10.0))
    try:
        stepped.transmit(b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
                         + b"x" * 1000)
        stepped.settle()
        assert len(stepped.received) > 8_000_000
        assert monotonic() + 5 < stepped.connection.deadline < monotonic() + 10
        stepped.connection.deadline = 0.0
        stepped.service._sweep()
        stepped.settle()
        assert broken == ["http.disconnect"] and stepped.ended and not stepped.errors
    finally:
        stepped.close()


CHUNKED = b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("left", [False, True], ids=["stays", "leaves"])
@pytest.mark.parametrize("chunk", [b"10000\r\n" + b"x" * 65536 + b"\r\n", b"nonsense\r\n"],
                         ids=["over the limit", "broken"])
def test_nothing_is_read_after_a_body_was_rejected(chunk: bytes, left: bool, secure: bool,
                                                   contexts) -> None:
    async def app(scope, receive, send) -> None:
        await receive()
        await proceed
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"answer"})

    stepped = Stepped(app, contexts if secure else None,
                      limits=ConnectionLimits(limit_post=70_000))
    proceed = stepped.loop.create_future()
    try:
        stepped.transmit(CHUNKED + b"1\r\nx\r\n")
        stepped.settle()
        stepped.transmit(chunk * (10_000_000 // len(chunk)))
        stepped.settle()
        assert len(stepped._unsent) > 8_000_000 and not stepped.received
        if left:
            stepped.client.close()
            stepped.connection.exchange.began -= 10
            stepped.service._sweep()
            assert stepped.connection.lost
            return
        proceed.set_result(None)
        stepped.settle()
        assert stepped.received.endswith(b"answer") and not stepped._unsent
        assert stepped.ended and not stepped.errors
    finally:
        stepped.close()


def test_trailers_after_the_application_has_failed_are_refused() -> None:
    refused: list[str] = []

    async def app(scope, receive, send) -> None:
        async def late() -> None:
            await proceed
            try:
                await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]})
            except RuntimeError as error:
                refused.append(str(error))
        tasks.append(asyncio.ensure_future(late()))
        await send({"type": "http.response.start", "status": 200, "headers": [],
                    "trailers": True})
        await send({"type": "http.response.body", "body": b"x" * 1_000_000})
        raise ValueError("on purpose")

    tasks: list[asyncio.Future[None]] = []
    stepped = Stepped(app)
    proceed = stepped.loop.create_future()
    try:
        stepped.transmit(b"GET /1 HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n")
        while steps := stepped.possible():
            steps[0]()
        proceed.set_result(None)
        while steps := stepped.possible():
            steps[0]()
        stepped.settle()  # the client reads
        assert tasks[0].done() and len(refused) == 1
        assert stepped.ended and b"x-sum" not in stepped.received
        assert stepped.service.requests == 1 and stepped.service.in_progress == 0
    finally:
        stepped.close()
