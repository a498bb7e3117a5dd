"""A generation whose template and workers report whatever they like, in any order."""

import os
import selectors
import signal
import socket
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventuwsgi.ipc import channel, credentials, scoreboard
from geventuwsgi.ipc.scoreboard import Scoreboard
from geventuwsgi.master import children, generation, reports
from geventuwsgi.master.children import Rows
from geventuwsgi.master.generation import DRAINING, Generation
from geventuwsgi.master.role import Role
from tests.master.test_reports import MESSAGES

STEPS = st.one_of(
    st.tuples(st.just("template"), MESSAGES),
    st.tuples(st.just("worker"), st.one_of(MESSAGES, st.sampled_from(
        [b"pid 1", b"ready", b"replace x", b"failed 3 x", b"forked 1", b"wrong-interface"]))),
    st.tuples(st.just("loads"), st.just(b"loaded 1")),
    st.tuples(st.just("row"), st.sampled_from([0, -1, 2 ** 63 - 1, -2 ** 63, 5])),
    st.tuples(st.sampled_from(["poll", "late", "drain", "template exits", "worker exits", "resize",
                               "closes"]), st.just(b"")))


class Stage:
    """A generation without processes: the test is all of its workers."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.sockets: list[socket.socket] = []
        self.ends: list[socket.socket] = []     # of workers
        self.template: socket.socket | None = None
        self.signalled: list[int] = []
        self.now = time.monotonic()
        patch.setattr(generation, "spawn", self.spawn)
        patch.setattr(generation, "request_fork", self.fork)
        patch.setattr(children, "kill", lambda pid, number: self.signalled.append(pid))
        patch.setattr(reports, "is_child", lambda pid: pid == os.getpid())
        role = Role("worker", 2, (), timeout=5.0)
        self.board = Scoreboard.create(8)
        self.selector = selectors.DefaultSelector()
        self.generation = Generation(
            1, role._replace(alternative=role), 2, Rows(self.board), self.selector)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        ours, theirs = channel.pair()
        credentials.require(ours)
        self.sockets += (ours, theirs)
        return ours, theirs

    def spawn(self, role: Role, number: int) -> tuple[socket.socket, int]:
        ours, self.template = self.pair()
        return ours, os.getpid()

    def fork(self, template: socket.socket, number: int, row: Any) -> Any:
        ours, theirs = self.pair()
        self.ends.append(theirs)
        memory = scoreboard.create_row()
        owned = row.owned(memory)
        os.close(memory)
        return ours, owned

    def step(self, kind: str, value: Any) -> None:
        one = self.generation
        if kind in ("template", "loads") and self.template is not None:
            channel.send(self.template, value)
        elif kind == "worker" and self.ends:
            channel.send(self.ends[-1], value)
        elif kind == "closes" and self.ends:
            self.ends.pop().close()
        elif kind == "row":
            for index in range(9):
                for cell in range(scoreboard.CELLS):
                    self.board.row(index).cells[cell] = value
            for worker in one.all_workers():
                for cell in range(scoreboard.CELLS):
                    worker.row.cells[cell] = value
        elif kind == "drain":
            one.drain(self.now)
        elif kind == "resize":
            one.resize(3 - one.count, self.now)
        elif kind == "template exits" and one.template is not None:
            one.exited(one.template.pid, -signal.SIGKILL)
        elif kind == "worker exits":
            one.read_pids()
            one.exited(os.getpid(), 1)
        elif kind == "late":
            self.now += 50
        for key, _ in self.selector.select(0):
            if self.selector.get_map().get(key.fd) is key:
                key.data()
        one.poll(self.now, 0.0)

    def close(self) -> None:
        self.selector.close()
        for sock in self.sockets:
            sock.close()
        os.close(self.board.fd)


@given(st.lists(STEPS, max_size=25))
def test_any_reports_in_any_state(steps: list[tuple[str, Any]]) -> None:
    """Nothing raises, no process of others gets a signal, and a stop comes to its end."""
    with pytest.MonkeyPatch.context() as patch:
        stage = Stage(patch)
        try:
            for kind, value in steps:
                stage.step(kind, value)
            assert set(stage.signalled) <= {0, os.getpid()}
            stage.step("drain", b"")
            for _ in range(8):      # what is killed exits; what never said its pid is given up
                stage.step("template exits", b"")
                stage.step("worker exits", b"")
                stage.step("late", b"")
            assert stage.generation.state == DRAINING and stage.generation.done
            assert set(stage.signalled) <= {0, os.getpid()}
        finally:
            stage.close()
