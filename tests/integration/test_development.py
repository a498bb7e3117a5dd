"""Development runs, with real edits and a real terminal.

Many tests share one server; each restores the application at its end.
"""

import os
import pty
import re
import signal
import sys
import threading
import time

import pytest

from tests.harness import (
    GEVENTUWSGI, ROOT, Program, Server, alive, children, free_port, wait_until,
)

DEV = (sys.executable, "-m", "geventuwsgi")
HTML = "Accept: text/html,*/*;q=0.8\r\n"
APP = """
import os

def create_app(word="one"):
    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/raise":
            try:
                {}["first <b>"]
            except KeyError as error:
                raise ValueError("second </script>") from error
        if path == "/environment":
            start_response("200 OK", [])
            return [os.environ["FLASK_DEBUG"].encode()]
        if path == "/text":
            start_response("200 OK", [])
            return ["text"]
        if path == "/late":
            start_response("200 OK", [("Content-Length", "9")])
            def body():
                yield b"half"
                raise ValueError("too late")
            return body()
        start_response("200 OK", [("Content-Length", str(len(word)))])
        return [word.encode()]
    return application
"""


class Dev(Server):
    """A development run; the kernel chooses its HTTP port unless `line` names one."""

    def __init__(self, directory, *line, **named):
        super().__init__(directory, **named)
        self.argv = (*DEV, *(("--bind", "127.0.0.1:0") if "ini" not in named else ()),
                     *(line or self.argv[len(GEVENTUWSGI):]))


class Terminal:
    """A program with its own terminal."""

    def __init__(self, directory, *argv, **env):
        self.output = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(directory)
            os.execve(argv[0], argv, {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm",
                                      **env})
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        try:
            while piece := os.read(self.fd, 65536):
                self.output += piece
        except OSError:  # EIO: the other side is closed
            pass

    @property
    def text(self):
        """The output of the program."""
        return self.output.decode(errors="replace").replace("\r\n", "\n")

    def wait_for(self, pattern):
        """Wait until the output matches; return the match."""
        return wait_until(lambda: re.search(pattern, self.text),
                          lambda: f"{pattern!r} in\n{self.text}")

    def type(self, text):
        """Press keys."""
        os.write(self.fd, text.encode())

    def wait(self):
        """Wait for the program; return its exit status."""
        _, status = wait_until(
            lambda: (found := os.waitpid(self.pid, os.WNOHANG))[0] and found, lambda: self.text)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self._thread.join(5)
        os.close(self.fd)


