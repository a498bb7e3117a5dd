"""Starts the master of `harness.py`, and checks that all of its processes exit."""

import json
import logging
import re
import sys
from pathlib import Path

import pytest

from tests.harness import Program, alive, children

PROGRAM = Path(__file__).with_name("harness.py")


class MasterProgram(Program):
    """A master of `harness.py`, with a template and workers."""

    def __init__(self, directory, *, prefix=(), pass_fds=(), **plan):
        plan = {"count": 2, "dir": str(directory), **plan}
        super().__init__(*prefix, sys.executable, str(PROGRAM), "master", json.dumps(plan),
                         pass_fds=pass_fds)

    def pids(self):
        """Return {worker id: last pid} from the log."""
        found = {}
        for line in self.err:
            if match := re.search(r"pawned \S+ worker (\d+) \((?:new )?pid: (\d+)", line):
                found[int(match[1])] = int(match[2])
        return found

    def generations(self):
        """Return the pids of the workers in the order they were started."""
        return [int(match[1]) for line in self.err
                if (match := re.search(r"pawned \S+ worker \d+ \((?:new )?pid: (\d+)", line))]

    @property
    def template(self):
        """The template's pid: the child that is not a worker."""
        return next(iter(set(children(self.pid)) - set(self.generations())), 0)


@pytest.fixture
def start_master(tmp_path):
    """Start masters; after the test all of their processes must have exited."""
    started = []

    def start(ready=True, **plan):
        made = MasterProgram(tmp_path, **plan).start()
        started.append(made)
        if ready:
            made.wait_for("instance ready")
            made.wait_for("ready: ")  # on the other stream, after the pids
        return made
    yield start
    for made in started:
        processes = children(made.pid)
        made.__exit__()
        for pid in processes:
            assert not alive(pid)


@pytest.fixture
def log_lines():
    """A list of the messages that are logged; it grows."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("geventuwsgi.error")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel("INFO")
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(before)
