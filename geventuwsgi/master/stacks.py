"""`--stacks`: ask every worker where its greenlets stand, the blocked ones too.

A worker answers from its loop. One whose loop is blocked does not hear; after a second it
gets SIGUSR2, whose handler runs inside of what blocks it and answers in its place. Code in
C that never returns to Python keeps that handler from running as well: then only
faulthandler's, which is C too, has written the stack of that thread to the error log.

Rules of the room: the master's side; nothing waits. Each question has a socket pair of
its own, so a worker that dies or forgets it shows as an end-of-file.
"""

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

PATIENCE = 1.0      # seconds for a worker's loop; a sweep and any sane callback are shorter
LAST = 3.0          # seconds for its signal handler, from the beginning
MOST = 4 << 20      # bytes of one answer


class StacksRequest:
    """One order and its answers."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.open = 0
        self.silent = 0

    def close(self) -> None:
        """One answer less to wait for."""
        self.open -= 1
        if self.open == 0:
            reason = f"{self.silent} workers did not answer" if self.silent else ""
            self.caller.end(int(bool(self.silent)), reason)


class StacksQuery:
    """One worker's part of it."""

    def __init__(self, inquiry: StacksRequest, worker: Worker, sock: socket.socket) -> None:
        self.inquiry = inquiry
        self.name = f"{worker.name} {worker.id} (pid: {worker.pid})"
        self.worker = worker
        self.sock = sock
        self.due = monotonic() + PATIENCE
        self.signalled = False


class Stacks(Attached):
    """The order `stacks`, and what the master looks after until all have answered.

    Args:
        selector: the master's; the data of a key is what to call.
        generations: the living ones; the list itself, as it changes.
    """

    def __init__(self, selector: selectors.BaseSelector,
                 generations: Iterable[Generation]) -> None:
        self._selector = selector
        self._generations = generations
        self._questions: list[StacksQuery] = []

    def order(self, caller: Caller, arguments: Sequence[str]) -> None:
        """Ask all workers; the caller is told as they answer (`console.Command`)."""
        inquiry = StacksRequest(caller)
        inquiry.open = 1
        for generation in self._generations:
            for worker in generation.workers.values():
                if worker.ready_at is None:
                    caller.write(f"{worker.name} {worker.id} (pid: {worker.pid}) is still "
                                 "starting\n")
                else:
                    self._ask(inquiry, worker)
        inquiry.close()

    def _ask(self, inquiry: StacksRequest, worker: Worker) -> None:
        try:
            ours, theirs = channel.pair()
        except OSError as error:
            inquiry.silent += 1
            inquiry.caller.write(f"{worker.name} {worker.id} (pid: {worker.pid}) cannot be asked: "
                                 f"{error.strerror}\n")
            return
        question = StacksQuery(inquiry, worker, ours)
        with theirs:
            sent = channel.send_with_descriptor(worker.control, channel.STACKS, theirs.fileno())
        inquiry.open += 1
        ours.setblocking(False)
        self._questions.append(question)
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._answered(question))
        if not sent:
            self._give_up(question, "takes no messages")

    def _answered(self, question: StacksQuery) -> None:
        message, fd = channel.receive_with_descriptor(question.sock)
        if message is None:
            return
        if fd is None:
            self._give_up(question, "ended")
            return
        with os.fdopen(fd, "rb") as file:
            # Its writer shares the position in the file.
            file.seek(0)
            text = file.read(MOST).decode("utf-8", "replace")
        # ASCII: pieces of any length, and no sequences for the terminal.
        text = text.encode("ascii", "backslashreplace").decode()
        question.inquiry.caller.write(text + "\n")
        self._close(question)

    def _give_up(self, question: StacksQuery, why: str) -> None:
        question.inquiry.silent += 1
        question.inquiry.caller.write(f"{question.name} {why}\n\n")
        self._close(question)

    def _close(self, question: StacksQuery) -> None:
        self._questions.remove(question)
        self._selector.unregister(question.sock)
        question.sock.close()
        question.inquiry.close()

    def poll(self, now: float) -> float:
        """Wake who does not hear; give up those whom nothing wakes."""
        for question in tuple(self._questions):
            if now < question.due:
                continue
            if question.signalled:
                self._give_up(question, "does not answer: code in C keeps it busy; the stack of "
                                        "that thread is in the error log")
                continue
            question.signalled = True
            question.due += LAST - PATIENCE
            try:
                os.kill(question.worker.pid, signal.SIGUSR2)
            except ProcessLookupError:
                self._give_up(question, "ended")
        return min((question.due for question in self._questions), default=now + 3600.0)

    # What else the master says to those whom it looks after (`attached.Attached`).
