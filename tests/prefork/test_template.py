"""What the template warns about before it forks."""

import os
import subprocess
import sys

PROGRAM = """
import sys, logging
logging.basicConfig(format="%(message)s")
from geventuwsgi.prefork import template
earlier = template.tasks()
{}
template.warn_of_hazards(-1, earlier)
"""


def warning_of(code):
    """Return what is logged once `code` has run, as if an import had run it."""
    result = subprocess.run([sys.executable, "-c", PROGRAM.format(code)], capture_output=True,
                            text=True, env={**os.environ, "PYTHONPATH": os.getcwd()}, timeout=30)
    assert result.returncode == 0, result.stderr
    return result.stderr


def test_no_warning_without_a_hazard():
    assert warning_of("") == ""
    assert warning_of("from gevent import monkey; monkey.patch_all()") == ""
    # a hub that ran and is idle again, a listening socket and a pair are harmless
    assert warning_of(
        "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()\n"
        "pair = socket.socketpair()") == ""


def test_threads_greenlets_and_connections_are_named():
    text = warning_of("import threading, time\n"
                      "threading.Thread(target=time.sleep, args=(9,), daemon=True).start()")
    assert "native thread" in text and "lazy-apps = true" in text
    text = warning_of("from gevent import monkey; monkey.patch_all()\n"
                      "import gevent\ndef refresher(): gevent.sleep(99)\n"
                      "keep = gevent.spawn(refresher)\ngevent.sleep(0)")
    assert "refresher" in text
    text = warning_of(
        "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()\n"
        "c = socket.create_connection(s.getsockname())\n"
        "logging.error('%d', s.getsockname()[1])")
    assert f"connection to 127.0.0.1:{text.split()[0]}" in text


def test_lazy_objects_of_the_application_are_not_evaluated():
    """Asking for their class would: it opens a connection before the fork, or raises."""
    assert warning_of(
        "class Lazy:\n"
        "    @property\n"
        "    def __class__(self): raise RuntimeError('evaluated')\n"
        "from gevent import monkey; monkey.patch_all()\n"
        "from geventuwsgi.workers.wsgi import stacks, worker\n"
        "from types import SimpleNamespace\n"
        "keep = [Lazy()]\n"
        "assert worker.greenlets() == []\n"
        "service = SimpleNamespace(worker=1, thread=stacks.get_ident(), hub=None, "
        "connections=(), pool=None)\n"
        "list(stacks.sections(service))") == ""


def test_the_check_starts_no_hub():
    assert warning_of(
        "from gevent import monkey, _hub_local; monkey.patch_all()\n"
        "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()\n"
        "import atexit\n"
        "before = _hub_local.get_hub_if_exists()\n"
        "atexit.register(lambda: logging.error('hub') if before is None and "
        "_hub_local.get_hub_if_exists() is not None else None)") == ""
