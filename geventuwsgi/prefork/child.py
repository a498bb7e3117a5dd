"""What a forked worker does first, and how it talks to the master.

Rules:

- `become` runs in a process that was just forked, with all signals blocked.
- The worker is a child of the master, not of the template: the template forks twice, the
  process in between exits, and the master is the subreaper of both.
- No worker outlives the master: the kernel kills it (PR_SET_PDEATHSIG), and where that
  cannot be set, end-of-file on the control socket ends it.
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
    """The present process, a worker or router; an `ipc.commands.Child`.

    Attributes:
        id: its number, from 1.
        generation: 1 at the first start, one more with each reload.
        control: its end of the control socket, a stdlib socket, non-blocking.
        row: its row of the scoreboard.
        board: the scoreboard.
        master: the master's pid.
        reopen: reopens the error log and `logto`; set by `boot`.
        use_log: replaces a log file by a descriptor that the master opened; set by `boot`.
        report_imports: called now and then; sends the master what was imported
            (`py-autoreload`).
        first: whether this is the first process of its number in its generation.
        accepting: called before the worker is ready.
        logvars: returns the log variables of the present request, None outside a request.
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
        self._asked_for_replacement = False
        self.reopen: Callable[[], None] = lambda: None
        self.use_log: Callable[[str, int], None] = lambda name, fd: os.close(fd)
        self.report_imports: Callable[[], None] = lambda: None
        self.first = True
        self.accepting: Callable[[], None] = lambda: None
        self.logvars: Callable[[], dict[str, str] | None] = lambda: None

    def ready(self) -> None:
        """Report that connections are accepted, with the first heartbeat."""
        self.accepting()
        self.row.set(scoreboard.STATE, scoreboard.STATE_READY)
        self.row.set(scoreboard.HEARTBEAT_NS, time.monotonic_ns())
        channel.send(self.control, channel.READY)

    def failed(self, status: int, reason: str) -> None:
        """Report that this worker cannot boot and will exit with `status`."""
        channel.send(self.control, channel.failed(status, reason))

    def due_for_replacement(self, reason: str) -> None:
        """Ask for a replacement, once; this worker keeps serving until that is ready."""
        if not self._asked_for_replacement:
            self._asked_for_replacement = True
            channel.send(self.control, channel.due_for_replacement(reason))

    def received(self) -> bytes | None:
        """Return the master's next message, b"" if it has gone, None if there is none.

        A log file is dealt with here. Any other descriptor is kept for `answer`.
        """
        message, descriptor = channel.receive_with_descriptor(self.control)
        if message and message.startswith(channel.LOG) and descriptor is not None:
            self.use_log(message.removeprefix(channel.LOG).decode(), descriptor)
            return None
        if self._question is not None:
            os.close(self._question)  # of a message without an answer
        self._question = descriptor
        return message

    def answer(self, text: str) -> None:
        """Answer the message that came with a descriptor, with a text of any length.

        The text is written to a memfd, and that is sent: the worker does not wait for the
        master to read.
        """
        if self._question is None:
            return
        question, self._question = self._question, None
        # The unpatched class: the hub has nothing to do with it.
        with type(self.control)(fileno=question) as sock:
            fd = os.memfd_create("geventuwsgi-answer", os.MFD_CLOEXEC)
            try:
                with open(fd, "wb", closefd=False) as file:
                    file.write(text.encode("utf-8", "backslashreplace"))
                channel.send_with_descriptor(sock, b"answer", fd)
            finally:
                os.close(fd)


def become(number: int, generation: int, sock: socket.socket, board: Scoreboard,
           row: Row, master: int, cores: int) -> Child:
    """Turn a process that was just forked into worker `number`.

    Signals that are sent to the whole process group (Ctrl-C, systemd) are ignored: the
    master sends its workers a message. SIGTERM keeps its default until the worker has its own
    handler, so that a worker in the middle of a long import can be stopped. The other
    signals that a worker will handle must not kill it before that.

    Args:
        number: the worker's number.
        generation: its generation.
        sock: its end of the control socket.
        board: the scoreboard.
        row: its row there, owned.
        master: the master's pid.
        cores: its application slots, for the row.
    """
    signal.set_wakeup_fd(-1)
    signals.reset((signal.SIGTERM, signal.SIGCHLD))
    signals.ignore((signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
                    signal.SIGTTIN, signal.SIGTTOU))
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
    row.share()
    channel.send(sock, channel.PID + b"%d" % os.getpid())
    return Child(number, generation, sock, board, row, master)


def _await_adoption(master: int, sock: socket.socket) -> None:
    """Wait until the master is our parent, then have the kernel end us with it.

    The process between the template and this one exits right after its fork. Asking for
    the signal before that would tie us to the wrong parent.
    """
    sleep = kernel.original("time", "sleep")  # the patched one would run the hub
    while os.getppid() != master:
        # If the master has died, another process is our parent, possibly from the start;
        # then the other end of our control socket is closed.
        if channel.peer_closed(sock):
            os._exit(0)
        sleep(0.0005)
    try:
        kernel.die_with_parent()
    except OSError:
        pass  # a sandbox that forbids prctl; there is still the end-of-file
    if os.getppid() != master:
        os._exit(0)
