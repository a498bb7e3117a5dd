"""Directives, and other options of the INI dialect."""

import http.server
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from geventuwsgi.boot.process_setup import environ_of
from geventuwsgi.cli import main
from geventuwsgi.config.commands.show import shown
from geventuwsgi.config.load.arguments import read as settings_of
from geventuwsgi.config.settings import Settings
from geventuwsgi.config.sources import directives, ini
from geventuwsgi.config.sources.lines import Reading
from geventuwsgi.config.values.origin import Origin
from geventuwsgi.errors import BindError, ConfigError, ConfigurationEnd
from geventuwsgi.master.posix_spawn import interpreter
from tests.config.conftest import Resolve

Write = Callable[..., str]


def read(path: str, **environ: str) -> Reading:
    reading = Reading(environ)
    reading.load(path, Origin("argv", option="ini"))
    reading.finish()
    return reading


def texts(reading: Reading, key: str) -> list[str | None]:
    return [entry.text for entry in reading.ordered() if entry.key == key]


@pytest.mark.parametrize(("text", "key", "expected"), [
    # The output of uWSGI for `<name> = print=<$1|$2|$10>` with various words.
    ("declare-option = x=y=<$1|$2|$10|$0\nx = a b\n", "y", ["<a|b|a0|$0"]),
    ("declare-option2 = x=y=<$1|$2>\nx = a\tb  c\nx\n", "y", ["<a\tb|c>", "<|$2>"]),
    ("declare-option = x = y = $1 ; z = 2\nx = $(A)\n", "y", ["1"]),
    ("declare-option = x=y=$1;z=$1\nx = %(w)\nw = 5\n", "z", ["5"]),
    ("x = 1\ndeclare-option = x=y=$1\nx = 2\n", "y", ["1", "2"]),
    ("declare-option = x=y=$1;y\ndeclare-option = y=z=$1!\nx = 1\n", "z", ["1!", "!"]),
])
def test_declared_options(write: Write, text: str, key: str, expected: list[str]) -> None:
    assert texts(read(write(text), A="1"), key) == expected


def test_a_declared_option_sets_others(resolve: Resolve) -> None:
    settings = resolve("strict = true\ndeclare-option = size=processes=$1;harakiri=$2\n"
                       "size = 3 7\ndeclare-option = module=processes=9\nmodule = a\n")
    assert (settings.processes, settings.harakiri, settings.module) == (3, 7, "a")
    assert "module is already an option" in settings.warnings[0]
    with pytest.raises(ConfigError, match=r"app.ini:3: size .processes.: 'x' is not"):
        resolve("declare-option = size=processes=$1\nsize = x\n")


