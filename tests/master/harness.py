"""A program with a master, a template and workers, for the tests of the master.

`harness.py master JSON` is the master; it executes `harness.py template ...` through a role,
as the server does. What a worker does is a function of this file.
JSON: count, work, load, cores, grace, timeout, replace_stuck, recycling, cheaper,
socket (a listening descriptor), dir.
"""

import faulthandler
import json
import logging
import os
import select
import signal
import sys
import time

from geventuwsgi.errors import AppLoadError
from geventuwsgi.ipc import scoreboard
from geventuwsgi.ipc.scoreboard import Scoreboard
from geventuwsgi.master.cheaper_algorithms import Cheaper
from geventuwsgi.master.master import Master
from geventuwsgi.master.recycling import Recycling
from geventuwsgi.master.role import Role
from geventuwsgi.prefork import template as templates


def log() -> None:
    """Log to stderr, one line per record."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("[%(process)d] [%(levelname)s] %(message)s"))
    logging.getLogger("geventuwsgi.error").addHandler(handler)
    logging.getLogger("geventuwsgi.error").setLevel("INFO")


def write_line(text: str) -> None:
    """Print a line in one write, so that those of several processes do not mix."""
    os.write(1, text.encode() + b"\n")


def number_in(plan: dict, name: str) -> int:
    """Return the number in a file of the test, 0 if there is none."""
    try:
        with open(os.path.join(plan["dir"], name)) as file:
            return int(file.read() or 0)
    except FileNotFoundError:
        return 0


# What workers do. `plan` is the JSON, `me` the Child.

def serve(plan: dict, me) -> int:
    """Serve: send heartbeats, drain on command and on SIGTERM."""
    drains = []
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: drains.append(1))
    if "keep" not in plan:
        faulthandler.register(signal.SIGUSR2, all_threads=True)
    signal.signal(signal.SIGUSR1, lambda *_: write_line(f"worker {me.id} reopened"))
    me.ready()
    while not drains:
        me.row.beat(0)
        me.row.cells[scoreboard.REQUESTS] += 0 if "still" in plan else 1
        me.row.cells[scoreboard.IN_PROGRESS] = number_in(plan, "busy")
        me.row.cells[scoreboard.RSS] = number_in(plan, "rss") or me.row.cells[scoreboard.RSS]
        readable, _, _ = select.select([me.control], [], [], 0.05)
        if readable:
            message = me.received()
            if message in (b"", b"die"):
                return 9
            if message in (b"drain", b"stop"):
                break
    me.row.cells[scoreboard.STATE] = scoreboard.STATE_DRAINING
    write_line(f"worker {me.id} drained")
    return 0


def ignores_signals(plan: dict, me) -> int:
    """Never exit."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    me.ready()
    while True:
        me.row.cells[scoreboard.HEARTBEAT_NS] = time.monotonic_ns()
        time.sleep(0.1)


def blocks(plan: dict, me) -> int:
    """Block in the first process of worker 1; the others serve."""
    mark = os.path.join(plan["dir"], "was-stuck")
    if me.id != 1 or os.path.exists(mark):
        return serve(plan, me)
    open(mark, "w").close()
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    me.ready()
    while True:
        time.sleep(1)


def fails_to_boot(plan: dict, me) -> int:
    """Fail to boot."""
    raise OSError("no space in this worker")


def second_fails_again(plan: dict, me) -> int:
    """Worker 2 of a later generation fails to boot."""
    if me.id == 2 and me.generation > 1:
        return 3
    return serve(plan, me)


def broken_app(plan: dict, me) -> int:
    """Fail, as with lazy-apps and an application that cannot be imported."""
    raise AppLoadError("no module named 'shop'")


def dies_early(plan: dict, me) -> int:
    """Become ready and exit at once, with an error."""
    me.ready()
    return 5


def grows(plan: dict, me) -> int:
    """Publish 30 MB at first; with SIGUSR2 allocate and publish 100 MB."""
    me.row.cells[scoreboard.RSS] = me.row.cells[scoreboard.VSZ] = 30 << 20
    memory = []

    def grow(*_) -> None:
        if not memory:
            memory.append(b"x" * (100 << 20))
            me.row.cells[scoreboard.RSS] = me.row.cells[scoreboard.VSZ] = 100 << 20
    signal.signal(signal.SIGUSR2, grow)
    signal.siginterrupt(signal.SIGUSR2, False)
    return serve({"keep": signal.SIGUSR2, **plan}, me)


def asks_for_replacement(plan: dict, me) -> int:
    """Ask for a replacement on SIGUSR2."""
    signal.signal(signal.SIGUSR2, lambda *_: me.due_for_replacement("on request"))
    return serve({"keep": signal.SIGUSR2, **plan}, me)


def boots_once(plan: dict, me) -> int:
    """Serve, but fail to boot while a file forbids it."""
    if os.path.exists(os.path.join(plan["dir"], "forbidden")):
        raise OSError("booting is forbidden")
    return asks_for_replacement(plan, me)


def boots_later(plan: dict, me) -> int:
    """Serve; processes after the first one boot when a file allows it."""
    mark = os.path.join(plan["dir"], f"booted-{me.id}")
    if os.path.exists(mark):
        while not os.path.exists(os.path.join(plan["dir"], "allowed")):
            time.sleep(0.01)
    open(mark, "w").close()
    return asks_for_replacement(plan, me)


# What templates load.

def loads() -> None:
    """Load nothing, successfully."""


def fails() -> None:
    """Fail, as the loader does."""
    raise AppLoadError("no module named 'shop'")


def fails_if_broken() -> None:
    """Fail if there is a file."""
    if os.path.exists(os.path.join(PLAN["dir"], "broken")):
        raise AppLoadError("the new code is broken")


def loads_slowly_again() -> None:
    """Load at once the first time, and then for a minute."""
    mark = os.path.join(PLAN["dir"], "was-loaded")
    if os.path.exists(mark):
        time.sleep(60)
    open(mark, "w").close()


def master(plan: dict) -> int:
    log()
    board = Scoreboard.create(2 * plan["count"] + 2)
    role = Role("worker", plan["count"],
                (sys.executable, __file__, "template", json.dumps(plan), str(board.fd),
                 str(os.getpid())),
                (board.fd,), cores=plan.get("cores", 1), grace=plan.get("grace", 5),
                timeout=plan.get("timeout"), replace_stuck=plan.get("replace_stuck", True),
                recycling=Recycling(**plan["recycling"]) if "recycling" in plan else None,
                cheaper=Cheaper(**plan["cheaper"]) if "cheaper" in plan else None,
                sockets=(plan["socket"],) if "socket" in plan else (),
                backlog=lambda: number_in(plan, "backlog"))
    return Master([role], board, ready=lambda: write_line("instance ready"),
                  stopping=lambda: write_line("stopping"),
                  reopen=lambda: write_line("master reopened") or ()).run()


def template(plan: dict, board: str, master_pid: str, generation: str, control: str) -> int:
    log()
    import socket
    sock = socket.socket(fileno=int(control))
    os.set_inheritable(sock.fileno(), False)
    holder = templates.Template(
        sock, Scoreboard.open(int(board)), generation=int(generation), master=int(master_pid),
        cores=plan.get("cores", 1), reopen=lambda: write_line("template reopened"))
    work = globals()[plan.get("work", "serve")]
    return holder.run(globals()[plan.get("load", "loads")], lambda _, me: work(plan, me))


if __name__ == "__main__":
    PLAN = json.loads(sys.argv[2])
    sys.exit(master(PLAN) if sys.argv[1] == "master" else template(PLAN, *sys.argv[3:]))
