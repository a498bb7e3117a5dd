"""What a template does around a fork, and what it says about an application's left-overs."""

import os
import subprocess
import sys

LEFT = """
import sys, logging
logging.basicConfig(format="%(message)s")
from geventuwsgi.prefork import template as leftovers
{}
leftovers.warn(-1)
"""


def left(code):
    result = subprocess.run([sys.executable, "-c", LEFT.format(code)], capture_output=True,
                            text=True, env={**os.environ, "PYTHONPATH": os.getcwd()}, timeout=30)
    assert result.returncode == 0, result.stderr
    return result.stderr


def test_nothing_is_left():
    assert left("") == ""
    assert left("from gevent import monkey; monkey.patch_all()") == ""
    # a hub that ran and is idle again, a listening socket and a pair harm nobody
    assert left("import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()\n"
                "pair = socket.socketpair()") == ""


def test_threads_greenlets_and_connections_are_named():
    told = left("import threading, time\n"
                "threading.Thread(target=time.sleep, args=(9,), daemon=True).start()")
    assert "native thread" in told and "lazy-apps = true" in told
    told = left("from gevent import monkey; monkey.patch_all()\n"
                "import gevent\ndef refresher(): gevent.sleep(99)\n"
                "keep = gevent.spawn(refresher)\ngevent.sleep(0)")
    assert "refresher" in told
    told = left("import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()\n"
                "c = socket.create_connection(s.getsockname())\n"
                "logging.error('%d', s.getsockname()[1])")
    assert f"connection to 127.0.0.1:{told.split()[0]}" in told


def test_lazy_objects_of_the_application_sleep_on():
    """Whoever asks for their class wakes them: a connection before the fork, or an error."""
    assert left("class Lazy:\n"
                "    @property\n"
                "    def __class__(self): raise RuntimeError('woken')\n"
                "from gevent import monkey; monkey.patch_all()\n"
                "from geventuwsgi.workers.wsgi import stacks, worker\n"
                "from types import SimpleNamespace\n"
                "keep = [Lazy()]\n"
                "assert worker.greenlets() == []\n"
                "service = SimpleNamespace(worker=1, thread=stacks.get_ident(), hub=None, "
                "connections=())\n"
                "list(stacks.sections(service))") == ""


def test_looking_starts_no_hub():
    assert left("from gevent import monkey, _hub_local; monkey.patch_all()\n"
                "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()\n"
                "import atexit\n"
                "before = _hub_local.get_hub_if_exists()\n"
                "atexit.register(lambda: logging.error('hub') if before is None and "
                "_hub_local.get_hub_if_exists() is not None else None)") == ""