@pytest.mark.parametrize(("text", "message"), [
    ("declare-option = x\n", "2: declare-option: 'x' is not of the form NAME=OPTION=VALUE"),
    ("declare-option = x=x=1\nx = 2\n", "3: x .x.: x contains itself"),
    ("declare-option = x=ini=$1\nx = 2\n", "3: x: ini acts while the file is read"),
    ("blacklist = a harakiri\nif-env = A\nset = harakiri=1\n", "4: set: the blacklist forbids it"),
    ("whitelist = b  a\na = 1\nc = 1\n", "4: c: the whitelist only allows a, b here"),
    ("whitelist =\nstrict = true\n", "3: strict: the whitelist only allows nothing here"),
    ("early-envdir = /nowhere\n", "2: early-envdir: cannot read /nowhere: No such file"),
    ("resolve = ip=db..invalid\n", "2: resolve: 'db..invalid' is not a host name"),
    ("resolve = processes=localhost\n", "2: resolve: processes is an option, not a placeholder"),
    ("resolve = localhost\n", "2: resolve: 'localhost' is not of the form NAME=VALUE"),
    ("ini = @(/nowhere)\n", "2: ini: cannot read /nowhere: No such file"),
    ("exit = 256\n", "2: exit: '256': must be at most 255"),
    ("x = 1\0\n", "2: 'x = 1.x00' contains NUL"),
])
def test_wrong_lines(write: Write, text: str, message: str) -> None:
    path = write(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read(path, A="1").ordered()
    assert str(caught.value).startswith(path + ":")


def test_lists_end(write: Write) -> None:
    text = ("blacklist = a\nb = 1\nend-blacklist =\na = 2\nwhitelist = c end-blacklist\nc = 3\n"
            "end-whitelist\nd = 4\n")
    assert [entry.key for entry in read(write(text)).entries if len(entry.key) == 1] == list("bacd")


@pytest.mark.parametrize(("text", "status"), [
    ("exit\n", 0), ("exit = true\n", 0), ("if-not-env = A\nexit = 3\nendif =\n", 3)])
def test_exit(write: Write, text: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    path = write("x = 1\n" + text + "harakiri = x\n")
    with pytest.raises(ConfigurationEnd):
        read(path)
    assert main(["-c", path]) == status
    assert capsys.readouterr().err == (
        f"geventuwsgi: {path}:{text.count(chr(10)) // 3 + 3}: exit: the configuration ends the "
        f"start here, with status {status}\n")


def test_variables_of_directories(tmp_path: Path, write: Write) -> None:
    early, late = tmp_path / "early", tmp_path / "late"
    for path, name, text in ((early, "A", "a\n"), (early, "B", "b"), (early, "C", ""),
                             (late, "B", "two\nlines\n\n"), (late, "D", ""), (late, ".x", "y")):
        path.mkdir(exist_ok=True)
        (path / name).write_text(text)
    (late / "N").write_bytes(b"n\0m\xff\n")
    (late / "sub").mkdir()
    file = write(f"early-envdir = {early}\nenvdir = $(LATE)\nenv = A=env\nenv = D=env\n"
                 f"print = $(A)\n")
    settings, _ = settings_of(["-c", file], {"LATE": str(late), "C": "c"})
    assert settings is not None and settings.print == ("a",)
    environ = environ_of(Settings.from_json(settings.to_json()))
    assert {name: environ.get(name) for name in ("A", "B", "C", "D", "N", ".x", "sub")} == {
        "A": "env", "B": "two\nlines", "C": None, "D": None, "N": "n", ".x": None, "sub": None}
    (late / "x=y").touch()
    with pytest.raises(ConfigError, match=rf"{file}:3: envdir: {late}/x=y: the name of a variable"):
        settings_of(["-c", file], {"LATE": str(late)})
    with pytest.raises(ValueError, match="cannot read /nowhere: No such file"):
        directives.variables("/nowhere")


def test_a_file_of_variables(tmp_path: Path, write: Write) -> None:
    (tmp_path / ".env").write_text("# comment\n\nA=1\nexport B=2\nGONE\n")
    settings, _ = settings_of(["-c", write("for-readline = %d.env\nenv = %(_)\nendfor =\n")], {})
    assert settings is not None and settings.env == ("", "", "A=1", "B=2", "GONE")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GONE", "x")
        environ = environ_of(settings)
    assert (environ["A"], environ["B"]) == ("1", "2") and not {"GONE", ""} & set(environ)


DOTENV = r"""# comment
A=1

  export B = two words # comment
SINGLE='si#ngle ${A} \n \'quoted\'' # comment
DOUBLE="dou\"ble ${A}\n\tx\\"
NAMED=${A}-${NOPE:-default}-${NOPE}-${GIVEN}
EMPTY=
HASH=x#y
PEM="-----BEGIN KEY-----
MII=
-----END KEY-----"
DOLLAR=$A
with.dots=ok
A=again
GIVEN=file"""


def test_an_env_file(tmp_path: Path, resolve: Resolve, monkeypatch: pytest.MonkeyPatch) -> None:
    """As python-dotenv reads it, with the difference that single quotes are literal."""
    (tmp_path / ".env").write_text(DOTENV)
    (tmp_path / "two").write_bytes(b"\xef\xbb\xbfTWO=${A}\r\nB=\xff\r\n")
    monkeypatch.setenv("GIVEN", "environment")
    settings = resolve(None, "a:b", f"--env-file={tmp_path}/.env", "--env-file", f"{tmp_path}/two",
                       "--env=EMPTY=env", environ=dict(os.environ))
    environ = environ_of(Settings.from_json(settings.to_json()))
    assert {name: text for name, text in environ.items() if name not in os.environ} == {
        "A": "again", "B": "\udcff", "SINGLE": r"si#ngle ${A} \n 'quoted'",
        "DOUBLE": 'dou"ble 1\n\tx\\', "NAMED": "1-default--environment", "EMPTY": "env",
        "HASH": "x#y", "PEM": "-----BEGIN KEY-----\nMII=\n-----END KEY-----", "DOLLAR": "$A",
        "with.dots": "ok", "TWO": "again"}
    assert environ["GIVEN"] == "environment" and "A" not in shown(settings)


@pytest.mark.parametrize(("text", "number"), [
    ("A='x\n", 1), ("# c\n\n A B\n", 3), ("=x\n", 1), ('A="x" y\n', 1), ("A=1\nNAME\n", 2),
    ("A=\0\n", 1)])
def test_a_wrong_env_file(tmp_path: Path, resolve: Resolve, text: str, number: int) -> None:
    (tmp_path / ".env").write_text(text)
    for name, message in ((".env", f".env:{number}: not of the form NAME=VALUE"),
                          ("none", "none: No such file")):
        with pytest.raises(ConfigError, match=f"app.ini:3: env-file: .*{message}"):
            resolve(f"[geventuwsgi]\nmodule = a\nenv-file = {tmp_path}/{name}\n")


def test_variables_of_a_log_line_are_not_options(resolve: Resolve) -> None:
    arguments = ("app:app", "--pid", "x.pid", "--user=0", "--log-format", "%(pid) %(user) %(vars)")
    assert resolve(None, *arguments).log_format == "%(pid) %(user) %(vars)"
    settings = resolve("pid = 7\nlog-format = %(pid) %(user) %(processes)\nprocesses = 2\n")
    assert settings.log_format == "7 %(user) 2"


def test_an_address_is_a_placeholder(write: Write) -> None:
    assert texts(read(write("resolve = ip=localhost\nx = %(ip):80\n")), "x") == ["127.0.0.1:80"]


def test_optimized_python(resolve: Resolve) -> None:
    assert resolve("").optimize is None and resolve("optimize = 2\n").optimize == 2
    assert interpreter("pass", 2).count("-O") == 2 and "-O" not in interpreter("pass", 0)


def test_refused(resolve: Resolve) -> None:
    with pytest.raises(ConfigError, match="app.ini:2: inject-before: write include = FILE where"):
        resolve("inject-before = x\n")


def test_fallback_config(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    second = write("module = second\nhttp-socket = :0\n", "second.ini")
    run: list[str] = []

    def serve(settings: Settings, *_: object) -> int:
        run.append(settings.module)
        if settings.module == "first":
            raise BindError("in use")
        return 0
    for text in ("harakiri = x\n", "module = first\nhttp-socket = :0\n"):
        first = write(f"fallback-config = {second}\n{text}")
        assert main([first], run=serve) == 0
        assert f"geventuwsgi: fallback-config: {second} is read instead\n" \
            in capsys.readouterr().err
    assert run == ["second", "first", "second"]
    itself = write("fallback-config = %p\nharakiri = x\n", "second.ini")
    assert main([itself], run=serve) == 1
    assert capsys.readouterr().err.count("is read instead") == 1


def test_get(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write("a = %n\na = 2\nget = a\n")
    assert main(["-c", path, "--get", "a"]) == 0 and capsys.readouterr().out == "app\n"
    assert main(["-c", path, "--get=b"]) == 1 and capsys.readouterr().out == ""
    assert main(["--dump-options"]) == 0
    assert {"ini", "config", "http-socket", "if-env"} <= set(capsys.readouterr().out.split())


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/app.ini" else 404)
        self.end_headers()
        self.wfile.write(b"[uwsgi]\na = %o\n")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def site() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_configurations_over_http() -> None:
    with site() as url:
        assert texts(read(f"{url}/app.ini"), "a") == [f"{url}/app.ini"]
        with pytest.raises(ConfigError, match="the response is 404 Not Found"):
            ini.content(f"{url}/none")


def test_a_command_that_fails_is_a_warning(write: Write) -> None:
    reading = read(write("x = @(exec://echo out; exit 3)\n"))
    assert texts(reading, "x") == ["out"]
    assert "exec://echo out; exit 3 ended with status 3" in reading.warnings[0]
    with pytest.raises(ConfigError, match="ended with status 3"):
        read(write("[geventuwsgi]\nx = @(exec://exit 3)\n"))


@pytest.mark.parametrize(("text", "warning"), [
    ("x = %(y)\ny = %(z)\nz = 1\n", "2: x: uWSGI leaves %(z) unchanged here"),
    ("x = $(REF)\n", "2: x: uWSGI leaves $(A) unchanged here"),
    ("set-ph = x=$(A)\n", "2: set-ph: x=$(A) is read as x=1; uWSGI replaces no references here"),
    ("set-ph = x=%(y)\ny = 1\n", "2: set-ph: x = %(y) is read as 1; uWSGI replaces no"),
    ("for-glob = /nowhere/*\nx = 1\nend\n", "2: for-glob: no file matches /nowhere/*"),
    ("for-times = 1 times\nx = %(_)\nend\n", "2: for-times: '1 times' is read as 1"),
    ("for-times = 1 ; one\nx = %(_)\nend\n", "2: for-times: the inline comment '; one' is cut off"),
    ("if-exists = /etc # is\nx = 1\nend\n", "2: if-exists: the inline comment '# is' is cut off"),
    ("for-times = $(A)\nx = %(_)\nend\n", "2: for-times: $(A) is read as 1; uWSGI replaces"),
    ("if-dir = $(DIR)\nx = 1\nend\n", "2: if-dir: $(DIR) is read as /; uWSGI replaces"),
    ("if-env = A = 1\nx = 1\nend\n", "2: if-env: the blanks around '=' in 'A = 1' are cut"),
    ("for-readline = /nowhere\nx = 1\nend\n", "2: for-readline: cannot read /nowhere"),
    ("if-env = A\nx = 1\n", "2: if-env: it has no end: all lines after it belong to it"),
    ("if-env = NONE\nfor = a b\nx = 2\nend =\nx = 1\nend\n", "3: for: blocks do not nest: this"),
])
def test_departures_from_uwsgi_are_warnings(write: Write, text: str, warning: str) -> None:
    reading = read(write(text), A="1", REF="$(A)", DIR="/")
    assert len(reading.warnings) == 1 and warning in reading.warnings[0]
    assert texts(reading, "x") == ([] if "nowhere" in text else ["1"])
