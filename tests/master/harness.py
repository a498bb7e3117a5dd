"""A small house for the tests of the process wing: a master, a template, workers.

Run as a script. `harness.py master JSON` is the master; it execs `harness.py template ...`
through a role, as the server does. The work of a worker is a function of this file.
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


def say(text: str) -> None:
    """Print a line in one write, so that those of several processes do not mix."""
    os.write(1, text.encode() + b"\n")


def told(plan: dict, name: str) -> int:
    """Return the number that a file of the test holds."""
    try:
        with open(os.path.join(plan["dir"], name)) as file:
            return int(file.read() or 0)
    except FileNotFoundError:
        return 0


# What workers do. `plan` is the JSON, `me` the Child.

def serve(plan: dict, me) -> int:
    """Be a model worker: heartbeat, drain on order and on SIGTERM."""
    drains = []
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: drains.append(1))
    if "keep" not in plan:
        faulthandler.register(signal.SIGUSR2, all_threads=True)
    signal.signal(signal.SIGUSR1, lambda *_: say(f"worker {me.id} reopened"))
    me.ready()
    while not drains:
        me.row.cells[scoreboard.HEARTBEAT_NS] = time.monotonic_ns()
        me.row.cells[scoreboard.REQUESTS] += 0 if "still" in plan else 1
        me.row.cells[scoreboard.IN_PROGRESS] = told(plan, "busy")
        me.row.cells[scoreboard.RSS] = told(plan, "rss") or me.row.cells[scoreboard.RSS]
        readable, _, _ = select.select([me.control], [], [], 0.05)
        if readable:
            message = me.received()
            if message in (b"", b"die"):
                return 9
            if message in (b"drain", b"stop"):
                break
    me.row.cells[scoreboard.STATE] = scoreboard.STATE_DRAINING
    say(f"worker {me.id} drained")
    return 0


def stubborn(plan: dict, me) -> int:
    """Never end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    me.ready()
    while True:
        me.row.cells[scoreboard.HEARTBEAT_NS] = time.monotonic_ns()
        time.sleep(0.1)


def stuck(plan: dict, me) -> int:
    """Worker 1 blocks at its first life, the others serve."""
    mark = os.path.join(plan["dir"], "was-stuck")
    if me.id != 1 or os.path.exists(mark):
        return serve(plan, me)
    open(mark, "w").close()
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    me.ready()
    while True:
        time.sleep(1)


def never(plan: dict, me) -> int:
    """Fail to boot."""
    raise OSError("no room in this worker")


def second_fails_again(plan: dict, me) -> int:
    """Worker 2 of a later generation fails to boot."""
    if me.id == 2 and me.generation > 1:
        return 3
    return serve(plan, me)


def broken_app(plan: dict, me) -> int:
    """Fail as a lazily loaded application that cannot be imported."""
    raise AppLoadError("no module named 'shop'")


def dies_early(plan: dict, me) -> int:
    """Become ready and end at once, with an error."""
    me.ready()
    return 5


def swells(plan: dict, me) -> int:
    """Take 30 MB from the start and 100 MB when a file says so; for real, and as told."""
    me.row.cells[scoreboard.RSS] = me.row.cells[scoreboard.VSZ] = 30 << 20
    memory = []

    def tell(*_) -> None:
        if not memory:
            memory.append(b"x" * (100 << 20))
            me.row.cells[scoreboard.RSS] = me.row.cells[scoreboard.VSZ] = 100 << 20
    signal.signal(signal.SIGUSR2, tell)
    signal.siginterrupt(signal.SIGUSR2, False)
    return serve({"keep": signal.SIGUSR2, **plan}, me)


def wears_out(plan: dict, me) -> int:
    """Ask for a replacement when a signal says so."""
    signal.signal(signal.SIGUSR2, lambda *_: me.due_for_replacement("of the house"))
    return serve({"keep": signal.SIGUSR2, **plan}, me)


def once(plan: dict, me) -> int:
    """Serve in the first life, never boot in the second while a file forbids it."""
    if os.path.exists(os.path.join(plan["dir"], "forbidden")):
        raise OSError("no second life")
    return wears_out(plan, me)


def hesitant(plan: dict, me) -> int:
    """Serve in the first life; later ones boot when a file allows it."""
    mark = os.path.join(plan["dir"], f"lived-{me.id}")
    if os.path.exists(mark):
        while not os.path.exists(os.path.join(plan["dir"], "allowed")):
            time.sleep(0.01)
    open(mark, "w").close()
    return wears_out(plan, me)


# What templates load.

def well() -> None:
    """Load nothing, successfully."""


def badly() -> None:
    """Fail, as the loader does."""
    raise AppLoadError("no module named 'shop'")


def switch() -> None:
    """Fail if a file says so."""
    if os.path.exists(os.path.join(PLAN["dir"], "broken")):
        raise AppLoadError("the new code is broken")


def slow_again() -> None:
    """Take long from the second time on."""
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
                backlog=lambda: told(plan, "backlog"))
    return Master([role], board, ready=lambda: say("instance ready"),
                  stopping=lambda: say("stopping"),
                  reopen=lambda: say("master reopened") or ()).run()


def template(plan: dict, board: str, master_pid: str, generation: str, control: str) -> int:
    log()
    import socket
    sock = socket.socket(fileno=int(control))
    os.set_inheritable(sock.fileno(), False)
    holder = templates.Template(
        sock, Scoreboard.open(int(board)), generation=int(generation), master=int(master_pid),
        cores=plan.get("cores", 1), reopen=lambda: say("template reopened"))
    work = globals()[plan.get("work", "serve")]
    return holder.run(globals()[plan.get("load", "well")], lambda _, me: work(plan, me))


if __name__ == "__main__":
    PLAN = json.loads(sys.argv[2])
    sys.exit(master(PLAN) if sys.argv[1] == "master" else template(PLAN, *sys.argv[3:]))
