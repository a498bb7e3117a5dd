"""What a worker process does first, and what it then knows of the house.

Rules of the room:

- Called in a process that was forked a moment ago, with all signals blocked.
- The worker is the master's child, not the template's: the template forked twice, the
  process between them is gone, and the master is the subreaper of both.
- Nobody outlives the master: the kernel kills the worker with it (PR_SET_PDEATHSIG),
  and the end-of-file on the control socket says the same where the kernel cannot.
"""

import os
import signal
import socket
import time
from collections.abc import Callable

from ..ipc import channel, scoreboard
from ..ipc.scoreboard import Row, Scoreboard
from ..system import kernel, signals


class Child:
    """A worker process, as it sees itself.

    Attributes:
        id: its number, from 1.
        generation: 1 at the first start, one more with each reload.
        control: its end of the control socket, a stdlib socket, non-blocking.
        row: its row of the scoreboard.
        board: the scoreboard.
        master: the master's pid.
        reopen: reopens the error log and `logto`; set by whoever set these up.
        take: goes on with a log file that the master opened; likewise.
        look: called now and then; tells the master what was imported (`py-autoreload`).
        first: whether this is the first process of its number in its generation.
        accepting: called before the worker is ready.
        logvars: returns the log variables of the present request, None outside of one.
    """

    def __init__(self, number: int, generation: int, sock: socket.socket, board: Scoreboard,
                 row: Row, master: int) -> None:
        self.id = number
        self.generation = generation
        self.control = sock
        self.board = board
        self.row = row
        self.master = master
        self._question: int | None = None
        self.reopen: Callable[[], None] = _nothing
        self.take: Callable[[str, int], None] = _close
        self.look: Callable[[], None] = _nothing
        self.first = True
        self.accepting: Callable[[], None] = _nothing
        self.logvars: Callable[[], dict[str, str] | None] = _none

    def ready(self) -> None:
        """Tell the master that connections are accepted; the first heartbeat."""
        self.accepting()
        self.row.cells[scoreboard.STATE] = scoreboard.STATE_READY
        self.row.cells[scoreboard.HEARTBEAT_NS] = time.monotonic_ns()
        channel.send(self.control, channel.READY)

    def failed(self, status: int, reason: str) -> None:
        """Tell the master that this worker cannot boot and will end with `status`."""
        channel.send(self.control, channel.failed(status, reason))

    def due_for_replacement(self, reason: str) -> None:
        """Ask for a replacement; this worker serves on until the other is ready."""
        channel.send(self.control, channel.due_for_replacement(reason))

    def received(self) -> bytes | None:
        """Return the master's next message, b"" if it is gone, None if it says nothing.

        A log file that came is taken here. Any other descriptor waits for `answer`.
        """
        message, descriptor = channel.receive_with_descriptor(self.control)
        if message and message.startswith(channel.LOG) and descriptor is not None:
            self.take(message.removeprefix(channel.LOG).decode(), descriptor)
            return None
        if self._question is not None:
            os.close(self._question)  # of a message that nobody answered
        self._question = descriptor
        return message

    def answer(self, text: str) -> None:
        """Answer a message that brought a descriptor, with a text of any length.

        It goes into a file without a name, whose descriptor is sent: nothing here waits
        for the master to read.
        """
        if self._question is None:
            return
        question, self._question = self._question, None
        # The class of before the patching.
        with type(self.control)(fileno=question) as sock:
            fd = os.memfd_create("geventuwsgi-answer", os.MFD_CLOEXEC)
            try:
                with open(fd, "wb", closefd=False) as file:
                    file.write(text.encode("utf-8", "backslashreplace"))
                channel.send_with_descriptor(sock, b"answer", fd)
            finally:
                os.close(fd)


def _nothing() -> None:
    """Do nothing."""


def _none() -> None:
    """Be outside of any request."""


def _close(name: str, fd: int) -> None:
    """Take no log file."""
    os.close(fd)


def become(number: int, generation: int, sock: socket.socket, board: Scoreboard,
           row: Row, master: int, cores: int) -> Child:
    """Turn a process that was just forked into worker `number`.

    The signals that end a group at once are ignored: Ctrl-C and systemd send them to
    every process, and the order to end comes from the master. SIGTERM keeps its default
    until the worker installs its drain, so that a worker in the middle of a long import
    can be stopped; the others that a worker will handle must not kill it before.

    Args:
        number: the worker's number.
        generation: its generation.
        sock: its end of the control socket.
        board: the scoreboard.
        row: its row there.
        master: the master's pid.
        cores: its application slots, for the row.
    """
    signal.set_wakeup_fd(-1)
    signals.reset((signal.SIGTERM, signal.SIGCHLD))
    signals.reset((signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
                   signal.SIGTTIN, signal.SIGTTOU), signal.SIG_IGN)
    signals.unblock_all()
    sock.setblocking(False)
    _await_adoption(master, sock)
    cells = row.cells
    cells[scoreboard.WORKER] = number
    cells[scoreboard.GENERATION] = generation
    cells[scoreboard.STARTED] = int(time.time())
    cells[scoreboard.CORES] = cores
    cells[scoreboard.STATE] = scoreboard.STATE_BOOTING
    cells[scoreboard.PID] = os.getpid()
    channel.send(sock, b"pid %d" % os.getpid())
    return Child(number, generation, sock, board, row, master)


def _await_adoption(master: int, sock: socket.socket) -> None:
    """Wait until the master is our parent, then bind our life to its.

    The process between the template and us ends right after its fork. Asking for the
    signal before that would tie us to the wrong parent.
    """
    sleep = kernel.original("time", "sleep")  # the patched one would run the hub
    while os.getppid() != master:
        # If the master died meanwhile somebody else has adopted us, maybe before we ever
        # looked; then nobody holds the other end of our control socket.
        if channel.peer_closed(sock):
            os._exit(0)
        sleep(0.0005)
    try:
        kernel.die_with_parent()
    except OSError:
        pass  # a sandbox that forbids prctl; the end-of-file remains
    if os.getppid() != master:
        os._exit(0)
