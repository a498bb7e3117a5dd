"""Whatever the order of reader, callbacks, application, client and drain, requests are answered one
after the other, each whole and once, and nothing is left over."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test,
)

from tests.workers.asgi.stepped import Stepped
from tests.workers.wsgi.raw_client import RawClient

EAGER = getattr(asyncio, "eager_task_factory", None)
KINDS = ("answer", "wait", "read", "begin to read", "stream", "poll", "background", "long", "fail",
         "listen")
ENDS = ("fail", "listen")  # the connection serves no request after these


class AnyOrder(RuleBasedStateMachine):
    """One connection, its client and its application."""

    contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None

    @initialize(eager=st.booleans(), buffer=st.sampled_from((0, 4096)))
    def start(self, eager: bool, buffer: int) -> None:
        self.requests: list[tuple[str, bytes]] = []
        self.unsent = bytearray()
        self.begun: list[int] = []
        self.answering: int | None = None
        self.waiting: list[asyncio.Future[None]] = []
        self.drained = self.half_closed = False
        self.stepped = Stepped(self.app, self.contexts, buffer=buffer)
        if eager:
            self.stepped.loop.set_task_factory(EAGER)

    # The application.

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        number = int(scope["path"][1:])
        kind, body = self.requests[number]
        assert self.answering is None, f"{number} begins before the end of {self.answering}"
        self.answering = number
        self.begun.append(number)
        try:
            await self.answer(number, kind, body, receive, send)
        except OSError:
            self.answering = None
            raise

    async def answer(self, number: int, kind: str, body: bytes, receive: Any, send: Any) -> None:
        if kind == "fail":
            self.answering = None
            raise ValueError("on purpose")
        if kind == "listen":
            while (await receive())["type"] != "http.disconnect":
                pass
            self.answering = None
            return
        if kind == "wait":
            await self.turn()
        if kind == "begin to read":
            await receive()
        if kind == "read":
            received = b""
            while (message := await receive())["type"] != "http.disconnect":
                received += message["body"]
                if not message["more_body"]:
                    assert received == body
                    break
        if kind == "poll":
            for _ in range(3):
                poll = asyncio.ensure_future(receive())
                await asyncio.sleep(0)
                poll.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await poll
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if kind == "stream":
            for _ in range(3):
                await self.turn()
                await send({"type": "http.response.body", "body": b"piece ", "more_body": True})
        end = b"%d" % number
        if kind == "long":
            end = b"x" * 200_000 + end
        await send({"type": "http.response.body", "body": end})
        self.answering = None
        if kind == "background":
            await self.turn()

    async def turn(self) -> None:
        """Wait for the rule `step`."""
        self.waiting.append(future := self.stepped.loop.create_future())
        await future

    # What happens.

    @precondition(lambda self: not self.half_closed)
    @rule(kind=st.sampled_from(KINDS), size=st.sampled_from((0, 0, 1, 5000, 300_000)),
          chunked=st.booleans())
    def request(self, kind: str, size: int, chunked: bool) -> None:
        """The client has one more request to send."""
        if kind not in ("read", "listen"):  # some unread bodies end the connection: not these
            size, chunked = min(size, 100_000), False
        body = b"b" * size
        framing = (b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size)
        self.unsent += b"POST /%d HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % (len(self.requests), framing)
        if not chunked:
            self.unsent += body
        else:
            self.unsent += b"%x\r\n%b\r\n" % (size, body) * bool(size) + b"0\r\n\r\n"
        self.requests.append((kind, body))

    @precondition(lambda self: self.unsent)
    @rule(size=st.sampled_from((1, 20, 60, 70, 100, 5000, 400_000)))
    def transmit(self, size: int) -> None:
        """The client sends some octets."""
        self.stepped.transmit(bytes(self.unsent[:size]))
        del self.unsent[:size]

    @precondition(lambda self: self.stepped.possible())
    @rule(index=st.integers(0, 2), count=st.integers(1, 3))
    def run(self, index: int, count: int) -> None:
        """The loop runs a reader, a writer, or what was scheduled first."""
        for _ in range(count):
            if steps := self.stepped.possible():
                steps[index % len(steps)]()

    @precondition(lambda self: self.waiting)
    @rule(index=st.integers(0, 9))
    def step(self, index: int) -> None:
        """The application goes on."""
        future = self.waiting.pop(index % len(self.waiting))
        if not future.done():
            future.set_result(None)

    @rule()
    def read(self) -> None:
        """The client reads."""
        self.stepped.receive()

    @rule()
    def sweep(self) -> None:
        """The deadlines are checked."""
        self.stepped.service._sweep()

    @precondition(lambda self: not self.drained)
    @rule()
    def drain(self) -> None:
        """A reload begins."""
        self.drained = True
        self.stepped.service.drain(5.0)

    @precondition(lambda self: not (self.half_closed or self.unsent or self.contexts))
    @rule()
    def half_close(self) -> None:
        """The client has sent all its requests."""
        if not self.stepped._unsent:
            self.half_closed = True
            self.stepped.client.shutdown(socket.SHUT_WR)

    @invariant()
    def no_error_reaches_the_loop(self) -> None:
        assert not self.stepped.errors

    # What must have happened.

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            self.stepped.close()

    def finish(self) -> None:
        stepped = self.stepped
        stepped.transmit(bytes(self.unsent))
        while True:
            stepped.settle()
            if not self.waiting:
                break
            self.step(0)
        answered = list(self.responses())
        assert answered == list(range(len(answered)))
        assert self.begun == list(range(len(self.begun)))
        kinds = [kind for kind, _ in self.requests]
        ends = min([kinds.index(kind) for kind in ENDS if kind in kinds], default=len(kinds))
        if not self.drained:
            assert len(answered) == ends
            assert len(self.begun) == min(ends + 1, len(kinds))
            if kinds[ends:ends + 1] != ["listen"]:  # for which a half-closed client has a moment
                assert stepped.ended == (self.half_closed or ends < len(kinds))
        self.leave()

    def responses(self) -> Iterator[int]:
        """Parse what the client has received; return the numbers in the responses."""
        wire = RawClient(None)  # type: ignore[arg-type]
        wire.buffered, wire.ended = bytes(self.stepped.received), True
        while wire.buffered:
            response = wire.read_response()
            if response.status != 200:
                assert response.status in (500, 503) and not wire.buffered
                return
            assert response.whole
            yield int(response.body.rpartition(b" ")[2].lstrip(b"x"))
            if response.headers.get("connection") == "close":
                assert not wire.buffered

    def leave(self) -> None:
        """The client closes: nothing of the connection must be left."""
        stepped, service = self.stepped, self.stepped.service
        stepped.client.close()
        for connection in service.connections:
            if connection.exchange is not None:
                connection.exchange.began -= 10
            else:
                connection.deadline = 0.0
        service._sweep()
        while stepped.possible():
            stepped.possible()[0]()
        assert not (service.tasks or service.connections or stepped.errors)
        assert service.in_progress == 0 and service.opened == service.closed
        assert service.requests == len(self.begun)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_any_order(secure: bool, contexts: Any) -> None:
    class Machine(AnyOrder):
        pass
    Machine.contexts = contexts if secure else None
    run_state_machine_as_test(Machine, settings=settings(
        max_examples=settings().max_examples, stateful_step_count=50))
