"""One request in a native thread: to the application it is the connection.

    native thread           `execute`, and the methods of `app.wsgi.Transport`
    connection's greenlet   `serve`: sends and receives for the thread, on the hub

Rules:

- No thread but the hub's uses a stream, a watcher or a greenlet.
- A response in one piece costs one hand-over: it stays in `output` until the call has ended.
- Attributes are written by one side, but for `failure` and the locks. Where both sides decide by
  two attributes, each writes its own first and then reads the other's; the interpreter's lock
  orders them.
- Everything ends with the request: what the application keeps of it raises or does nothing.
"""

import ctypes
import os
import signal
import socket
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from time import monotonic, sleep
from types import FrameType
from typing import Any, NamedTuple

from greenlet import getcurrent

from ...app.wsgi import Application, WsgiExchange
from ...errors import ClientDisconnected, Harakiri, RequestOver
from ...net.stream import HandedSocket

# Octets of a response that may wait for a slow client before its thread waits too.
PENDING = 262144
# A request that waited longer for its thread is checked for a client that has left, in seconds.
LONG_WAIT = 0.1
# Interrupts system calls of the main thread. By default it is ignored, and neither Python nor
# common libraries use it.
INTERRUPT = signal.SIGURG

_raise_in_thread = ctypes.pythonapi.PyThreadState_SetAsyncExc


class FileRegion(NamedTuple):
    """A part of a file that is to be sent; the descriptor is closed afterwards."""

    fd: int
    offset: int
    octets: int


class Question:
    """A function that a thread wants to have called on the hub."""

    __slots__ = ("function", "answered", "abandoned", "result", "error")

    def __init__(self, function: Callable[[], Any]) -> None:
        self.abandoned = False
        self.function = function
        self.answered = allocate_lock()
        self.answered.acquire()
        self.result: Any = None
        self.error: Failure | None = None

    def answer(self) -> None:
        """Call the function, and wake the thread; not for one that no longer waits."""
        if self.abandoned:
            return
        try:
            self.result = self.function()
        except OSError as error:
            self.error = error
        self.answered.release()

    def fail(self, error: "Failure") -> None:
        """Wake the thread with an error."""
        self.error = error
        if not self.abandoned:
            self.answered.release()


class ReadingInterrupted(BaseException):
    """The connection's greenlet has to send before it reads on."""


Failure = BaseException | type[BaseException]


