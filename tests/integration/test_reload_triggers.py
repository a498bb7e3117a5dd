"""What makes the server reload beside SIGHUP: files that are touched, modules that change."""

import os
import signal
import time

import pytest

from tests.harness import Server, alive, wait_until
from tests.integration.test_reload import APP, INI, reload

LATE = APP.replace("    start_response", """
    if environ["PATH_INFO"] == "/late":
        import late
    start_response""")


@pytest.fixture
def serve(tmp_path):
    """Start servers from `app.ini`."""
    started = []

    def start(more="", app=APP, *arguments, **further):
        server = Server(tmp_path, *arguments, ini=INI + more, app=app, **further).start()
        started.append(server)
        return server
    yield start
    for server in started:
        server.__exit__()


def change(path, text=None):
    """Change a file so that its time is another one, however coarse the clock."""
    if text is not None:
        path.write_text(text)
    moment = time.time() - 1000 - len(str(path))
    before = path.stat().st_mtime
    os.utime(path, (moment, before - 100 if before < moment else moment))


def test_a_touched_file_reloads(serve, tmp_path):
    """It may appear, change, be one of a pattern, and go; the log names it."""
    (tmp_path / "a").touch()
    server = serve("touch-reload = a\ntouch-reload = *.now\nfs-reload = c\n")
    server.wait_for("unable to stat() c, events will be triggered as soon as the file is created")
    for number, (path, deed) in enumerate([
            ("a", change), ("x.now", lambda path: path.touch()), ("c", lambda path: path.touch()),
            ("c", lambda path: path.unlink())], 2):
        deed(tmp_path / path)
        server.wait_for(f"ready: 1 worker (generation {number})")
        server.wait_for(f"*** {path} has been touched... grace them all !!! ***")
    assert server.get().endswith(b"one")
    assert server.stop() == 0


def test_the_files_are_those_of_the_present_configuration(serve, tmp_path):
    server = serve("touch-reload = a\n")
    (tmp_path / "app.ini").write_text(INI + "touch-reload = b\n")
    assert reload(server) == (0, "")
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    server.wait_for("ready: 1 worker (generation 3)")
    assert server.find("*** b has been touched") and not server.find("*** a has been touched")
    assert server.stop() == 0


@pytest.mark.parametrize("how", ["touch-chain-reload = a\n", "chain-reload = true\n"])
def test_chain_reload(serve, tmp_path, how):
    server = serve(f"processes = 2\n{how}")
    old = server.workers()
    (tmp_path / "app.py").write_text(APP.replace("one", "two"))
    if how.startswith("touch"):
        (tmp_path / "a").touch()
    else:
        server.send_signal(signal.SIGHUP)
    server.wait_for("chain next victim is worker 2")
    server.wait_for("ready: 2 workers (generation 2)")
    assert not any(map(alive, old))
    assert server.get().endswith(b"two")
    assert server.stop() == 0


@pytest.mark.parametrize("lazy", ["", "lazy-apps = true\n"])
def test_autoreload_sees_modules_as_they_are_imported(serve, tmp_path, lazy):
    (tmp_path / "late.py").write_text("x = 1")
    server = serve(f"py-autoreload = 1\n{lazy}", LATE)
    assert server.get("/late").endswith(b"one")
    number = 2
    for name, text in (("app.py", LATE.replace("one", "two")), ("late.py", "x = 2")):
        def reloaded():
            change(tmp_path / name, text)  # again: a worker names a late import after a while
            return server.find(f"[uwsgi-python-reloader] module/file {tmp_path / name}")
        wait_until(reloaded, f"a reload for {name}")
        server.wait_for(f"(generation {number})")
        wait_until(lambda: server.get("/late").endswith(b"two"), "the new code")
        number += 1
    assert server.stop() == 0


def test_what_autoreload_ignores(serve, tmp_path):
    (tmp_path / "late.py").write_text("x = 1")
    server = serve("py-autoreload = 1\npy-autoreload-ignore = late\nimport = late\n")
    change(tmp_path / "late.py", "x = 2")
    change(tmp_path / "app.py", APP.replace("one", "two"))
    server.wait_for("(generation 2)")
    assert not server.find(f"module/file {tmp_path / 'late.py'}")
    assert server.stop() == 0


def test_a_development_reload_shows_what_is_wrong(tmp_path):
    """Code that does not load is served as a page; the next change mends it."""
    with Server(tmp_path, "--reload", "app:application", app=APP) as server:
        assert server.get().endswith(b"one")
        for number, broken in ((2, "def application(:"), (3, "import colour_<b>"),
                               (4, "import nothing_of_this_name")):
            change(tmp_path / "app.py", broken)
            server.wait_for(f"(generation {number})")
            wait_until(lambda: b"500 Internal Server Error" in server.get(), "the page")
        answer = server.get()
        assert b"nothing_of_this_name" in answer and b"app.py" in answer
        assert b"<b>" not in answer
        change(tmp_path / "app.py", APP.replace("one", "two"))
        wait_until(lambda: server.get().endswith(b"two"), "the mended code")
        assert server.stop() == 0


def test_without_development_a_broken_change_serves_on_and_is_mended(serve, tmp_path):
    server = serve("py-autoreload = 1\n")
    change(tmp_path / "app.py", "import nothing_of_this_name")
    server.wait_for("generation 1 keeps serving")
    assert server.get().endswith(b"one")
    change(tmp_path / "app.py", APP.replace("one", "two") + "#")
    wait_until(lambda: server.get().endswith(b"two"), "the mended code")
    assert server.stop() == 0


def test_exit_on_reload(serve):
    server = serve("exit-on-reload = true\n")
    server.send_signal(signal.SIGHUP)
    assert server.wait() == 0
    server.wait_for("exit-on-reload: the server stops instead of reloading")