def change(path, text):
    """Write a file as editors do: rename a new one with another time to its name."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    before = path.stat().st_mtime if path.exists() else time.time()
    os.utime(new, (before - 100, before - 100))
    os.rename(new, path)


def wait_for_response(server, wanted, headers=""):
    """Wait until / is answered with this and old workers have ended; return the response."""
    found = wait_until(lambda: wanted in (response := server.get("/", headers)) and response,
                       lambda: f"{wanted!r} in {server.get()!r}\n{server.log}")
    wait_until(lambda: len(children(server.pid)) == 2,
               lambda: f"the end of the old processes\n{server.log}")
    return found


def wait_for_reload(server, reason):
    """Wait until the server is ready again after the last line that contains the reason."""
    server.wait_for(reason)

    def ready():
        lines = list(server.err)
        last = max(index for index, line in enumerate(lines) if reason in line)
        return [line for line in lines[last:] if "ready: 1 worker" in line]
    wait_until(ready, lambda: f"a reload for {reason}\n{server.log}")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("development")


@pytest.fixture(scope="module")
def server(directory):
    """A package with a file for production."""
    shop = directory / "shop"
    (shop / "templates" / "deep").mkdir(parents=True)
    (shop / "templates" / "deep" / "page.jinja2").write_text("old")
    (shop / "__init__.py").write_text(APP)
    (directory / "extra.env").write_text("a=1")
    ini = ("[uwsgi]\nmodule = shop:create_app()\nsocket = app.sock\nprocesses = 4\ncheaper = 2\n"
           "daemonize = server.log\npidfile = /nowhere/app.pid\nharakiri = 7\nuid = nobody\n"
           "disable-logging = true\ngevent = 10\nreload-extra-file = *.env\n")
    with Dev(directory, "app.ini", "--http-socket", "127.0.0.1:0", "--py-autoreload", "0.1",
             ini=ini) as server:
        yield server
        assert server.stop() == 0


def test_the_log_lists_ignored_options(server):
    server.wait_for("this is a development run, not for production")
    line = server.find("not used in a development run: ")[0]
    for name in ("processes (app.ini:4)", "cheaper (app.ini:5)", "daemonize (app.ini:6)",
                 "pidfile (app.ini:7)", "harakiri (app.ini:8)", "uid (app.ini:9)"):
        assert name in line
    server.wait_for("1 worker with 10 greenlets, standard library patched")
    assert [protocol for protocol, _ in server.listeners] == ["http"]
    assert server.body("/environment") == b"1"  # so that Flask shows its errors


def test_the_log_has_a_short_line_without_colours(server):
    assert server.body() == b"one"
    line = server.wait_for("GET / 200 3 B ")
    assert re.fullmatch(r"GET / 200 3 B [\d.]+ ms", line)


@pytest.mark.parametrize("path, words", [
    ("/raise", (b"KeyError: ", b"first ", b"ValueError: second ", b"/shop/__init__.py")),
    ("/text", (b"ResponseError: the body has a piece that is str, not bytes",))])
def test_an_exception_is_shown(server, path, words):
    plain, page = server.get(path), server.get(path, HTML)
    for response in (plain, page):
        head, _, body = response.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
        assert b"Cache-Control: no-store" in head
        assert all(word in body for word in words), body
        assert b"geventuwsgi/workers/wsgi" not in body and b"geventuwsgi/app" not in body
    assert b"Content-Type: text/plain" in plain and b"Content-Type: text/html" in page
    for code in (b"<script", b"</script>", b"first <b>"):
        assert code not in page
    assert b"(most recent call last)" in plain or path == "/text"
    # The URL is on the page, escaped.
    assert b"<i>" not in server.get(f"{path}?<i>", HTML)


def test_a_response_that_has_begun_is_aborted(server):
    head, _, body = server.get("/late", HTML).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK") and body == b"half"


@pytest.mark.parametrize("broken, words", [
    ("import <b>", b"SyntaxError"), ("raise SystemExit(7)", b"sys.exit"),
    ("", b"no attribute &#x27;create_app&#x27;")])
def test_an_error_is_shown_until_it_is_fixed(server, directory, broken, words):
    before = len(server.find("an error page is served instead"))
    change(directory / "shop" / "__init__.py", broken)
    page = wait_for_response(server, words, HTML)
    assert page.startswith(b"HTTP/1.1 500 ") and b"text/html" in page
    assert b"<b>" not in page and b"does not load" in page
    assert b"text/plain" in server.get()
    server.wait_for("an error page is served instead", before + 1)
    change(directory / "shop" / "__init__.py", APP)
    wait_for_response(server, b"\r\n\r\none")


def test_a_missing_module_that_is_created_later(server, directory):
    change(directory / "shop" / "__init__.py", "from .words import word\n" + APP.replace(
        'create_app(word="one")', "create_app(word=word)"))
    wait_for_response(server, b"No module named &#x27;shop.words&#x27;", HTML)
    (directory / "shop" / "words.py").write_text("word = 'two'")
    wait_for_response(server, b"\r\n\r\ntwo")
    change(directory / "shop" / "__init__.py", APP)
    wait_for_response(server, b"\r\n\r\none")


@pytest.mark.parametrize("name", ["shop/templates/deep/page.jinja2", "shop/templates/new.html",
                                  "another.env", "app.ini"])
def test_other_files_that_trigger_a_reload(server, directory, name):
    path = directory / name
    change(path, path.read_text() + "\n" if path.exists() else "new")
    wait_for_reload(server, f"module/file {name if '/' not in name else path} has been modified")
    assert server.body() == b"one"


def test_an_invalid_ini_file_changes_nothing(server, directory):
    text = (directory / "app.ini").read_text()
    before = len(server.find("reload failed: "))
    change(directory / "app.ini", text + "harakiri = soon\nthreads = many\n")
    assert "'soon' is not a number" in server.wait_for("reload failed: ", before + 1)
    assert server.body() == b"one"
    modified = len(server.find("module/file app.ini has been modified"))
    change(directory / "app.ini", text)
    server.wait_for("module/file app.ini has been modified", modified + 1)
    wait_for_reload(server, "module/file app.ini has been modified")


def test_an_upgrade_stays_a_development_run(server):
    first = server.workers()
    server.send_signal(signal.SIGUSR2)
    server.wait_for("this is a development run", 2)
    wait_until(lambda: not any(map(alive, first)), "the end of the old worker")
    assert b"ValueError" in server.get("/raise") and len(server.workers()) == 1


def test_an_application_that_is_broken_from_the_start(tmp_path):
    """The error is shown; a server that is not a development run ends."""
    (tmp_path / "shop.py").write_text("import nothing_of_this_name")
    with Program(*GEVENTUWSGI, "--bind", "127.0.0.1:0", "--reload", "shop:create_app()",
                 cwd=tmp_path) as program:
        assert program.wait() == 4
    with Dev(tmp_path, "--py-autoreload", "0.1", "shop:create_app('two')") as server:
        assert b"nothing_of_this_name" in server.get()
        change(tmp_path / "shop.py", APP)
        wait_for_response(server, b"\r\n\r\ntwo")
        assert server.stop() == 0


# The README's, and what is added to it: nothing of that exists on a developer's machine.
PRODUCTION = """[uwsgi]
chdir = /srv/no-shop
module = shop:create_app()
socket = /run/no-shop/app.sock
http-socket = 192.0.2.7:80
https-socket = :443,/etc/ssl/no-shop.crt,/etc/ssl/no-shop.key
shared-socket = 192.0.2.7:8080
http-stats-server = 192.0.2.7:9191
chmod-socket = 660
chown-socket = no-shop:no-shop
uid = no-shop
immediate-gid = no-shop
processes = 4
gevent = 100
harakiri = 60
vacuum = true
home = /srv/no-shop/venv
envdir = /etc/no-shop
safe-pidfile = /run/no-shop/app.pid
master-fifo = /run/no-shop/fifo
py-tracebacker = /run/no-shop/stacks
flock = /run/no-shop/lock
logto2 = /var/log/no-shop/app.log
req-logger = file:/var/log/no-shop/requests.log
exec-as-root = touch %dhook-ran
hook-post-fork = chdir:/srv/no-shop
attach-daemon = touch %ddaemon-ran
smart-attach-daemon = /run/no-shop/celery.pid touch %ddaemon-ran
wait-for-socket = 192.0.2.7:5432
wait-for-interface = no0
mount-check = /srv/no-shop
enable-proxy-protocol = true
limit-as = 1
cpu-affinity = 1000
subscribe2 = server=192.0.2.7:4040,key=shop.example
"""


def test_a_file_of_another_machine(tmp_path):
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "app.ini").write_text(PRODUCTION)
    with Dev(tmp_path, "app.ini", ini=PRODUCTION, env={"PORT": str(free_port())}) as server:
        assert server.get().endswith(b"\r\n\r\none")
        line, = server.find("not used in a development run: ")
        kept = ("module", "gevent", "chmod-socket", "vacuum")
        for name in re.findall(r"(?m)^[\w-]+(?= =)", PRODUCTION):
            assert (f"{name} (" in line) is (name not in kept), name
        assert server.stop() == 0
    assert not list(tmp_path.glob("*-ran"))


def test_no_dev(tmp_path):
    """Even with `python -m geventuwsgi`."""
    (tmp_path / "shop.py").write_text(APP)
    with Dev(tmp_path, "--no-dev", "--workers", "2", "shop:create_app()") as server:
        response = server.get("/raise", HTML)
        assert response.startswith(b"HTTP/1.1 500 ") and b"ValueError" not in response
        assert server.wait_for("GET /raise => generated")
        assert not server.find("development") and len(server.workers()) == 2
        assert server.stop() == 0


ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        #FAIL raise RuntimeError("no database")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        return
    if scope["path"] == "/raise":
        raise ValueError("an <error>")
    if scope["path"] in ("/hasty", "/500"):
        await send({"type": "http.response.start", "status": 500,
                    "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"five"})
        if scope["path"] == "/hasty":   # as in Starlette
            raise ValueError("after it")
        return
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"3")]})
    await send({"type": "http.response.body", "body": b"one"})
"""


