"""Hooks of a running instance: their processes, their order, and failures."""

import os
import signal
import stat

import pytest

from tests.harness import Server, alive, wait_until

APP = """
import os
open("log", "a").write("load %d\\n" % os.getpid())
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
INI = "[uwsgi]\nhttp-socket = 127.0.0.1:0\nwsgi-file = app.py\nprocesses = 2\n"
PHASES = ("asap", "pre-jail", "in-jail", "as-root", "as-user", "pre-app", "post-app",
          "post-fork", "accepting", "accepting-once", "accepting1", "accepting1-once")


def log_hooks(*phases):
    """Return hooks that log their phase and parent process."""
    return "".join(f"hook-{phase} = exec:echo {phase} $PPID >> log\n" for phase in phases)


def entries(tmp_path):
    """Return the logged (phase, pid)."""
    path = tmp_path / "log"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [(word, int(pid)) for word, pid in (line.split() for line in lines)]


def test_each_phase_in_its_process(tmp_path):
    with Server(tmp_path, app=APP, ini=INI + log_hooks(*PHASES, "master-start", "as-user-atexit"),
                ) as server:
        first, second = server.spawned()[1], server.spawned()[2]
        wait_until(lambda: ("master-start", server.pid) in entries(tmp_path), "master-start")
        template = dict(entries(tmp_path))["load"]
        found = [entry for entry in entries(tmp_path) if entry[0] != "master-start"]
        assert found[:8] == [
            *((phase, server.pid) for phase in PHASES[:4]), ("as-user", template),
            ("pre-app", template), ("load", template), ("post-app", template)]
        assert [word for word, pid in found if pid == second] == [
            "post-fork", "accepting", "accepting-once"]
        assert [word for word, pid in found if pid == first] == [
            "post-fork", "accepting", "accepting-once", "accepting1", "accepting1-once"]
        (tmp_path / "log").write_text("")
        server.kill(first)
        server.wait_for("Respawned geventuwsgi worker 1")
        wait_until(lambda: ("accepting1", server.spawned()[1]) in entries(tmp_path), "the respawn")
        assert [word for word, _ in entries(tmp_path)] == ["post-fork", "accepting", "accepting1"]
        assert server.stop() == 0
        assert entries(tmp_path)[-1][0] == "as-user-atexit"
        server.wait_for('running "exec:echo asap $PPID >> log" (asap)...')


def test_a_reload_runs_them_again_in_the_new_process(tmp_path):
    with Server(tmp_path, app=APP, ini=INI + log_hooks(*PHASES, "master-start", "as-user-atexit"),
                ) as server:
        wait_until(lambda: ("master-start", server.pid) in entries(tmp_path), "master-start")
        old = dict(entries(tmp_path))["load"]
        (tmp_path / "log").write_text("")
        server.send_signal(signal.SIGHUP)
        server.wait_for("ready: 2 workers (generation 2)")
        template = dict(entries(tmp_path))["load"]
        assert [pid for _, pid in entries(tmp_path)[:8]] == [template] * 8
        assert template not in (old, server.pid)
        assert [word for word, _ in entries(tmp_path)[:8]] == [*PHASES[:6], "load", "post-app"]
        words = [word for word, _ in entries(tmp_path)]
        assert words.count("accepting-once") == 2 and words.count("accepting1-once") == 1
        assert "master-start" not in words and "as-user-atexit" not in words


def test_hooks_of_loading_in_lazy_workers(tmp_path):
    with Server(tmp_path, app=APP,
                ini=INI + "lazy-apps = true\n" + log_hooks("pre-app", "post-app")) as server:
        for pid in server.workers():
            assert [word for word, by in entries(tmp_path) if by == pid] == [
                "pre-app", "load", "post-app"]


def test_hooks_of_asgi_workers(tmp_path):
    app = """
