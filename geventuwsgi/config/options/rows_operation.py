"""The rows of operating an instance: what it waits for at a start, and who may order it about."""

import re

from geventuwsgi.config.values.types import Account, Address, Boolean, Kind, Many, Name, Path
from geventuwsgi.config.values.numbers import Number, Seconds
from geventuwsgi.config.options.option import Option, ignored, refused
from geventuwsgi.config.values.origin import Case


class SocketMap(Kind):
    """`SOCKET:WORKER[,WORKER...]`: which workers accept from a socket."""

    metavar = "SOCKET:WORKER[,...]"
    comments = True

    def value(self, text: str, case: Case) -> object:
        plain = re.sub(r"\s+", "", text)
        if not re.fullmatch(r"\d+:[1-9]\d*(,[1-9]\d*)*", plain):
            case.fail(f"{text!r} is not of the form SOCKET:WORKER[,WORKER...]: sockets count from "
                      "0, workers from 1")
        return plain


_OPERATION = "Operation"

OPERATION: tuple[Option, ...] = (
    Option("master-fifo", Many(Path()), "take orders of one character from a named pipe; may be "
           "repeated, for up to ten slots", _OPERATION, default=(), merge=True,
           difference="``R``, ``w`` and ``W`` are graceful reloads of the whole, and what is no "
                      "order is told in the log"),
    Option("pause", Path(), "have the workers of this pid file's server take no connections, "
           "then end", _OPERATION, aliases=("suspend",), status="command",
           difference="a second order changes nothing; there it is what resumes"),
    Option("resume", Path(), "have them take connections again, then end", _OPERATION,
           status="command", difference="of workers that do not pause it changes nothing"),
    Option("ping", Address(), "ask over the uwsgi protocol whether a server answers, then end "
           "with status 0 or 1", _OPERATION, status="command"),
    Option("ping-timeout", Seconds(), "how many seconds ping waits, if not 3", _OPERATION,
           status="command"),
    Option("connect-and-read", Address(), "print what a socket sends to whoever connects, such "
           "as that of py-tracebacker, then end", _OPERATION, status="command"),
    Option("flock", Many(Path()), "lock a file, and do not start if another process has locked "
           "it; may be repeated", _OPERATION, default=(), merge=True, aliases=("flock2",),
           difference="the file is made if it is not there"),
    Option("flock-wait", Many(Path()), "the same, but wait until it is free", _OPERATION,
           default=(), merge=True, aliases=("flock-wait2",),
           difference="the file is made if it is not there"),
    Option("wait-for-interface", Many(Name()), "before anything else wait until there is a "
           "network interface of this name; may be repeated", _OPERATION, default=(), merge=True,
           aliases=("wait-interface", "wait-for-iface", "wait-iface")),
    Option("wait-for-interface-timeout", Seconds(), "give up after so many seconds", _OPERATION,
           default=60, aliases=("wait-interface-timeout", "wait-for-iface-timeout",
                                "wait-iface-timeout")),
    Option("wait-for-fs", Many(Path()), "before anything else wait until this path is there; "
           "may be repeated", _OPERATION, default=(), merge=True),
    Option("wait-for-file", Many(Path()), "the same for a file", _OPERATION, default=(),
           merge=True),
    Option("wait-for-dir", Many(Path()), "the same for a directory", _OPERATION, default=(),
           merge=True),
    Option("wait-for-mountpoint", Many(Path()), "the same for a mounted file system", _OPERATION,
           default=(), merge=True),
    Option("wait-for-fs-timeout", Seconds(), "give up after so many seconds", _OPERATION,
           default=60),
    Option("wait-for-socket", Many(Address()), "before the application is loaded wait until "
           "this address takes connections; may be repeated", _OPERATION, default=(), merge=True,
           difference="a reload waits too, while the old code serves on"),
    Option("wait-for-socket-timeout", Seconds(), "give up after so many seconds", _OPERATION,
           default=60),
    Option("honour-stdin", Boolean(), "give the application the server's standard input instead "
           "of /dev/null", _OPERATION, default=False),
    Option("mode", Name(), "a text for the application, which finds it as uwsgi.mode", _OPERATION),
    Option("reaper", Boolean(), "reap the processes that the application started and does not wait "
           "for; whoever waits for one by its number may come too late", _OPERATION,
           default=False, letters="r",
           difference="as soon as they end, not after the next request"),
    Option("skip-atexit", Boolean(), "run nothing at the end of a worker of what the application "
           "registered with atexit or as uwsgi.atexit", _OPERATION, default=False),
)

_SOCKETS = "Sockets"
# More about sockets than most need; they stand with the others under `Sockets`.
SOCKETS: tuple[Option, ...] = (
    Option("shared-socket", Many(Address()), "bind an address that other options name by its "
           "number, counted from 0, as =0; may be repeated", _SOCKETS, default=(), merge=True,
           aliases=("undeferred-shared-socket",),
           difference="one that no option names is not bound"),
    Option("map-socket", Many(SocketMap()), "let only these workers accept from a socket; "
           "sockets count from 0 in the order written, those of http not; may be repeated",
           _SOCKETS, default=(), merge=True),
    Option("abstract-socket", Boolean(), "make all unix sockets abstract: no file, as with @name",
           _SOCKETS, default=False),
    Option("freebind", Boolean(), "bind addresses that the machine does not have yet "
           "(IP_FREEBIND)", _SOCKETS, default=False),
)

_RIGHTS = "Processes"
RIGHTS: tuple[Option, ...] = (
    Option("add-gid", Many(Account(group=True)), "a further group of whom uid names; may be "
           "repeated", _RIGHTS, default=(), merge=True),
    Option("no-initgroups", Boolean(), "do without the groups that the user of uid is a member of",
           _RIGHTS, default=False),
    Option("immediate-uid", Account(), "the user to become before anything else: the master too, "
           "for good", _RIGHTS,
           difference="sockets, logs and pid files are opened as that user, also at a reload"),
    Option("immediate-gid", Account(group=True), "the group to become before anything else",
           _RIGHTS),
    Option("drop-after-apps", Boolean(), "become the user of uid only when the application is "
           "loaded", _RIGHTS, default=False,
           difference="with lazy-apps workers load as that user"),
)

ROWS: tuple[Option, ...] = (
    *ignored("safe-fd fd-safe", "descriptors that the server was started with stay open, over "
             "reloads too", Number()),
    *refused("force-cwd", "start the server in that directory, WorkingDirectory= of systemd; "
             "chdir is the application's"),
)