def test_asgi(tmp_path):
    """The same with ASGI; a failing startup is shown like code that does not load."""
    path = tmp_path / "app.py"
    path.write_text("import (")
    with Dev(tmp_path, "--py-autoreload", "0.1", "--asgi", "app", "--lifespan", "on") as server:
        assert b"SyntaxError" in server.get()
        change(path, ASGI)
        wait_for_response(server, b"\r\n\r\none")
        assert server.wait_for("GET / 200 3 B ")
        page = server.get("/raise", HTML)
        assert page.startswith(b"HTTP/1.1 500 ") and b"ValueError: an &lt;error&gt;" in page
        assert b"ValueError: after it" in server.get("/hasty", HTML)
        assert server.body("/500") == b"five"
        assert b"text/plain" in server.get("/raise")
        assert server.wait_for("Error handling GET /raise")
        change(path, ASGI.replace("#FAIL", ""))
        wait_for_response(server, b"no database")
        change(path, ASGI.replace("one", "two"))
        wait_for_response(server, b"\r\n\r\ntwo")
        assert server.stop() == 0


def test_on_a_terminal(tmp_path):
    """Colours, a usable debugger, and Ctrl-C."""
    (tmp_path / "app.py").write_text(APP.replace('if path == "/raise"', """if path == "/debug":
            local = "found"
            breakpoint()
        if path == "/raise\"""") + "app = create_app()\n")
    shell = ("/bin/sh", "-c", '"$@"; echo "status $?"; stty -a', "sh")
    with Terminal(tmp_path, *shell, *DEV, "app", "--bind", "127.0.0.1:0",
                  NO_COLOR="") as terminal:
        port = int(terminal.wait_for(r"Listening at: http://127.0.0.1:(\d+)")[1])
        terminal.wait_for("ready: 1 worker")
        program = Server(tmp_path)
        program.err.append(f"Listening at: http://127.0.0.1:{port} (1)")
        assert program.body() == b"one"
        terminal.wait_for(r"GET / \x1b\[32m200\x1b\[0m 3 B [\d.]+ ms\n")
        assert b"ValueError" in program.get("/raise")
        terminal.wait_for(r"GET /raise \x1b\[31m500\x1b\[0m ")
        request = threading.Thread(target=program.get, args=("/debug",))
        request.start()
        terminal.wait_for(r"\(Pdb\) ")
        terminal.type("local\nc\n")
        terminal.wait_for("'found'")
        request.join()
        terminal.wait_for(r"GET /debug \x1b\[32m200")
        # A Ctrl-C of the terminal does not affect a worker whose debugger has continued.
        for pid in children(children(terminal.pid)[0]):
            os.kill(pid, signal.SIGINT)
        assert program.body() == b"one"
        with program.connect() as lost:
            lost.sendall(b"GET /debug HTTP/1.1\r\nHost: x\r\n\r\n")
            terminal.wait_for(r"(?s)GET /debug .*\(Pdb\) ")
            # At its prompt the debugger would handle Ctrl-C; the master kills that worker.
            os.kill(children(terminal.pid)[0], signal.SIGINT)
            terminal.wait_for("status 0\n")
            terminal.wait_for(r"\[INFO\] worker 1 .* is still busy after 2 seconds, killing it")
            assert "NO MERCY" not in terminal.text
            terminal.wait_for(r"[^-]echo ")
            assert terminal.wait() == 0


