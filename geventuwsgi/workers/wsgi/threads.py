"""Native threads that run the application, beside the hub that does everything else.

- The main thread is the first of the application's threads, and often the only one: signal
  handlers, `signal.alarm` and event loops of the application work in it. The hub has a thread of
  its own and never waits for the application.
- Hub to threads: a deque and a pipe, which get all requests of one turn of the loop together.
  Threads to hub: a deque and one watcher, whose callback drains all of it, as wake-ups coalesce.
- Two threads that both want the interpreter's lock interrupt each other at every system call. So
  after it has passed on requests the hub sleeps until the threads have done them, for at most
  `GIVE_WAY` seconds: 18 instead of 23 us for a request on a kept connection, 45 instead of 68 on a
  new one, and one wake-up of each side for all requests of a turn.
"""

import logging
import os
import signal
import sys
import threading
from _thread import allocate_lock, get_ident, stack_size, start_new_thread
from collections import deque
from collections.abc import Callable, Sequence
from itertools import starmap
from math import inf
from time import monotonic, sleep
from typing import Any

from ...app.wsgi import Application, WsgiExchange
from ...errors import Overloaded
from ...ipc.commands import flush_streams
from ...system import forked
from ..service import noop
from .slots import ThreadSlots
from .thread_call import INTERRUPT, Call, ReadingInterrupted, RequestOver, ThreadSocket

log = logging.getLogger("geventuwsgi.error")

# Seconds between two switches of threads that compute. A health check takes the interpreter's
# lock some five times; with Python's own 5 ms it could wait 25 ms.
SWITCH_INTERVAL = 0.001
# See above. After a wait in vain, the next one is left out, then three, up to MAX_SKIP.
GIVE_WAY = 0.0005
MAX_SKIP = 255
# A crash of the hub's thread is reported by faulthandler.
CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
# Seconds that a program which goes on waits for requests that it has ended.
LAST_WAIT = 1.0
# Seconds between two looks at threads that are to end.
_WAIT_INTERVAL = 0.01
_ONCE = ((),)   # the arguments of one call


