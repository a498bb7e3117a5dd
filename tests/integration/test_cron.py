"""Scheduled commands beside a running instance, over one real minute."""

import os
import re
import signal
from pathlib import Path

import pytest

from tests.harness import Server, alive, children, wait_until

APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
pytestmark = pytest.mark.slow
A_MINUTE = 90.0     # seconds to wait for the next one


def test_a_minute_of_a_server(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir(mode=0o777)
    (tmp_path / "jobs").chmod(0o777)
    with Server(tmp_path, app=APP, ini=f"""
[uwsgi]
http-socket = 127.0.0.1:0
wsgi-file = {tmp_path}/app.py
chdir = {tmp_path}/jobs
env = COLOUR=blue
cron = -1 -1 -1 -1 -1 echo $COLOUR $PWD >>once
cron2 = unique=1 echo $$ >pid; exec sleep 1000
cron = -1 -1 -1 -1 -1 echo said; exit 3
cron-harakiri = 0
cron2 = harakiri=1 exec sleep 999
""") as server:
        server.wait_for('command "echo $COLOUR $PWD >>once" registered as cron task')
        once, pid = tmp_path / "jobs/once", tmp_path / "jobs/pid"
        wait_until(lambda: once.exists() and pid.exists() and pid.read_text(),
                   "the minute has begun", A_MINUTE)
        line = f"blue {tmp_path}/jobs\n"
        assert once.read_text() == line
        server.wait_for("exited after 0 second(s): exit status 3")
        assert server.find("said")
        server.wait_for('HARAKIRI: [uwsgi-cron] command "exec sleep 999"')
        server.wait_for("killed by signal 9")
        # Neither a reload nor an upgrade in place runs this minute's commands again, and the
        # upgraded master still knows what runs.
        server.send_signal(signal.SIGHUP)
        server.wait_for("ready: 1 worker (generation 2)")
        server.send_signal(signal.SIGUSR2)
        server.wait_for("ready: 1 worker (generation 3)")
        assert once.read_text().count(line) == len(set(server_minutes(server)))
        job = int(pid.read_text())
        assert job in children(server.pid)
        assert server.stop() == 0
        assert re.search(rf"\(pid {job}\) is not ended by the stop", server.log)
        assert alive(job)
        os.kill(job, signal.SIGKILL)


def server_minutes(server: Server) -> list[str]:
    """Return the minute of each run of the first command, from the log."""
    return [line.split()[1][:5] for line in server.find('running "echo $COLOUR')]


@pytest.mark.parametrize("line, message", [
    ("cron = */5 * * * * true", "app.ini:5: cron: minute: '*/5' is not a number (-1 means any"),
    ("cron2 = legion=x true", "app.ini:5: cron2: there is no key 'legion'")])
def test_lines_that_cannot_be_read(tmp_path: Path, line: str, message: str) -> None:
    with Server(tmp_path, ready=False, app=APP, ini=f"""
[uwsgi]
http-socket = 127.0.0.1:0
wsgi-file = app.py
{line}
""") as server:
        assert server.wait() == 1
        assert message in server.log
