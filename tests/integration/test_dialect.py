"""What the words of the INI dialect do to a server: variables, -O, texts in the log, a way out."""

import signal
from pathlib import Path

from tests.harness import Server, wait_until

APP = """
import os, sys

def application(environ, start_response):
    body = " ".join([str(sys.flags.optimize), *(os.environ.get(name, "-") for name in (
        "EARLY", "LATE", "BOTH", "GONE", "FROM"))]).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
SAFE = """[uwsgi]
declare-option = size=processes=$1;print=$1 is its size
early-envdir = early
envdir = late
module = app
http-socket = 127.0.0.1:0
optimize = 1
env = FROM=$(EARLY)
env = BOTH=env
size = 2
print = on %(here)
resolve = here=localhost
if-reload =
print = again
endif =
"""


def test_the_dialect_at_work(tmp_path: Path) -> None:
    """A server that cannot bind takes the configuration to fall back on, and reloads with it."""
    for name, text in (("early/EARLY", "one\n"), ("early/BOTH", "early"), ("late/LATE", "two\n"),
                       ("late/BOTH", "three"), ("late/GONE", "")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "safe.ini").write_text(SAFE)
    broken = "[uwsgi]\nfallback-config = %dsafe.ini\nmodule = app\nhttp-socket = /none/x.sock\n"
    with Server(tmp_path, app=APP, ini=broken, env={"GONE": "no"}) as server:
        assert "cannot bind /none/x.sock" in server.wait_for("error: ")
        server.wait_for(f"fallback-config: {tmp_path}/safe.ini is read instead")
        server.wait_for("2 is its size")
        server.wait_for("on 127.0.0.1")
        assert len(server.workers()) == 2 and not server.find("again")
        assert server.body() == b"1 one two three - one"
        (tmp_path / "late" / "LATE").write_text("four")
        server.kill(server.pid, signal.SIGHUP)
        server.wait_for("again")
        server.wait_for("ready: 2 workers (generation 2)")
        wait_until(lambda: server.body() == b"1 one four three - one", "the new variable")
        assert server.stop() == 0