class Call:
    """One request in a native thread (`app.wsgi.Transport`).

    Args:
        pool: the threads.
        connection: the client's connection.
        exchange: the request.
        application: what to call.

    Attributes:
        thread: the identifier of its thread, 0 before it has one.
        greenlet: the thread's greenlet that called the application.
        began: monotonic seconds at which the thread began.
        ended: the application has finished.
        begun: the response has begun to be sent.
        waiting: its greenlet waits for the thread.
        reading: its greenlet does what a thread has asked it for.
        error: what ended the application, None for a normal end.
        failure: why nothing can be sent or received any more, None while it can.
        dropped: the client had left before a thread was free.
        interruption: the exception that `interrupt` raises, None if it was not called.
        counted: its slot was given back.
        lost: it goes on long after its interruption, and its thread is given up.
    """

    __slots__ = (
        "pool", "connection", "exchange", "application", "context", "response_defaults", "body",
        "thread", "greenlet", "submitted", "began", "ended", "begun", "waiting", "error",
        "failure", "dropped", "counted", "lost", "_output", "_released", "_queued", "_sent",
        "_sender", "interruption", "_interrupted", "reading", "_unread")

    def __init__(self, pool: Any, connection: Any, exchange: WsgiExchange,
                 application: Application) -> None:
        self.pool = pool
        self.connection = connection
        self.exchange: Any = exchange
        self.application = application
        self.context = connection.service.context.copy()
        self.response_defaults = connection.response_defaults
        self.body = connection.body
        self.thread = 0
        self.greenlet: Any = None
        self.submitted = self.began = monotonic()
        self.ended = self.begun = self.waiting = self.dropped = False
        self.counted = self.lost = False
        self.error: BaseException | None = None
        self.failure: Failure | None = None
        self._output: deque[Any] = deque()  # bytes, (head, body), FileRegion or Question
        self._released = False
        self._queued = 0    # octets, counted by the thread
        self._sent = 0      # octets, counted by the greenlet
        self.reading = False
        self._unread: bytes = b""   # came for a read that had been given up
        self._sender: Any = None  # the lock of a thread that waits to send
        self.interruption: type[BaseException] | None = None
        self._interrupted = False

    # In the native thread.

    def execute(self, core: int) -> None:
        """Call the application; its exchange sends through this object."""
        connection = self.connection
        now = monotonic()
        if self.failure is not None:
            return
        if now - self.submitted > LONG_WAIT and connection.disconnected():
            self.dropped = True
            return
        self.greenlet = getcurrent()
        self.exchange.core = connection.core = core
        connection.began = self.began = now
        try:
            self.context.run(self.exchange.run, self.application)
        except BaseException as error:
            self.error = error

    def end(self) -> None:
        """Report to the hub that the application has finished."""
        self.ended = True
        if self.interruption is not None:
            self._discard_interruption()
        self.application = self.context = None  # type: ignore[assignment]
        self.pool.notify(self)

    def _discard_interruption(self) -> None:
        """Make sure that an exception meant for this request does not reach the next one."""
        while True:
            try:
                while not self._interrupted:
                    sleep(0.0005)
                _raise_in_thread(ctypes.c_ulong(self.thread), None)
                return
            except BaseException:  # it has come now
                continue

    def raise_interruption(self) -> None:
        """Raise the exception of `interrupt`, if it is meant for now; in a signal handler."""
        if self.interruption is not None and not self.ended:
            raise self.interruption

    @property
    def has_output(self) -> bool:
        """Whether something waits to be sent or answered."""
        return bool(self._output)

    @property
    def persists(self) -> bool:
        connection = self.connection
        if connection is None:
            raise RequestOver
        persists: bool = connection.persists
        return persists

    @persists.setter
    def persists(self, persists: bool) -> None:
        self.connection.persists = persists

    @property
    def stream(self) -> "Call":
        return self

    def release(self) -> None:
        """Keep what follows until the end: it is complete, so nothing has to wait for it."""
        self._released = True

    def early_hints(self, headers: Iterable[tuple[str, str]]) -> None:
        """`wsgi.early_hints`: send 103 with these fields (RFC 8297)."""
        exchange = self.exchange
        if exchange is None:
            raise RequestOver
        exchange.early_hints(headers)

    def send(self, data: bytes) -> None:
        """Send octets; wait while more than `PENDING` have not been passed to the kernel.

        Raises:
            ClientDisconnected: the client is gone, or the request is over.
            Harakiri: the request was ended.
        """
        self._put(data, len(data))

    def send_pair(self, head: bytes, body: bytes) -> None:
        """Send a head and the first piece of its body, as `send`."""
        self._put((head, body), len(head) + len(body))

    def send_file(self, fd: int, offset: int, count: int) -> int:
        """Have the hub send a file once the application has finished, and may have closed it."""
        region = FileRegion(os.dup(fd), offset, count)
        try:
            self._append(region)
        except BaseException:
            if region not in self._output:
                os.close(region.fd)
            raise
        return count

    def _put(self, item: Any, size: int) -> None:
        self._append(item)
        if self._released:
            return
        self._queued += size
        self.pool.notify(self)
        if self._queued - self._sent > PENDING:
            sender = allocate_lock()
            sender.acquire()
            self._sender = sender
            if self._queued - self._sent > PENDING and self.failure is None:
                sender.acquire()
            if self.failure is not None:
                raise self.failure

    def _append(self, item: Any) -> None:
        if self.ended:
            raise RequestOver
        if self.failure is None:
            self._output.append(item)
        if self.failure is not None:    # perhaps since then
            raise self.failure

    def receive(self) -> bytes:
        """Return the next piece of the request body, b"" at its end.

        Raises:
            OSError: the client is gone, too slow, or broke the protocol; or the request is over.
            Harakiri: the request was ended.
        """
        body = self.body
        if body is None:
            raise RequestOver
        piece: bytes = self._unread or self.ask(body.receive)
        if self._unread and piece is not self._unread:
            piece = self._unread + piece    # it came before
        self._unread = b""
        return piece

    def ask(self, function: Callable[[], Any]) -> Any:
        """Call a function in the connection's greenlet, and return what it returns.

        Raises:
            OSError: the function has, or the request is over.
            Harakiri: the request was ended.
        """
        question = Question(function)
        self._append(question)
        self.pool.notify(self)
        try:
            question.answered.acquire()
        except BaseException:   # of a signal handler of the application
            question.abandoned = True
            self._append(question)  # it ends the wait of the first
            self.pool.notify(self)
            raise
        if question.error is not None:
            raise question.error
        return question.result

    # In the connection's greenlet, on the hub.

    def serve(self) -> None:
        """Send and receive for the thread until the application has finished.

        Raises:
            BaseException: what ended the application, or was thrown into this greenlet.
        """
        stream, switch = self.connection.stream, self.pool.hub.switch
        try:
            while True:
                ended = self.ended  # before the output, to which the thread adds no more then
                if self._output:
                    self._flush(stream)
                elif ended:
                    break
                else:
                    self.waiting = True
                    switch()
        except BaseException as error:
            self.fail(error)
            raise
        finally:
            self.waiting = False
            if self.body is not None:
                self.body.close()
            ended_by = self.failure if self.error is None else self.error
            self.fail(RequestOver)
            # No cycle may keep the greenlet, which can serve another connection, nor what the
            # application has left to be collected (the socket of an upgrade).
            self.connection = self.body = self.error = None
            if self.ended:
                self.exchange = None
        if ended_by is not None:
            try:
                raise ended_by
            finally:
                del ended_by

    def _flush(self, stream: Any) -> None:
        output = self._output
        try:
            while output:
                item = output.popleft()
                kind = type(item)
                if kind is Question:
                    self._answer(item)
                    continue
                if kind is tuple:
                    self.begun = True   # a head; early hints are bytes
                    stream.send_pair(*item)
                    self._sent += len(item[0]) + len(item[1])
                elif kind is bytes:
                    stream.send(item)
                    self._sent += len(item)
                else:
                    self._send_file(stream, item)
                if self._sender is not None and self._queued - self._sent <= PENDING // 2:
                    self._wake_sender()
        except ClientDisconnected as error:
            self.fail(error)

    def _answer(self, question: "Question") -> None:
        """Call the function of a thread; output that comes meanwhile is sent first, and the end
        of the application ends it."""
        if self.ended:
            question.fail(RequestOver)
            return
        self.reading = True
        try:
            question.answer()
        except ReadingInterrupted:
            if not question.abandoned:
                self._output.append(question)
        finally:
            self.reading = False
        if question.abandoned and isinstance(question.result, bytes):
            self._unread += question.result
            question.result = None

    def _send_file(self, stream: Any, region: Any) -> None:
        try:
            missing = region.octets - stream.send_file(*region)
        finally:
            os.close(region.fd)
        if missing:     # the application, which believes that all was sent, may have ended
            if self.exchange is not None:
                self.exchange.body_size -= missing
                self.exchange.fault = f"the file ended {missing} bytes early"
            raise ClientDisconnected(f"the file ended {missing} bytes early")

    def _wake_sender(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.release()

    # On the hub.

    def fail(self, error: Failure) -> None:
        """Raise an error in the thread whenever it sends or receives from now on."""
        if self.failure is None:
            self.failure = error if isinstance(error, (OSError, Harakiri)) else RequestOver
        self._wake_sender()
        while self._output:
            item = self._output.popleft()
            if type(item) is Question:
                item.fail(self.failure)
            elif type(item) is FileRegion:
                os.close(item.fd)

    def interrupt(self, kind: type[BaseException]) -> bool:
        """Raise an exception in the thread, wherever it is.

        The main thread is interrupted in system calls too. Another thread gets the exception when
        it next runs Python code.

        Returns:
            Whether the application was running.
        """
        self.interruption = kind
        running = not self.ended and self.thread != 0
        if running:
            if self.thread == self.pool.main:
                signal.pthread_kill(self.thread, INTERRUPT)
            else:
                _raise_in_thread(ctypes.c_ulong(self.thread), ctypes.py_object(kind))
        self._interrupted = True
        return running

    def frame(self, threads: Mapping[int, FrameType]) -> FrameType | None:
        """Return the innermost frame of the application.

        Args:
            threads: `sys._current_frames()`. An application that uses gevent itself has its
                thread run a hub, and waits in its greenlet.
        """
        if self.ended:
            return None
        waiting: FrameType | None = self.greenlet.gr_frame if self.greenlet is not None else None
        return waiting or threads.get(self.thread)


class ThreadSocket(HandedSocket):
    """`geventuwsgi.socket` in a native thread: an ordinary, blocking socket.

    Args:
        handed: the socket that the connection hands out on the hub.
        call: the request.
    """

    __slots__ = ("_handed", "_call")

    def __init__(self, handed: HandedSocket, call: Call) -> None:
        self.over = self.detached = False   # the call and the other socket know it
        self._real = None
        self._handed = handed
        self._call = call

    def _look(self, name: str) -> Any:
        def look() -> Any:
            return getattr(self._handed, name)
        found = self._call.ask(look)
        if not callable(found):
            return found
        return lambda *arguments: self._call.ask(lambda: found(*arguments))

    def set_detached(self) -> None:
        self._handed.set_detached()

    def _take(self) -> socket.socket:
        plain = socket.socket(fileno=self._call.ask(lambda: self._handed.take().detach()))
        plain.setblocking(True)
        return plain