def test_no_color(tmp_path):
    (tmp_path / "app.py").write_text(APP + "app = create_app()\n")
    with Terminal(tmp_path, *GEVENTUWSGI, "--dev", "app", "--bind", "127.0.0.1:0",
                  NO_COLOR="1") as terminal:
        port = int(terminal.wait_for(r"Listening at: http://127.0.0.1:(\d+)")[1])
        program = Server(tmp_path)
        program.err.append(f"Listening at: http://127.0.0.1:{port} (1)")
        assert program.body() == b"one"
        terminal.wait_for(r"GET / 200 3 B [\d.]+ ms\n")
        terminal.type("\x03")
        assert terminal.wait() == 0
        assert "\x1b" not in terminal.text


def test_the_end_of_the_terminal_ends_it(tmp_path):
    """SIGHUP of the terminal ends the server; a reload would leave it running unseen."""
    (tmp_path / "app.py").write_text(APP + "app = create_app()\n")
    shell = ("/bin/sh", "-c", '"$@"; exit', "sh")
    with Terminal(tmp_path, *shell, *DEV, "app", "--bind", "127.0.0.1:0") as terminal:
        terminal.wait_for("ready: 1 worker")
        pid = int(terminal.wait_for(r"Listening at: http://\S+ \((\d+)\)")[1])
        os.kill(terminal.pid, signal.SIGKILL)  # the terminal closes with the leader of its session
        assert terminal.wait() == -signal.SIGKILL
        wait_until(lambda: not alive(pid), "the end of the server", 20)
