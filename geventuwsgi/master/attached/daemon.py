"""An attached daemon: a program of the operator's that lives with the instance.

Two sorts, as in uWSGI:

- *dumb* ones are children of the master, in a session of their own. One that ends is
  started again, later each time if it ends early; they end with the instance, and with
  the master however that dies.
- *smart* ones have a pid file. One that lives is left alone, also when the instance ends;
  one whose pid file names no living process is started.

By default they run as the application's user, for the master alone keeps root.

Called in the master only.
"""

import logging
import os
import signal
import time
from typing import NamedTuple

from ...system import program as command
from ...system.privileges import Identity
from ...system.program import ProgramContext

logger = logging.getLogger("geventuwsgi.error")

EARLY = 3.0          # seconds; who ends younger is started later each time (uWSGI)
LONGEST = 300        # seconds between two starts, unless max_throttle says less (uWSGI)
LINGERING = 0.1      # seconds between two looks at what is left of a group
TALKATIVE = 5        # early ends that are logged each; then one a minute
SILENCE = 60.0


class DaemonSpec(NamedTuple):
    """A daemon, as the operator ordered it.

    Attributes:
        place: where the option stands.
        command: its command line.
        pidfile: its pid file; makes it a smart one.
        freq: how many checks of the pid file it gets to write it.
        daemonize: a smart one that stays in the foreground: the pid file is ours to write.
        control: the instance ends when it ends.
        stop_signal: what ends it.
        reload_signal: what it is sent at a reload, instead of being started anew; 0 = none.
        stdin: whether it gets the master's standard input.
        uid, gid: whom it runs as instead of the application's user.
        directory: where it starts, instead of the application's directory.
        max_throttle: the most seconds between two starts; 0 = LONGEST.
        notify: a smart one that is told of a reload and of the end.
        touch: files whose touch starts it anew.
    """

    place: str
    command: str
    pidfile: str = ""
    freq: int = 10
    daemonize: bool = False
    control: bool = False
    stop_signal: int = signal.SIGTERM
    reload_signal: int = 0
    stdin: bool = False
    uid: str = ""
    gid: str = ""
    directory: str = ""
    max_throttle: int = 0
    notify: bool = False
    touch: tuple[str, ...] = ()


