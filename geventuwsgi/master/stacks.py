"""The console command `stacks`: the stacks of all greenlets, of blocked workers too.

A worker sends them from its loop. If its loop is blocked, it gets SIGUSR2 after a second:
the signal's handler interrupts what blocks the loop, and sends them. In C code that does not
return to Python that handler cannot run. Then there is only the stack that faulthandler,
which is C itself, has written to the error log.

Nothing waits here. Each query has a socket pair of its own, so a worker that dies or drops it
shows as end-of-file.
"""

import fcntl
import logging
import os
import selectors
import signal
import socket
from collections.abc import Iterable, Sequence
from time import monotonic

from ..ipc import channel
from .attached.attached import Attached
from .children import Worker
from .console import Caller
from .generation import Generation

logger = logging.getLogger("geventuwsgi.error")

ANSWER_TIMEOUT = 1.0      # seconds for a worker's loop; callbacks usually take much less
SIGNAL_TIMEOUT = 3.0    # seconds for its signal handler, from the start
MAX_SIZE = 4 << 20      # bytes of one worker's stacks


class StacksRequest:
    """One command, and how many results are outstanding."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.open = 0
        self.silent = 0

    def close(self) -> None:
        """Count a result as received; the last one ends the command."""
        self.open -= 1
        if self.open == 0:
            reason = f"{self.silent} workers did not answer" if self.silent else ""
            self.caller.end(int(bool(self.silent)), reason)


class StacksQuery:
    """One worker's part of a request."""

    def __init__(self, request: StacksRequest, worker: Worker, sock: socket.socket) -> None:
        self.request = request
        self.name = f"{worker.name} {worker.id} (pid: {worker.pid})"
        self.worker = worker
        self.sock = sock
        self.due = monotonic() + ANSWER_TIMEOUT
        self.signalled = False


class Stacks(Attached):
    """The command `stacks`, and its queries until all workers have responded.

    Args:
        selector: the master's; the data of a key is the callback.
        generations: the master's list.
    """

    def __init__(self, selector: selectors.BaseSelector,
                 generations: Iterable[Generation]) -> None:
        self._selector = selector
        self._generations = generations
        self._queries: list[StacksQuery] = []

    def command(self, caller: Caller, arguments: Sequence[str]) -> None:
        """Query all workers and send the caller each result (`console.Command`)."""
        request = StacksRequest(caller)
        request.open = 1
        for generation in self._generations:
            for worker in generation.workers.values():
                if worker.ready_at is None:
                    caller.write(f"{worker.name} {worker.id} (pid: {worker.pid}) is still "
                                 "starting\n")
                else:
                    self._query(request, worker)
        request.close()

    def _query(self, request: StacksRequest, worker: Worker) -> None:
        try:
            ours, theirs = channel.pair()
        except OSError as error:
            request.silent += 1
            request.caller.write(f"{worker.name} {worker.id} (pid: {worker.pid}) cannot be "
                                 f"queried: {error.strerror}\n")
            return
        query = StacksQuery(request, worker, ours)
        with theirs:
            sent = channel.send_with_descriptor(worker.control, channel.STACKS, theirs.fileno())
        request.open += 1
        ours.setblocking(False)
        self._queries.append(query)
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._on_result(query))
        if not sent:
            self._give_up(query, "does not read its messages")

    def _on_result(self, query: StacksQuery) -> None:
        message, fd = channel.receive_with_descriptor(query.sock)
        if message is None:
            return
        if fd is None:
            self._give_up(query, "ended")
            return
        with os.fdopen(fd, "rb", 0):
            try:
                fcntl.fcntl(fd, fcntl.F_GET_SEALS)  # only memory has them: reading never waits
            except OSError:
                self._give_up(query, "sent something else than memory")
                return
            text = os.pread(fd, MAX_SIZE, 0).decode("utf-8", "replace")
        # ASCII can be cut anywhere.
        text = text.encode("ascii", "backslashreplace").decode()
        query.request.caller.write(text + "\n")
        self._close(query)

    def _give_up(self, query: StacksQuery, why: str) -> None:
        query.request.silent += 1
        query.request.caller.write(f"{query.name} {why}\n\n")
        self._close(query)

    def _close(self, query: StacksQuery) -> None:
        self._queries.remove(query)
        self._selector.unregister(query.sock)
        query.sock.close()
        query.request.close()

    def poll(self, now: float) -> float:
        """Interrupt workers that do not respond; give up if that does not help."""
        for query in tuple(self._queries):
            if now < query.due:
                continue
            if query.signalled:
                self._give_up(query, "does not answer: code in C keeps it busy; the stack of "
                                     "that thread is in the error log")
                continue
            query.signalled = True
            query.due += SIGNAL_TIMEOUT - ANSWER_TIMEOUT
            if query.worker.reaped:
                self._give_up(query, "ended")
            else:
                query.worker.signal(signal.SIGUSR2)
        return min((query.due for query in self._queries), default=now + 3600.0)
