"""The files of init/: the systemd units as systemd rates them, a server under their restrictions,
and logrotate with several instances."""

import json
import os
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import GEVENTUWSGI, ROOT, Server, installed, wait_until

UNITS = ("geventuwsgi.service", "geventuwsgi@.service")
# Runs the rest of its command line under the seccomp filter of `SystemCallFilter=@system-service`
# and `SystemCallErrorNumber=EPERM`; its first argument is the list of numbers that are allowed.
RESTRICTED = """
import ctypes, json, os, struct, sys
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, EPERM, X86_64 = 0x7fff0000, 0x00050001, 0xc000003e
code = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, X86_64), (RETURN, 0, 0, EPERM), (LOAD, 0, 0, 0)]
for number in json.loads(sys.argv[1]):
    code += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ALLOW)]
code.append((RETURN, 0, 0, EPERM))
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in code))
class Filter(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0      # PR_SET_NO_NEW_PRIVS
found = Filter(len(code), ctypes.addressof(program))
assert libc.prctl(22, 2, ctypes.byref(found), 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.argv[2], sys.argv[2:])
"""
APP = """
import ctypes, os, subprocess, threading

PTRACE = 101

def application(environ, start_response):
    denied = ctypes.CDLL(None).syscall(PTRACE, 0, 0, 0, 0) == -1    # PTRACE_TRACEME
    thread = threading.Thread(target=print, args=("printed",))
    thread.start(), thread.join()
    body = subprocess.run(["echo", str(denied)], capture_output=True).stdout
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

async def asgi(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"asgi"})
"""


def systemd_analyze(*arguments: str) -> str:
    """Return the output of systemd-analyze."""
    done = subprocess.run([installed("systemd-analyze"), "--no-pager", *arguments], text=True,
                          capture_output=True)
    return done.stdout + done.stderr


@pytest.mark.parametrize("unit", UNITS)
def test_the_exposure_of_the_units(unit: str) -> None:
    """Below 4, of 10; systemd knows every directive."""
    path = str(ROOT / "init" / unit)
    found = re.search(r"exposure level for .*: ([\d.]+)",
                      systemd_analyze("security", "--offline=true", path))
    if found is None:
        pytest.skip("this systemd-analyze does not read files")
    assert float(found[1]) < 4
    lines = systemd_analyze("verify", path).splitlines()
    assert not [line for line in lines if unit in line and "is not executable" not in line], lines


def directives(unit: str) -> dict[str, str]:
    """Return the directives of a unit."""
    text = (ROOT / "init" / unit).read_text()
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


def test_the_units_differ_only_in_their_names() -> None:
    one, each = (directives(unit) for unit in UNITS)
    assert {name for name in one | each if one.get(name) != each.get(name)} == {
        "Description", "ExecStart", "ExecReload", "RuntimeDirectory"}


def allowed() -> list[int]:
    """Return the numbers of the system calls in @system-service."""
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if platform.machine() != "x86_64" or not header.exists():
        pytest.skip("the numbers of system calls are not known here")
    numbers = {name: int(number) for name, number in re.findall(
        r"#define __NR_(\w+) (\d+)", header.read_text())}
    left, found = ["@system-service"], set()
    assert directives(UNITS[0])["SystemCallFilter"] == left[0]
    while left:
        words = systemd_analyze("syscall-filter", left.pop()).splitlines()[1:]
        names = [word.strip() for word in words if word.strip() and "#" not in word]
        left += [name for name in names if name.startswith("@")]
        found |= set(names)
    return sorted(numbers[name] for name in found if name in numbers)


@pytest.mark.parametrize("more, body", [
    ("module = app\n", b"True\n"), ("module = app\nthreads = 4\n", b"True\n"),
    ("module = app\ngevent = 10\nhttp-router = true\n", b"True\n"),
    ("asgi = app:asgi\n", b"asgi")])
def test_a_server_under_the_filter_of_system_calls(tmp_path: Path, more: str,
                                                   body: bytes) -> None:
    """Workers, daemons, logs, a reload, an upgrade and a stop; the application may not ptrace."""
    ini = ("[uwsgi]\nhttp = 127.0.0.1:0\nprocesses = 2\nmaster-fifo = fifo\npidfile = pid\n"
           "logger = file:all.log\nlogger = syslog\nattach-daemon = sleep 1000\nmax-fd = 1000\n"
           "cpu-affinity = 1\n" + more)
    server = Server(tmp_path, ini=ini, app=APP, ready=False)
    server.argv = (sys.executable, "-c", RESTRICTED, json.dumps(allowed()), *server.argv)

    def logged(text: str, count: int = 1) -> bool:
        log = tmp_path / "all.log"
        return log.exists() and log.read_text().count(text) >= count
    with server:
        wait_until(lambda: logged("ready: "), lambda: server.log)
        server.err += (tmp_path / "all.log").read_text().splitlines()
        assert server.body() == body
        for _ in range(2):
            done = subprocess.run([*GEVENTUWSGI, "--reload", "pid"], cwd=tmp_path, text=True,
                                  capture_output=True, env=server.env)
            assert done.returncode == 0, done.stderr
        server.send_signal(signal.SIGUSR2)
        wait_until(lambda: logged("upgrade: ") and logged("ready: ", 4),
                   lambda: (tmp_path / "all.log").read_text())
        assert server.body() == body
        server.send_signal(signal.SIGUSR1)
        wait_until(lambda: logged("logs reopened"))
        assert server.stop() == 0
    assert not logged("Traceback") and not logged("not permitted")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="logrotate changes the user")
def test_logrotate_with_several_instances(tmp_path: Path) -> None:
    """Each reopens its log; a pid file of another user's reaches only processes of that user."""
    tmp_path.chmod(0o755)
    logs, run = tmp_path / "log", tmp_path / "run"
    names = ("geventuwsgi", "geventuwsgi-shop", "geventuwsgi-blog", "geventuwsgi-other")
    pids = [run / name / ("master.pid" if "-" in name else "app.pid") for name in names]
    logs.mkdir(mode=0o750)
    for pid in pids:
        pid.parent.mkdir(parents=True)
    text = (ROOT / "init" / "geventuwsgi.logrotate").read_text()
    for old, new in (("/var/log/geventuwsgi", str(logs)), ("/run/", f"{run}/"),
                     ("www-data adm", "root root")):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "conf").write_text(text)
    (tmp_path / "conf").chmod(0o644)
    (tmp_path / "app.py").write_text(APP)
    servers = [Server(tmp_path, "--module", "app", "--logto", logs / f"{pid.parent.name}.log",
                      "--pidfile", pid, ready=False) for pid in pids[:3]]
    victim = subprocess.Popen(["sleep", "1000"])
    pids[3].write_text(f"{victim.pid}\n")
    os.chown(pids[3], 65534, 65534)
    try:
        for server, pid in zip(servers, pids):
            log = logs / f"{pid.parent.name}.log"
            server.start()
            wait_until(lambda: log.exists() and "ready: " in log.read_text(), lambda: server.log)
        done = subprocess.run([installed("logrotate"), "-f", "-s", tmp_path / "state",
                               tmp_path / "conf"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        for pid in pids[:3]:
            log = logs / f"{pid.parent.name}.log"
            wait_until(lambda: "logs reopened" in log.read_text(), lambda: done.stderr)
        assert victim.poll() is None
        for server in servers:
            assert server.stop() == 0
    finally:
        victim.kill()
        victim.wait()
        for server in servers:
            server.__exit__()