class Daemon:
    """One daemon and what has become of it.

    Args:
        order: what the operator wants.
        conditions: what daemons run under, unless the order says otherwise.

    Attributes:
        pid: its process; 0 if there is none.
        starts: how often it was started.
    """

    def __init__(self, order: DaemonSpec, conditions: ProgramContext) -> None:
        self.order = order
        self._given = conditions
        identity = conditions.identity
        if order.uid or order.gid:
            identity = Identity(order.uid or None, order.gid or None)
        directory = os.path.join(conditions.directory or "", order.directory)
        self.conditions = conditions._replace(identity=identity, directory=directory or None)
        self.pid = 0
        self.starts = 0
        self.due: float | None = None
        self.deadline: float | None = None      # when it is killed
        self.early_ends = 0
        self.dismissed = False      # it is not started again
        self._started = 0.0
        self._restarting = False    # it ends because we asked it to
        self._told = -SILENCE
        self._checks = 0
        self._ours = 0              # a smart one: what we started, until it has daemonized
        self._group = 0             # what is left of a dumb one that ended as we asked it to

    @property
    def smart(self) -> bool:
        """Whether it has a pid file and a life of its own."""
        return bool(self.order.pidfile)

    @property
    def done(self) -> bool:
        """Whether nothing of it ends with the instance any more."""
        return self.smart or not (self.pid or self._group)

    @property
    def controls(self) -> bool:
        """Whether the instance ends with it, if it ends now."""
        return self.order.control and not (self.dismissed or self._restarting)

    def is_for(self, order: DaemonSpec, conditions: ProgramContext) -> bool:
        """Whether it is what this order asks for, wherever that stands."""
        return (self.order._replace(place="") == order._replace(place="")
                and self._given == conditions)

    def is_process(self, pid: int) -> bool:
        """Whether this is its process."""
        return pid in (self.pid, self._ours)

    def start(self, now: float) -> None:
        """Start it; a smart one only if it does not live yet."""
        self.due = None
        if self.smart:
            self.pid = self._pid_in_file(first=True)
            if self.pid:
                logger.info('[uwsgi-daemons] found valid/active pidfile for "%s" (pid: %d)',
                            self.order.command, self.pid)
                return
        self._spawn(now)

    def poll(self, now: float) -> float:
        """Start what is due, kill what is overdue, look at the pid file."""
        if self.due is not None and now >= self.due:
            self.due = None
            self._spawn(now)
        overdue = self.deadline is not None and now >= self.deadline
        if overdue:
            self.deadline = None
            logger.warning("[uwsgi-daemons] daemon did not die in time, killing (pid: %d): %s",
                           self.pid or self._group, self.order.command)
            _signal(self.pid or self._group, signal.SIGKILL)
        if self._group:
            self._await_group(overdue)
        soon = now + LINGERING if self._group else None
        return min((at for at in (self.due, self.deadline, soon) if at is not None),
                   default=now + 1.0)

    def ended(self, pid: int, status: int, now: float) -> None:
        """Take note of its end, and see when it starts again."""
        if self.smart:
            if pid == self._ours:
                self._ours = 0
                if status and pid != self.pid:
                    logger.error('[uwsgi-daemons] "%s" (pid: %d) ended before it had daemonized, '
                                 "%s", self.order.command, pid, command.describe_status(status))
            return  # the look at the pid file follows
        self.pid = 0
        if self.dismissed:
            logger.info('daemon "%s" (pid: %d) annihilated', self.order.command, pid)
        if self.dismissed or self._restarting:
            self._group = pid  # a shell ends at once, what it runs may need its time
            self.deadline = self.deadline or now + EARLY
            self._await_group()
        else:
            self._throttle(now, f"(pid: {pid}) ended, {command.describe_status(status)}")

    def _await_group(self, killed: bool = False) -> None:
        """Start it anew, or be rid of it, when nobody of its group is left."""
        if killed or not _group_lives(self._group):
            self._group, self.deadline = 0, None
            if not self.dismissed:
                self._spawn(time.monotonic())

    def check(self, now: float) -> None:
        """Look at the pid file of a smart one."""
        if not self.smart or self.due is not None:
            return
        pid = self._pid_in_file()
        if pid:
            if self.pid and pid != self.pid and pid != self._ours:
                logger.info('[uwsgi-daemons] found changed pid for "%s" (old_pid: %d new_pid: %d)',
                            self.order.command, self.pid, pid)
            self.pid, self._checks = pid, 0
            if now - self._started > EARLY:
                self.early_ends = 0
            return
        self._checks += 1
        if self.pid:
            self._throttle(now, f"(pid: {self.pid}) is gone")
            self.pid = 0
        elif self._checks >= self.order.freq:
            self._checks = 0
            if self._ours and now - self._told >= SILENCE:
                self._told = now
                logger.warning('[uwsgi-daemons] "%s" (pid: %d) did not daemonize !!!',
                               self.order.command, self._ours)
            elif not self._ours:
                self._throttle(now, f"has written no living pid to {self.order.pidfile}")

    def restart(self, now: float, number: int, grace: float) -> None:
        """Have it end, and start it again when it has."""
        if self.pid and not self.dismissed:
            self._restarting = True
            self.early_ends = 0
            if self.smart:
                self._signal_smart(number)
            else:
                _signal(self.pid, number)
                self.deadline = now + grace
        elif self.due is not None:
            self.early_ends, self.due = 0, now

    def reloaded(self, now: float, grace: float) -> None:
        """Tell it of a reload: a signal if one is ordered, else a new start."""
        order = self.order
        if self.smart:
            if order.notify and self.pid:
                self._signal_smart(order.reload_signal or signal.SIGHUP)
        elif order.reload_signal and self.pid:
            self._restarting = True     # if it ends of it
            _signal(self.pid, order.reload_signal)
        else:
            self.restart(now, order.stop_signal, grace)

    def drain(self, now: float, grace: float) -> None:
        """Have it end for good; a smart one is told if it is to be, and lives on."""
        if self.dismissed:
            return
        self.dismissed, self.due = True, None
        if self.smart:
            if self.order.notify and self.pid:
                self._signal_smart(self.order.stop_signal)
        elif self.pid:
            logger.info("[uwsgi-daemons] stopping daemon (pid: %d): %s", self.pid,
                        self.order.command)
            _signal(self.pid, self.order.stop_signal)
            self.deadline = now + grace

    def _signal_smart(self, number: int) -> None:
        """Signal a smart one, if it runs as whom it is to run as.

        The pid file is not ours: who may write it must not have root end any process.
        """
        try:
            owner = os.stat(f"/proc/{self.pid}").st_uid
        except OSError:
            return
        if os.geteuid() != 0 or owner == self._who()[0]:
            _signal(self.pid, number)
        else:
            logger.warning("[uwsgi-daemons] %s names a process of uid %d (pid: %d), which is "
                           "not signalled", self.order.pidfile, owner, self.pid)

    def _spawn(self, now: float) -> None:
        order = self.order
        if self.early_ends <= TALKATIVE:
            logger.info('[uwsgi-daemons] %sspawning "%s" (uid: %d gid: %d)',
                        "re" if self.starts else "", order.command, *self._who())
        self.starts += 1
        self._started, self._restarting, self._checks = now, False, 0
        try:
            pid = command.start(
                command.argv_of(order.command, self.conditions.environ.get("PATH")),
                self.conditions, session=True, outlives=self.smart, stdin=order.stdin,
                pidfile=order.pidfile if order.daemonize else None)
        except OSError as error:
            self._throttle(now, f"cannot be started: {error.strerror or error}")
            return
        if self.smart and not order.daemonize:
            self._ours = pid
        else:
            self.pid = pid

    def _who(self) -> tuple[int, int]:
        identity = self.conditions.identity
        uid, gid = os.geteuid(), os.getegid()
        if identity is not None and uid == 0:
            uid = uid if identity.uid is None else identity.uid
            gid = gid if identity.gid is None else identity.gid
        return uid, gid

    def _throttle(self, now: float, what: str) -> None:
        """Choose when it starts again: at once, or later each time if it ends early (uWSGI)."""
        if now - self._started > EARLY:
            self.early_ends = 0
            self.due = now
            logger.warning('[uwsgi-daemons] "%s" %s', self.order.command, what)
            return
        self.early_ends += 1
        seconds = min(self.early_ends, self.order.max_throttle or LONGEST)
        self.due = now + seconds
        if self.early_ends <= TALKATIVE or now - self._told >= SILENCE:
            self._told = now
            logger.error('[uwsgi-daemons] %s: "%s" %s', self.order.place, self.order.command, what)
            logger.warning('[uwsgi-daemons] throttling "%s" for %d seconds', self.order.command,
                           seconds)
            if self.early_ends == TALKATIVE:
                logger.warning('[uwsgi-daemons] further early ends of "%s" are logged once a '
                               "minute", self.order.command)

    def _pid_in_file(self, first: bool = False) -> int:
        """Return the living process that the pid file names, 0 if there is none.

        A process of our own session is none of our daemons: in a container the pid that
        the file has kept over a restart soon belongs to a worker.
        """
        path = self.order.pidfile
        try:
            with open(os.path.join(self.conditions.directory or "", path)) as file:
                text = file.read(32).strip()
        except (OSError, UnicodeDecodeError):
            return 0
        pid = int(text) if text.isascii() and text.isdigit() else 0
        if pid and _lives(pid):
            return pid
        if first:
            logger.info("[uwsgi-daemons] %s is stale: it names no daemon that lives (%s)", path,
                        text or "it is empty")
        return 0


def _signal(pid: int, number: int) -> None:
    """Send a signal to a daemon's group, or to it alone if it leads none."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError) as error:
            logger.debug("cannot signal daemon %d: %s", pid, error.strerror)


def _group_lives(pid: int) -> bool:
    """Whether anybody is left in a group whose leader has ended."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _lives(pid: int) -> bool:
    """Whether this is a living process, and none of the instance's own."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            if file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X"):
                return False
        return os.getsid(pid) != os.getsid(0)
    except OSError:
        return False