async def application(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
"""
    ini = INI.replace("wsgi-file = app.py", "module = app") + "interface = asgi\n" + log_hooks(
        "post-fork", "accepting", "accepting1-once")
    with Server(tmp_path, app=app, ini=ini) as server:
        assert b"ok" in server.get()
        for number, pid in server.spawned().items():
            assert [word for word, by in entries(tmp_path) if by == pid] == [
                "post-fork", "accepting", "accepting1-once"][:4 - number]


@pytest.mark.parametrize("phase", ["asap", "as-root", "as-user", "pre-app", "post-app",
                                   "post-fork", "accepting"])
def test_a_failure_ends_the_start(tmp_path, phase):
    ini = INI + f"exec-pre-app = true\nhook-{phase} = exec:exit 3\npidfile = pid\n"
    with Server(tmp_path, app=APP, ini=ini, ready=False) as server:
        assert server.wait() == 1
        server.wait_for(f'app.ini:6: hook-{phase}: "exec:exit 3": exit status 3')
        assert not server.find("ready: ")


def test_a_hook_that_fails_at_a_reload_leaves_the_old_generation(tmp_path):
    ini = INI + "hook-as-root = exec:test ! -e broken\nexec-as-user = test ! -e broken-too\n"
    with Server(tmp_path, app=APP, ini=ini) as server:
        workers = server.workers()
        for name, line in (("broken", 5), ("broken-too", 6)):
            (tmp_path / name).touch()
            server.send_signal(signal.SIGHUP)
            assert f"app.ini:{line}: " in server.wait_for("reload failed", line - 4)
            (tmp_path / name).unlink()
        assert server.body() == b"ok" and server.workers() == workers


def test_a_failing_hook_of_a_respawned_worker_leaves_the_others(tmp_path):
    ini = INI + "hook-accepting1 = exec:test ! -e broken\n"
    with Server(tmp_path, app=APP, ini=ini) as server:
        (tmp_path / "broken").touch()
        server.kill(server.spawned()[1])
        server.wait_for("worker 1 could not boot: ")
        assert server.body() == b"ok"
        (tmp_path / "broken").unlink()
        server.wait_for("Respawned geventuwsgi worker 1", 2)
        assert server.stop() == 0


def test_hooks_of_the_start_run_before_sockets_are_bound(tmp_path):
    ini = ("[uwsgi]\nsocket = run/app.sock\nwsgi-file = app.py\nhook-as-root = mkdir:run\n"
           "exec-as-root = chmod 700 run\nhook-as-root = sticky:run\n")
    with Server(tmp_path, app=APP, ini=ini):
        assert stat.S_IMODE((tmp_path / "run").stat().st_mode) & 0o7077 == 0
        assert (tmp_path / "run" / "app.sock").is_socket()


def test_environment_and_directory_of_hooks(tmp_path):
    (tmp_path / "sub").mkdir()
    ini = INI + ("chdir = sub\nenv = COLOUR=blue\nexec-asap = echo asap $COLOUR $PWD >> {0}/out\n"
                 "exec-pre-app = echo pre-app $COLOUR $(pwd) >> {0}/out\n"
                 "hook-as-user-atexit = exec:echo atexit $COLOUR $(pwd) >> {0}/out\n"
                 ).format(tmp_path)
    (tmp_path / "sub" / "app.py").write_text(APP)
    with Server(tmp_path, ini=ini) as server:
        assert server.stop() == 0
    assert (tmp_path / "out").read_text().split("\n")[:-1] == [
        f"asap blue {tmp_path}", f"pre-app blue {tmp_path}/sub", f"atexit blue {tmp_path}/sub"]


@pytest.mark.parametrize("phase", ["asap", "pre-app"])
def test_a_stop_does_not_wait_for_a_hook_of_the_start(tmp_path, phase):
    ini = INI + f"exec-{phase} = sh -c 'echo $$ > pid; exec sleep 1000'\n"
    with Server(tmp_path, app=APP, ini=ini, ready=False) as server:
        path = tmp_path / "pid"
        pid = int(wait_until(lambda: path.exists() and path.read_text(), "the hook"))
        assert server.stop() == 0
        # The shell dies with its parent; here it has executed its command.
        wait_until(lambda: not alive(pid), "the end of the hook")


def test_master_start_binds_signals(tmp_path):
    ini = INI + ("hook-master-start = unix_signal:10 gracefully_kill_them_all\n"
                 "hook-master-start = unix_signal:15 grace_them_all\n")
    with Server(tmp_path, app=APP, ini=ini) as server:
        server.send_signal(signal.SIGTERM)
        server.wait_for("ready: 2 workers (generation 2)")
        assert server.stop(signal.SIGUSR1) == 0


def test_a_failing_master_start_ends_the_instance(tmp_path):
    ini = INI + "hook-master-start = exec:exit 9\n"
    with Server(tmp_path, app=APP, ini=ini, ready=False) as server:
        assert server.wait() == 1
        server.wait_for('app.ini:5: hook-master-start: "exec:exit 9": exit status 9')
        server.wait_for("FATAL hook failed, destroying instance")


def touch(path):
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.touch()
    os.utime(path, ns=(before + 10 ** 9, before + 10 ** 9))


def test_touched_files_run_hooks(tmp_path):
    trigger = tmp_path / "trigger"
    trigger.touch()
    ini = INI + (f"touch-exec = {trigger} echo one >> out; exit 4\n"
                 f"hook-touch = {trigger} append:out two\n"
                 f"hook-touch = {trigger} write:/no/such/place x\n")
    with Server(tmp_path, app=APP, ini=ini) as server:
        touch(trigger)
        server.wait_for("[ERROR]", 2)
        server.wait_for('app.ini:5: touch-exec: "exec:echo one >> out; exit 4": exit status 4')
        server.wait_for('app.ini:7: hook-touch: "write:/no/such/place x": No such file')
        wait_until(lambda: (tmp_path / "out").read_text().count("o") >= 2, "both")
        assert server.body() == b"ok" and server.stop() == 0


def test_a_touched_file_rotates_the_logs(tmp_path):
    trigger = tmp_path / "trigger"
    trigger.touch()
    ini = INI + f"logto = server.log\ntouch-logrotate = {trigger}\n"
    with Server(tmp_path, app=APP, ini=ini, ready=False) as server:
        log = tmp_path / "server.log"
        wait_until(lambda: log.exists() and "ready: " in log.read_text(), "the start")
        touch(trigger)
        rotated = wait_until(lambda: [*tmp_path.glob("server.log.*")], "the rotation")
        wait_until(lambda: log.exists() and "logs reopened" in log.read_text(), "a new log")
        assert "ready: " in rotated[0].read_text()
        assert server.stop() == 0
        assert "goodbye" in log.read_text()


def test_a_touched_file_reopens_the_logs(tmp_path):
    trigger = tmp_path / "trigger"
    trigger.touch()
    ini = INI + f"logto = server.log\ntouch-logreopen = {trigger}\n"
    with Server(tmp_path, app=APP, ini=ini, ready=False) as server:
        log = tmp_path / "server.log"
        wait_until(lambda: log.exists() and "ready: " in log.read_text(), "the start")
        log.rename(tmp_path / "moved")
        touch(trigger)
        wait_until(lambda: log.exists() and "logs reopened" in log.read_text(), "a new log")
        assert server.stop() == 0


def test_the_wait_for_the_last_hook_is_limited(tmp_path):
    ini = INI + ("worker-reload-mercy = 1\nexec-as-user-atexit = sleep 1000\n"
                 "exec-as-user-atexit = touch never\n")
    with Server(tmp_path, app=APP, ini=ini) as server:
        assert server.stop() == 0
        server.wait_for("app.ini:6: exec-as-user-atexit is taking too much time")
        assert not (tmp_path / "never").exists()


def test_a_reload_applies_new_hooks_and_files(tmp_path):
    trigger = tmp_path / "trigger"
    trigger.touch()
    with Server(tmp_path, app=APP, ini=INI) as server:
        (tmp_path / "app.ini").write_text(
            INI.replace("127.0.0.1:0", "127.0.0.1:%d" % server.port)
            + f"touch-exec = {trigger} touch touched\nexec-as-user-atexit = touch ended\n")
        server.send_signal(signal.SIGHUP)
        server.wait_for("ready: 2 workers (generation 2)")
        touch(trigger)
        wait_until((tmp_path / "touched").exists, "the hook")
        assert server.stop() == 0 and (tmp_path / "ended").exists()


def test_limits_reach_the_workers(tmp_path):
    app = """
import os, resource
def application(environ, start_response):
    body = repr((resource.getrlimit(resource.RLIMIT_AS)[0] >> 20, os.nice(0),
                 resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                 len(os.sched_getaffinity(0)))).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
    ini = INI + "limit-as = 1500\nprio = 3\nmax-fd = 900\ncpu-affinity = 1\n"
    with Server(tmp_path, app=app, ini=ini) as server:
        assert eval(server.body()) == (1500, 3, 900, 1)
        server.wait_for("mapping worker 2 to CPUs: ")