class ThreadPool:
    """The application's threads, the main thread among them, and that of the hub.

    Args:
        count: the number of threads for the application.
        worker: the worker's number.
        reaper: reap dead children after each request (`reaper`).
        leave: at the end, end the process if the main thread does not end its request.

    Attributes:
        hub: the hub, once its thread has begun.
        main: the identifier of the main thread.
        running: the call that each thread runs, by core.
        forked: this is a process that the application has forked.
        interrupted: calls that were interrupted and go on, with the monotonic second at which
            their thread is given up.
    """

    def __init__(self, count: int, worker: int, reaper: bool = False, leave: bool = True) -> None:
        self.count = count
        self.hub: Any = None
        self.main = get_ident()
        self.running: list[Call | None] = [None] * count
        self.interrupted: dict[Call, float] = {}
        self._threads: set[int] = set()
        self._worker = worker
        self._reaper = reaper
        self._leave = leave
        self._slots: ThreadSlots
        self._calls: deque[Call | None] = deque()
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._writer, False)
        self._batch: list[Call] = []
        self._events: deque[Call] = deque()
        self._waker: Any = None
        self._signalled = False
        self._hub_waits = False
        self._hub_ended = allocate_lock()
        self._hub_ended.acquire()
        self._turn = allocate_lock()    # released by the last thread when it is the hub's turn
        self._turn.acquire()
        self._skip = self._skipped = 0
        self.forked = False
        self._status = 0
        self._error: BaseException | None = None
        self._mask: set[int] = set()

    # On the main thread.

    def run(self, serve: Callable[[], int], prepare: Callable[[], object] = noop) -> int:
        """Run the hub in a thread, and the application in this one and the others.

        The threads are native even if the application has patched `threading` itself.

        Args:
            serve: what the hub's thread runs; returns the exit status.
            prepare: called in this thread meanwhile, before it runs the application.

        Raises:
            BaseException: what ended `serve`.
        """
        interval, handler = sys.getswitchinterval(), signal.getsignal(INTERRUPT)
        sys.setswitchinterval(SWITCH_INTERVAL)
        signal.signal(INTERRUPT, self._on_interrupt)
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        size = stack_size(0)    # threads-stack-size is for the application
        try:
            start_new_thread(self._run_hub, (serve,))
            stack_size(size)
            for core in range(1, self.count):
                start_new_thread(self._run_thread, (core,))
            prepare()
            taken: list[Call | None] = []
            failed: BaseException | None = None
            while True:
                try:
                    self._work(0, taken, failed)
                    break
                except BaseException as error:  # between the handler there and its next turn
                    failed = error
        finally:
            self._hub_ended.acquire()
            signal.signal(INTERRUPT, handler)
            sys.setswitchinterval(interval)
        if not any(self.running):
            os.close(self._reader)
            os.close(self._writer)
        if self._error is not None:
            raise self._error
        return self._status

    def _run_thread(self, core: int) -> None:
        """The body of a thread other than the main thread, named as uWSGI names it."""
        if self._leave:     # it would stay in the list of threads of a program that goes on
            thread = threading.current_thread()
            thread.name = f"uWSGIWorker{self._worker}Core{core}"
            thread._daemonic = False    # type: ignore[attr-defined]  # threads inherit it
        # That of the hub, which may start one, blocks all signals, also in programs it starts.
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        self._work(core, [])
        self._threads.discard(get_ident())

    def _on_interrupt(self, number: int, frame: Any) -> None:
        call = self.running[0]
        if call is not None:
            call.raise_interruption()

    # On all threads of the application.

    def _work(self, core: int, taken: list[Call | None],
              failed: BaseException | None = None) -> None:
        """The body of a thread.

        A signal handler of the application may raise between any two instructions, and must not
        end the thread: the handler below does nothing that can be interrupted.

        Args:
            core: the number of the thread.
            taken: has the call of the thread.
            failed: what ended it before.
        """
        while True:
            try:
                while True:
                    if failed is not None:
                        self._finish(core, taken, failed)
                        failed = None
                    self._run_calls(core, taken)
                    return
            except BaseException as error:
                failed = error

    def _run_calls(self, core: int, taken: list[Call | None]) -> None:
        """Run one call after the other, until a None.

        Args:
            taken: the present call. In C code alone it goes from the queue to this list, so that
                it is not lost between two instructions.
        """
        take, read, reader = self._calls.popleft, os.read, self._reader
        running, thread = self.running, get_ident()
        self._threads.add(thread)
        while True:
            if not self._calls:
                read(reader, 1)
            try:
                taken.extend(starmap(take, _ONCE))
            except IndexError:
                continue    # another thread was as quick
            call = taken[0]
            if call is None:
                return
            running[core] = call
            call.thread = thread
            call.execute(core)
            if self.forked:
                forked.leave(call.error)
            running[core] = None
            call.end()
            if call.lost and thread != self.main:
                return
            taken.clear()
            del call    # or it would keep the connection until the next one
            if self._reaper:
                reap()

    def _finish(self, core: int, taken: list[Call | None], error: BaseException) -> None:
        """Handle an exception that hit this thread outside of the application: a signal handler
        of the application, or an interruption that came late."""
        self.running[core] = None
        call = taken[0] if taken else None
        if call is None or call.ended and call.interruption is None:
            log.error("an exception was raised between two requests", exc_info=error)
        if call is not None:
            if not call.ended and call.error is None:
                call.error = error
            call.end()  # a second time, if the first one was interrupted
        taken.clear()

    def notify(self, call: Call) -> None:
        """Have the hub look at a call."""
        self._events.append(call)
        if self._hub_waits:
            if not call.ended or not self._calls:
                self._hub_waits = False
                try:
                    self._turn.release()
                except RuntimeError:
                    pass  # another thread has done so
        elif not self._signalled:
            self._signalled = True
            self._waker.send()

    @property
    def idle(self) -> set[int]:
        """The identifiers of the threads that run no call."""
        return self._threads - {call.thread for call in self.running if call is not None}

    def current(self) -> WsgiExchange | None:
        """Return the request that this thread runs."""
        thread = get_ident()
        for call in self.running:
            if call is not None and call.thread == thread:
                return call.exchange
        return None

    # On the hub.

    def attach(self, service: Any) -> None:
        """Serve the connections of a worker from now on, on its hub."""
        self.hub, self._slots = service.hub, service.slots
        self._waker = self.hub.loop.async_()
        self._waker.start(self._on_events)

    def run_call(self, connection: Any, exchange: WsgiExchange, application: Application) -> Call:
        """Run a request in a thread, in place of `WsgiExchange.run`. Blocks the greenlet.

        Raises:
            BaseException: what ended the application, or was thrown into the greenlet.
        """
        call = Call(self, connection, exchange, application)
        connection.call = call
        exchange.transport = call   # also afterwards: what the application keeps of it is dead
        if call.body is not None:
            call.body.call = call
        environ = exchange.environ
        environ["geventuwsgi.socket"] = environ["gunicorn.socket"] = ThreadSocket(
            connection.handed, call)
        environ["wsgi.early_hints"] = call.early_hints
        self._slots.begin()
        if not self._batch:
            self.hub.loop.run_callback(self._submit)
        self._batch.append(call)
        call.serve()
        return call

    def _submit(self) -> None:
        """Pass on the requests of one turn, and let the threads run them before the next."""
        wait = self._skipped >= self._skip
        if wait:
            self._turn.acquire(blocking=False)  # released too late for the last time
            self._hub_waits = True
        batch, self._batch = self._batch, []
        self._pass_on(batch)
        if not wait:
            self._skipped += 1
            return
        self._skipped = 0
        in_time = self._turn.acquire(timeout=GIVE_WAY)
        self._skip = 0 if in_time else min(2 * self._skip + 1, MAX_SKIP)
        self._hub_waits = False
        self._on_events()

    def _pass_on(self, calls: Sequence[Call | None]) -> None:
        """Wake as many threads as there are calls.

        A write to a pipe gives up the interpreter's lock before it wakes one, so that this thread
        runs at once: 4 us for both directions. With a queue or a lock it wakes while this thread
        still has the interpreter's lock, and has to wait once more: 18 to 25 us.
        """
        self._calls.extend(calls)
        try:
            os.write(self._writer, b"\0" * min(len(calls), len(self.running)))
        except BlockingIOError:
            pass  # it is full, so every thread wakes that waits

    def _on_events(self) -> None:
        self._signalled = False
        events = self._events
        while events:
            call = events.popleft()
            if call.ended and not call.counted:
                call.counted = True
                self._slots.end()
            if call.ended:
                self.interrupted.pop(call, None)
                if call.connection is None:
                    call.exchange = None
            if call.waiting:
                call.waiting = False
                call.connection.greenlet.switch()
            elif call.reading and (call.ended or call.has_output):
                call.connection.greenlet.throw(ReadingInterrupted)

    def interrupt(self, call: Call, kind: type[BaseException], grace: float) -> None:
        """End a request whose greenlet does not wait for it any more.

        Args:
            kind: the exception that is raised in its thread.
            grace: the seconds after which `lost` reports it if it goes on.
        """
        if call.interrupt(kind):
            self.interrupted[call] = monotonic() + grace

    def lost(self, now: float) -> list[Call]:
        """Return the calls whose grace is over, once."""
        found = [call for call, end in self.interrupted.items() if end <= now and not call.lost]
        for call in found:
            call.lost = True
            if self.count == 1:
                self._slots.lose()
                self._reject_all()
            else:
                self._replace_thread(call)
        return found

    @property
    def blocked(self) -> bool:
        """Whether the only thread runs a request that was interrupted: no more connections are
        accepted, as they may have to go to another worker."""
        return self.count == 1 and bool(self.interrupted)

    @property
    def stuck(self) -> bool:
        """Whether the only thread is lost: no request can wait for it."""
        return self.count == 1 and any(call.lost for call in self.interrupted)

    def _reject_all(self) -> None:
        """Reject the requests that wait for the only thread, which is lost."""
        for call in tuple(self._calls):
            if call is not None:
                self.hub.loop.run_callback(self._reject, call)

    def _reject(self, call: Call) -> None:
        if call.waiting and not call.thread:
            call.connection.greenlet.throw(Overloaded)

    def _replace_thread(self, call: Call) -> None:
        """Start another thread in place of one that goes on, for the requests that wait."""
        call.counted = True
        core = len(self.running)
        self.running.append(None)
        start_new_thread(self._run_thread, (core,))
        self._slots.end()

    def forget(self) -> tuple[int, ...]:
        """End all connections with the hub, which a forked process does not have.

        Returns:
            Descriptors to close.
        """
        self.forked = True
        for call in self.running:
            if call is not None:
                call.failure = RequestOver
        return self._reader, self._writer

    def reap_when_idle(self, now: float) -> None:
        """Reap children that have died since the last request; called in each sweep."""
        if self._reaper and not any(self.running):
            reap()

    def _run_hub(self, serve: Callable[[], int]) -> None:
        """The body of the hub's thread. Signals are for the main thread."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - CRASHES)
        try:
            self._status = serve()
        except BaseException as error:
            self._error = error
        finally:
            self._end()
            self._hub_ended.release()

    def _end(self) -> None:
        """End the threads; leave without those that go on after their interruption."""
        while any(not call.lost and monotonic() < end < inf
                  for call, end in self.interrupted.items()):
            sleep(_WAIT_INTERVAL)
            self._on_events()
        self._pass_on([None] * len(self.running))
        if not self._leave:
            end = monotonic() + LAST_WAIT
            while any(self.running) and monotonic() < end:
                sleep(_WAIT_INTERVAL)
            if not any(self.running):
                self.hub.destroy(destroy_loop=True)
        if self._leave and self.running[0] is not None:
            if self._error is not None:
                log.critical("the worker ended with an error", exc_info=self._error)
            log.error("the worker ends while its main thread still runs a request")
            flush_streams()
            os._exit(1 if self._error is not None else self._status)


def reap() -> None:
    """Reap dead children of this process, whoever started them."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass  # there are none
