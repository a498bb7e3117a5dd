"""An attached daemon: a program that runs together with the instance.

There are two kinds, as in uWSGI:

- *dumb* ones are children of the master, in a session of their own. One that exits is
  started again, after a delay that increases if it exits early. They end with the instance,
  also if the master is killed.
- *smart* ones have a pid file. While the process in it is alive they are left alone, also
  when the instance stops; otherwise they are started.

By default they run as the application's user.
"""

import logging
import os
import signal
import time
from typing import NamedTuple

from ...privileges import Identity
from ...system import pidfile, program
from ...system.program import ProgramContext

logger = logging.getLogger("geventuwsgi.error")

EARLY = 3.0          # seconds; an earlier exit increases the delay of the next start (uWSGI)
MAX_DELAY = 300      # seconds between two starts, unless max_throttle says less (uWSGI)
GROUP_INTERVAL = 0.1    # seconds between two checks of the rest of a process group
LOGGED_EXITS = 5     # early exits that are all logged; then one in
LOG_INTERVAL = 60.0  # seconds


class DaemonSpec(NamedTuple):
    """A daemon as it is configured.

    Attributes:
        place: file and line of the option.
        command: its command line.
        pidfile: its pid file; makes it a smart one.
        freq: how many checks of the pid file it has time to write it.
        daemonize: a smart one that stays in the foreground: we write the pid file.
        control: the instance stops when it exits.
        stop_signal: stops it.
        reload_signal: sent at a reload, instead of a restart; 0 = none.
        stdin: whether it gets the master's standard input.
        uid, gid: the user that it runs as, instead of the application's.
        directory: where it starts, instead of the application's directory.
        max_throttle: maximum of seconds between two starts; 0 = MAX_DELAY.
        notify: whether a smart one gets signals at a reload and a stop.
        touch: files that restart it when they are touched.
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
    """One daemon and its process.

    Args:
        spec: its configuration.
        context: the default environment, user and directory of daemons.

    Attributes:
        pid: its process; 0 if there is none.
        starts: how often it was started.
    """

    def __init__(self, spec: DaemonSpec, context: ProgramContext) -> None:
        self.spec = spec
        self._default_context = context
        identity = context.identity
        if spec.uid or spec.gid:
            identity = Identity(spec.uid or None, spec.gid or None)
        directory = os.path.join(context.directory or "", spec.directory)
        self.context = context._replace(identity=identity, directory=directory or None)
        self.pid = 0
        self.starts = 0
        self.due: float | None = None
        self.deadline: float | None = None      # when it is killed
        self.early_exits = 0
        self.stopping = False       # it is not started again
        self._started = 0.0
        self._restarting = False    # it exits on our request
        self._logged_at = -LOG_INTERVAL
        self._checks = 0
        self._ours = 0              # a smart one: the child, until it has daemonized
        self._group = 0             # of a dumb one that exited on our request

    @property
    def smart(self) -> bool:
        """Whether it has a pid file and outlives the instance."""
        return bool(self.spec.pidfile)

    @property
    def done(self) -> bool:
        """Whether the instance need not wait for it."""
        return self.smart or not (self.pid or self._group)

    @property
    def controls(self) -> bool:
        """Whether the instance stops if it exits now."""
        return self.spec.control and not (self.stopping or self._restarting)

    def is_for(self, spec: DaemonSpec, context: ProgramContext) -> bool:
        """Whether it has this configuration, apart from its place."""
        return (self.spec._replace(place="") == spec._replace(place="")
                and self._default_context == context)

    def is_process(self, pid: int) -> bool:
        """Whether this is its process."""
        return pid in (self.pid, self._ours)

    def start(self, now: float) -> None:
        """Start it; a smart one only if it is not running yet."""
        self.due = None
        if self.smart:
            self.pid = self._pid_in_file(first=True)
            if self.pid:
                logger.info('[uwsgi-daemons] found valid/active pidfile for "%s" (pid: %d)',
                            self.spec.command, self.pid)
                return
        self._spawn(now)

    def poll(self, now: float) -> float:
        """Start it if that is due, kill it if it is overdue."""
        if self.due is not None and now >= self.due:
            self.due = None
            self._spawn(now)
        overdue = self.deadline is not None and now >= self.deadline
        if overdue:
            self.deadline = None
            logger.warning("[uwsgi-daemons] daemon did not die in time, killing (pid: %d): %s",
                           self.pid or self._group, self.spec.command)
            _signal(self.pid or self._group, signal.SIGKILL)
        if self._group:
            self._await_group(overdue)
        soon = now + GROUP_INTERVAL if self._group else None
        return min((at for at in (self.due, self.deadline, soon) if at is not None),
                   default=now + 1.0)

    def exited(self, pid: int, status: int, now: float) -> None:
        """Record its exit, and schedule the next start."""
        if self.smart:
            if pid == self._ours:
                self._ours = 0
                if status and pid != self.pid:
                    logger.error('[uwsgi-daemons] "%s" (pid: %d) exited before it had daemonized, '
                                 "%s", self.spec.command, pid, program.describe_status(status))
            return  # `check` reads the pid file
        self.pid = 0
        if self.stopping:
            logger.info('daemon "%s" (pid: %d) annihilated', self.spec.command, pid)
        if self.stopping or self._restarting:
            self._group = pid  # a shell exits at once, its children may need time
            self.deadline = self.deadline or now + EARLY
            self._await_group()
        else:
            self._throttle(now, f"(pid: {pid}) exited, {program.describe_status(status)}")

    def _await_group(self, killed: bool = False) -> None:
        """Restart or remove it when its process group is empty."""
        if killed or not _group_exists(self._group):
            self._group, self.deadline = 0, None
            if not self.stopping:
                self._spawn(time.monotonic())

    def check(self, now: float) -> None:
        """Check the pid file of a smart one."""
        if not self.smart or self.due is not None:
            return
        pid = self._pid_in_file()
        if pid:
            if self.pid and pid != self.pid and pid != self._ours:
                logger.info('[uwsgi-daemons] found changed pid for "%s" (old_pid: %d new_pid: %d)',
                            self.spec.command, self.pid, pid)
            self.pid, self._checks = pid, 0
            if now - self._started > EARLY:
                self.early_exits = 0
            return
        self._checks += 1
        if self.pid:
            self._throttle(now, f"(pid: {self.pid}) has gone")
            self.pid = 0
        elif self._checks >= self.spec.freq:
            self._checks = 0
            if self._ours and now - self._logged_at >= LOG_INTERVAL:
                self._logged_at = now
                logger.warning('[uwsgi-daemons] "%s" (pid: %d) did not daemonize !!!',
                               self.spec.command, self._ours)
            elif not self._ours:
                self._throttle(now, "has not written the pid of a running process to "
                               + self.spec.pidfile)

    def restart(self, now: float, number: int, grace: float) -> None:
        """Stop it, and start it again when it has exited."""
        if self.pid and not self.stopping:
            self._restarting = True
            self.early_exits = 0
            if self.smart:
                self._signal_smart(number)
            else:
                _signal(self.pid, number)
                self.deadline = now + grace
        elif self.due is not None:
            self.early_exits, self.due = 0, now

    def reloaded(self, now: float, grace: float) -> None:
        """Send it the reload signal; without one, restart it."""
        spec = self.spec
        if self.smart:
            if spec.notify and self.pid:
                self._signal_smart(spec.reload_signal or signal.SIGHUP)
        elif spec.reload_signal and self.pid:
            self._restarting = True     # if it exits because of that
            _signal(self.pid, spec.reload_signal)
        else:
            self.restart(now, spec.stop_signal, grace)

    def drain(self, now: float, grace: float) -> None:
        """Stop it; a smart one keeps running, and gets a signal only with `notify`."""
        if self.stopping:
            return
        self.stopping, self.due = True, None
        if self.smart:
            if self.spec.notify and self.pid:
                self._signal_smart(self.spec.stop_signal)
        elif self.pid:
            logger.info("[uwsgi-daemons] stopping daemon (pid: %d): %s", self.pid,
                        self.spec.command)
            _signal(self.pid, self.spec.stop_signal)
            self.deadline = now + grace

    def _signal_smart(self, number: int) -> None:
        """Signal a smart one with the rights of the configured user.

        Otherwise a user who may write the pid file could have root signal any process, as no
        process of ours can check first: the pid may be another's then.
        """
        identity, pid = self.context.identity, self.pid
        if identity is None or not identity.leaves_root:
            _signal(pid, number)
            return

        def task() -> None:
            identity.assume(python=False)
            _signal(pid, number, quiet=False)
        try:
            program.fork(task)
        except OSError as error:
            logger.warning("[uwsgi-daemons] %s names process %d, which gets no signal: %s",
                           self.spec.pidfile, pid, error.strerror)

    def _spawn(self, now: float) -> None:
        spec = self.spec
        if self.early_exits <= LOGGED_EXITS:
            logger.info('[uwsgi-daemons] %sspawning "%s" (uid: %d gid: %d)',
                        "re" if self.starts else "", spec.command, *self._owner())
        self.starts += 1
        self._started, self._restarting, self._checks = now, False, 0
        try:
            pid = program.start(
                program.argv_of(spec.command, self.context.environ.get("PATH")),
                self.context, session=True, outlives=self.smart, stdin=spec.stdin,
                pidfile=spec.pidfile if spec.daemonize else None)
        except OSError as error:
            self._throttle(now, f"cannot be started: {error.strerror or error}")
            return
        if self.smart and not spec.daemonize:
            self._ours = pid
        else:
            self.pid = pid

    def _owner(self) -> tuple[int, int]:
        identity = self.context.identity
        uid, gid = os.geteuid(), os.getegid()
        if identity is not None and uid == 0:
            uid = uid if identity.uid is None else identity.uid
            gid = gid if identity.gid is None else identity.gid
        return uid, gid

    def _throttle(self, now: float, what: str) -> None:
        """Schedule the next start: at once, or with a delay if it exited early (as uWSGI)."""
        if now - self._started > EARLY:
            self.early_exits = 0
            self.due = now
            logger.warning('[uwsgi-daemons] "%s" %s', self.spec.command, what)
            return
        self.early_exits += 1
        seconds = min(self.early_exits, self.spec.max_throttle or MAX_DELAY)
        self.due = now + seconds
        if self.early_exits <= LOGGED_EXITS or now - self._logged_at >= LOG_INTERVAL:
            self._logged_at = now
            logger.error('[uwsgi-daemons] %s: "%s" %s', self.spec.place, self.spec.command, what)
            logger.warning('[uwsgi-daemons] throttling "%s" for %d seconds', self.spec.command,
                           seconds)
            if self.early_exits == LOGGED_EXITS:
                logger.warning('[uwsgi-daemons] further early exits of "%s" are logged once a '
                               "minute", self.spec.command)

    def _pid_in_file(self, first: bool = False) -> int:
        """Return the running process that the pid file names, 0 if there is none.

        A process of our own session is not a daemon: in a container a pid that the file has
        kept across a restart soon belongs to a worker.
        """
        path = self.spec.pidfile
        pid = pidfile.read(os.path.join(self.context.directory or "", path)) or 0
        if pid and _is_daemon(pid):
            return pid
        if first and os.path.exists(os.path.join(self.context.directory or "", path)):
            logger.info("[uwsgi-daemons] %s is stale: it names no running daemon (%s)", path,
                        pid or "it has no pid")
        return 0


def _signal(pid: int, number: int, *, quiet: bool = True) -> None:
    """Send a signal to a daemon's process group, or to it alone if it leads none.

    Raises:
        OSError: that is not possible, and not to be `quiet`.
    """
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError) as error:
            if not quiet:
                raise
            logger.debug("cannot signal daemon %d: %s", pid, error.strerror)


def _group_exists(pid: int) -> bool:
    """Whether a group whose leader has exited has other processes."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _is_daemon(pid: int) -> bool:
    """Whether this is a running process, and not one of the instance's own."""
    if not pidfile.alive(pid):
        return False
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            if file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X"):
                return False
        return os.getsid(pid) != os.getsid(0)
    except OSError:
        return False
