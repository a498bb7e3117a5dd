"""The same configurations read by real uWSGI: equal, except for the differences listed here.

A run of uWSGI takes some 15 ms. It prints the texts of its configuration, not their values, so
values are only compared for two options that appear in its startup log.
"""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from geventuwsgi.config.load.arguments import read
from geventuwsgi.config.options.option import Entry
from geventuwsgi.config.options.table import row
from geventuwsgi.config.sources.argv import parse
from geventuwsgi.config.sources.lines import Reading
from geventuwsgi.config.values.numbers import Number
from geventuwsgi.config.values.origin import CastContext, Origin
from geventuwsgi.config.values.types import Boolean
from geventuwsgi.errors import ConfigError
from tests.harness import reference_uwsgi

ENVIRON = {"SITE": "shop", "EMPTY": "", "WORKERS": "3", "PATH": "/usr/bin:/bin", "REF": "$(SITE)",
           "FROM": "@(words)"}
Pairs = list[tuple[str, str]]
_FLAGS = ("show-config", "no-server")
# It ends uWSGI after its configuration, before sockets and applications.
_END = ("--uid", "a-user-that-nobody-is")

SAME = [
    # Lexing
    "a = 1\n  b=2\t\n;c\n#d\ne = f ; g\nh\ni =\nj = k = l\nm = \"n \"\n",
    "\ta\t=\t1\t\r\nb : 2\r\nc: 3\n//d = 4\n  ; e\n\n\n",
    "a = 1\rb = 2\rc = 3",
    "a = 1\\\n  b\n    c = 2\n",
    "a = caf\xe9 \u20ac\n",
    "a = 1\n[other]\nb = 2\n[uwsgi]\nc = 3\n[other]\nd = 4\n",
    "x = 0\n [uwsgi] \t\na = 1\n",
    "A = 1\na = 2\nchmod_socket = 666\nmax_requests = 5\n%(_) = 3\n",
    "a = 'b'\nb = \"c\" ; d\nc = # e\nd = [uwsgi]\n= \t= x\n".replace("= \t= x\n", ""),
    # Magic variables
    "a = %n|%s|%e|%p|%d|%c|%o|%0|%1|%x|%j|%%|%y|%u|%U|%i\n",
    "date = %%Y-%%m-%%d %Y-%m-%d %H:%M\na = 50% x\nb = %%%d\nc = %%%%(x)\n",
    "; %d\n%n = %n\na = %[1m%[0m\nb = %N%S%E%D%C%X%O%P%I\n",
    "[%n]\na = 1\n[uwsgi]\nb = 2\n",
    # References
    "base = /srv/%(name)\nname = $(SITE)\nchdir = %(base)/current\nx = $(NONE) %(none) $(EMPTY)|\n",
    "a = x%(b)\nb = y%(c)\nc = z\nd = %(a)%(a)\n",
    "a = %(b)\nb = $(SITE)\nc = $(NO$(SITE))\nd = %((e))\n",
    "a = $$(SITE)\nb = $SITE ${SITE}\nc = $(SITE)$(SITE)$(NONE)$(SITE)\nd = $(FROM)|\n",
    "a = %(\nb = %()\nc = $(\nd = $()\ne = @(\nf = @()\ng = %(b\nh = %)(\n",
    "a = %($(SITE))\nshop = 5\nb = $(%(c))\nc = SITE\n",
    "a = @(words)@(words)\nb = x@(exec://echo $((6 * 7)))y\nc = @(crlf)|\nd = @(exec://false)|\n",
    "a = first\na = second\nb = %(a)\n",
    "a = %(master)|\nb = %(harakiri)\nmaster\nharakiri =\nprocesses = 4\nc = %(processes * 2)\n",
    "x = %(%k * 2)\ny = %(x + 1 - 4)\nz = %(x 7)\nv = %(x / 0)|%(9 / 2)|%(none + 2)\n",
    "b = 3\nc = x\na = %(b ++)%(b --)|%(b - -2)|%( b )|%(b c)|%(2 c)|%(b+2)|%(c + b * b)\n",
    "b = 3x\nc = -7\na = %(b + c)|%(c / 2)|%(c * c)|%(2147483647 + 1)|%(1024 * 1024 * 1024 * 4)\n",
    # Conditions
    "if-env = SITE\nx = %(_)\nendif =\nif-env = EMPTY\ny = <%(_)>\nendif =\n"
    "if-not-env = NONE\nz = <%(_)>\nendif =\nif-env = SITE=other\nw = 1\nend =\nv = 2\n",
    "if-not-env = SITE=other\na = <%(_)>\nend\nif-env = SITE=\nb = 1\nend\n"
    "if-env = EMPTY=\nc = 1\n",
    "if-env = SITE=shop\na = <%(_)%(_)>\nb\nc =\nend-if\nif-env =\nd = 1\nend\n"
    "if-env\ne = 1\nend\n",
    "o = 1\no = 2\nif-opt = o=2\na = 1\nend\nif-opt = o=1\nb = <%(_)>\nend\nif-not-opt = o=2\n"
    "c = <%(_)>\nend\nif-not-opt = p\nd = <%(_)>\np = 1\ne = 1\nend\nif-opt = p\nf = %(_)\nend\n",
    "o\nif-opt = o\na = <%(_)>\nend\nif-opt = o=true\nb = 1\nend\nif-opt = o=\nc = 1\nend\n",
    "o = $(SITE)\nif-opt = o=shop\na = 1\nend\nset-ph = p=1\nif-opt = p=1\nb = 1\nend\n",
    "if-exists = /etc/passwd\nx = %(_)\nendif =\nif-dir = /nowhere\ny = 1\nendif =\n"
    "if-file = /etc\nz = 1\nendif =\nif-opt = a=1\nv = 1\nendif =\na = 1\n",
    "if-file = words\na = <%(_)>\nend\nif-not-file = none\nb = <%(_)>\nend\nif-not-file = /tmp\n"
    "c = 1\nend\nif-directory = /tmp\nd = <%(_)>\nend\nifdir = /\ne = <%(_)>\nend\n"
    "ifexists = /tmp\nf = 1\nend\nif-not-exists = /none\ng = <%(_)>\nend\nifenv = SITE\nh = 1\n",
    "if-plugin = python\na = <%(_)>\nend\nif-not-plugin = php\nb = <%(_)>\nend\n"
    "ifplugin = gevent\nc = 1\nend\nif-plugin = http\nd = 1\nend\n",
    "if-hostname = %h\na = <%(_)>\nend\nif-not-hostname = x\nb = <%(_)>\nend\n"
    "if-reload = 0\nc = 1\nend\nif-not-reload = false\nd = <%(_)>\nend\n"
    "if-not-reload\ne = 1\nend\n",
    "if-env = SITE\na = 1\nelse =\nb = 1\nendif\nendif\nend =\nc = 1\n",
    "if-env = NONE\na = 1\nfor = x y\nb = %(_)\nend =\nc = 1\n",
    "if-env = NONE\na = 1\n[more]\nb = 1\n[uwsgi]\nc = 1\n",
    # Loops
    "for = a b c\nx = %(_)/%n\ny = 1\nendfor =\nfor-times = 2\nz = %(_)\nend-for =\n",
    "for = a b\nx = %(_)%(_)\ny\nz =\n%(_) = 1\nendfor\nfor =\nw = 1\nendif\n",
    "b = 1 2\nfor = %(b)\nx = %(_)\nendfor\nfor = $(SITE) d\ny = %(_)\nend\n",
    "for = inner\nini = %(_).ini\nendfor\nfor = a\nset-placeholder = %(_)=1\nb = %(a)\nend\n",
    "for = inner parent\nini = %(_).ini\nset = %(_)=%(_)\nq = %(_)\nendfor =\nr = %(_)\n",
    "if-env = SITE\nini = loop.ini\nset-ph = b=%(_)\nendif =\n",
    "for-times = 0\nx = 1\nend\nfor-times = 3x\ny = %(_)\nend\n",
    "for-readline = lines\nx = %(_)|\nend\nfor-readline = none\ny = 1\nend\n",
    "for-glob = %din*r.ini\nx = %(_)\nend\n",
    # Includes
    "ini = %dinner.ini\na = %(inner)\n",
    "ini = inner.ini\na = %n\nini = inner.ini:sec\ninclude = inner.ini\nb = %n%N%x\n",
    "ini = :more\na = 1\n[more]\nb = %x %X\n",
    "ini = inner.ini\nini = :sec\n[sec]\nmine = 1\n",
    "ini = inner.ini:none\na = 1\n",
    "ini = open.ini\na = 1\n",
    "inherit = parent.ini\na = 1\nb = %(a)\nini = inner.ini\nc = 2\n",
    "ini = heir.ini\na = 1\n",
    # Placeholders and options that are declared, lists of options
    "set = a=1\nset-placeholder = b=2\nset-ph = c=3\nd = %(b)%(c)\nset = processes=4\n",
    "set = a=$(SITE)\nset = a=2=3\nset-ph = b=\nb = 2\nc = <%(a)%(b)>\n",
    "strict = false\na = 1\nstrict = true\nstrict = no\n",
    "declare-option = foo=processes=$1;a=x$1\nfoo = 4\ndeclare-option2 = bar=b=$2\nbar = 4 5\n",
    "blacklist = php harakiri\na = 1\nend-blacklist\nharakiri = 3\nwhitelist = b end-whitelist\n"
    "b = 1\nend-whitelist\nc = 3\n",
    "resolve = ip=localhost\na = %(ip):80\n",
    "early-envdir = vars\na = $(OF_A_FILE)|$(SITE)\n",
    # Typical lines of real files
    "procname-prefix-spaced = $(SITE)\nlog-format = %(addr) %(method)\ngevent = $(WORKERS)\n",
    "project = %n\nbase = /srv/%(project)\nchdir = %(base)\nhome = %(base)/env\n"
    "module = %(project).wsgi:application\nsocket = %d%(project).sock\n"
    "env = DJANGO_SETTINGS_MODULE=%(project).settings\npidfile = %n.pid\n",
    "[uwsgi]\nif-env = PORT\nhttp-socket = :$(PORT)\nendif =\nif-not-env = PORT\n"
    "http-socket = 127.0.0.1:0\nendif =\nprocesses = $(WORKERS)\ncheaper = %(processes - 1)\n",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with all the files that the configurations name."""
    path = tmp_path_factory.mktemp("place")
    for name, text in (
            ("words", "one two\n"), ("crlf", "c\r\n"), ("lines", "l1\n\nl2\nl3"),
            ("inner.ini", "[uwsgi]\ninner = %n %N %x\n[sec]\nsecret = %x %X %N\n"),
            ("parent.ini", "[uwsgi]\nparent = %n %N\na = parent\n"),
            ("heir.ini", "[uwsgi]\ninherit = parent.ini\nheir = %(a)\n"),
            ("loop.ini", "[uwsgi]\nx = %(_)\n"),
            ("nest.ini", "[uwsgi]\nif-env = SITE\na = %(_)\n"),
            ("late.ini", "[uwsgi]\na = %(b)\n"), ("open.ini", "[uwsgi]\nif-env = NONE\nq = 1\n"),
            ("two.ini", "[uwsgi]\nprocesses = 3\nx = %n %N\n")):
        (path / name).write_text(text, newline="")
    (path / "vars").mkdir()
    (path / "vars" / "OF_A_FILE").write_text("value\n\n")
    (path / "vars" / "SITE").touch()
    return path


def ours(*arguments: str, environ: dict[str, str] = ENVIRON) -> Pairs:
    reading = Reading(environ)
    for entry in parse(arguments):
        assert isinstance(entry, Entry)
        reading.add(entry.key, entry.text, entry.origin)
    reading.finish()
    return [(entry.key, entry.text or "") for entry in reading.entries]


def output(place: Path, *arguments: str, environ: dict[str, str] = ENVIRON) -> str:
    result = subprocess.run([reference_uwsgi(), *(f"--{flag}" for flag in _FLAGS), *arguments],
                            env=environ, cwd=place, capture_output=True, timeout=60)
    text = (result.stdout + result.stderr).decode("utf-8", "surrogateescape")
    return text if result.returncode == 0 else f"exit {result.returncode}: {text}"


def theirs(place: Path, *arguments: str, environ: dict[str, str] = ENVIRON) -> Pairs:
    """Return the configuration that uWSGI prints, without the options of this test."""
    text = output(place, *arguments, *_END, environ=environ)
    if ";uWSGI instance configuration\n" not in text:
        raise ConfigError(text)
    shown = text.split(";uWSGI instance configuration\n[uwsgi]\n")[1]
    lines = shown.split("\n;end of configuration")[0].split("\n")
    pairs = [(key.strip(" "), value.strip(" ")) for key, _, value in
             (line.partition(" = ") for line in lines)]
    for flag in _FLAGS:
        pairs.remove((flag, "true"))
    return [pair for pair in pairs if pair != ("uid", _END[1])]


def written(place: Path, text: str) -> str:
    text = text if text.lstrip("\ufeff \t").startswith("[") else "[uwsgi]\n" + text
    (place / "app.ini").write_text(text, "utf-8", newline="")
    return "app.ini"


@pytest.mark.parametrize("text", SAME)
def test_resolved_options(place: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(place)
    path = written(place, text)
    assert ours("--ini", path) == theirs(place, "--ini", path)


# Whole files of the corpus; the responses of the servers are compared elsewhere.
SITES = Path(__file__).parents[1] / "corpus" / "sites"
WHOLE = sorted(str(path.relative_to(SITES)) for path in SITES.rglob("*.ini"))
# Lines that would redirect uWSGI's output, or run something.
_ACTS = re.compile(r"^\s*(daemonize|log|req-log|hook-|exec-|smart-|attach-|emperor|show-config).*",
                   re.MULTILINE)
_ROOTS = re.compile(r"(?<![\w.)])/(srv|etc/uwsgi|run|var)/")


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the corpus whose absolute paths refer to the copy."""
    path = tmp_path_factory.mktemp("corpus") / "sites"
    shutil.copytree(SITES, path, symlinks=True)
    for file in path.rglob("*.ini"):
        text = file.read_bytes().decode("utf-8", "surrogateescape")
        text = _ROOTS.sub(lambda match: f"{path}/{match[1]}/", _ACTS.sub("", text))
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
    (path / "srv" / "data").mkdir(exist_ok=True)
    (path / "srv" / "data" / "release").write_text("7\n")
    return path


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files(sites: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = sites / name
    monkeypatch.chdir(path.parent)
    text = path.read_text("utf-8", "surrogateescape")
    sections = re.findall(r"^\[([^]:]+)\]", text, re.MULTILINE)
    for section in sections:
        spec = path.name if section == "uwsgi" else f"{path.name}:{section}"
        # ini-paste adds a line here, and none in uWSGI.
        found = [pair for pair in ours("--ini", spec) if pair[0] not in ("paste", "paste-logger")]
        there = theirs(path.parent, "--ini", spec)
        assert found == [pair for pair in there if pair[0] not in ("paste", "paste-logger")]


_MEANT = "what was plainly meant, with a warning"
_EARLY = "an error that uWSGI hides, reported with file and line"
# The texts of `a`, or after ! a part of the message: ours, uWSGI's, and why they differ.
DIFFERENT: list[tuple[str, list[str] | str, list[str] | str, str]] = [
    ("\ufeff[uwsgi]\na = 1\n", ["1"], [], "an editor's byte order mark is not part of the header"),
    ("[uwsgi] ; text\na = 1\n", ["1"], [], "the header ends at its bracket"),
    ("[uwsgi\na = 1\n", ["1"], [], "the header ends with its line at the latest"),
    ("[ uwsgi ]\na = 1\n", "! its sections: [ uwsgi ]", [], _EARLY),
    ("= 1\na = 1\n", "! app.ini:2: '= 1' has no name before '='", ["1"], _EARLY),
    ("a = 1\0\n", "! app.ini:2: 'a = 1\\x00' contains NUL", ["1"], _EARLY),
    ("a = 50%\nb = 1\n", ["50%"], ["50b = 1"], "uWSGI joins the line with the next one"),
    ("# 100%\na = 1\n", ["1"], [], "uWSGI joins the comment with the next line"),
    ("a = %(b)\nb = %(c)\nc = 1\n", ["1"], ["%(c)"], _MEANT),
    ("a = $(REF)\n", ["shop"], ["$(SITE)"], _MEANT),
    ("a = %(a)\n", "! app.ini:2: a: %(a) refers to itself", ["%(a)"], _EARLY),
    ("a = @(none)\n", "! app.ini:2: a: cannot read none: No such file", "! open(\"none\"): No such",
     "the message names the place"),
    ("a = @(fd://99999)\n", "! app.ini:2: a: cannot read fd://99999: Bad file", [""], _EARLY),
    ("a = @(sym://main)\n", "! app.ini:2: a: sym:// is not supported", "! unable to find symbol",
     "nothing is linked into Python"),
    ("a = @(http://127.0.0.1:1/)\n", "! cannot read http://127.0.0.1:1/: Connection refused",
     "! uwsgi_scheme_http()/connect()", "the message names the place"),
    ("if-env = SITE = shop\na = 1\nend\n", ["1"], [], _MEANT),
    ("if-exists = /etc ; etc\na = 1\nend\n", ["1"], [], _MEANT),
    ("if-plugin = python3\na = 1\nend\n", ["1"], [], "a distribution's name of what is built in"),
    ("if-hostname-match = .\na = 1\nend\n", ["1"], [], "the wheel of uWSGI has no PCRE"),
    ("if-not-directory = /none\na = %(_)\nend\n", ["/none"], ["%(_)"], "as if-not-dir"),
    ("if-env = SITE\nif-env = NONE\na = 1\n", "! app.ini:3: if-env: blocks do not nest",
     "! recursive logic in options is not supported", "the message names the place"),
    ("for = nest\nini = %(_).ini\nend\n", ["shop"], "! recursive logic in options",
     "an included file has blocks of its own"),
    ("for = b\tc d\na = %(_)\nend\n", ["b", "c", "d"], ["b\tc", "d"], "a word ends at a tab too"),
    ("for-glob = /none/*\na = %(_)\nend\n", [], ["/none/*"], _MEANT),
    ("for-times = many\na = %(_)\nend\n", "! app.ini:2: for-times: 'many' is not a number", [],
     _EARLY),
    ("for-readline = exec://echo x\na = %(_)\nend\n", ["x"], [], "all contents may come from all"),
    ("ini = none.ini\n", "! app.ini:2: ini: cannot read none.ini: No such file",
     "! realpath() of none.ini failed", "the message names the place"),
    ("ini = $(SITE)/../inner.ini\n", "! app.ini:2: ini: cannot read shop/../inner.ini",
     "! realpath() of $(SITE)/../inner.ini failed", _MEANT),
    ("ini = inner.ini ; more\na = 1\n", ["1"], "! realpath() of inner.ini ; more failed", _MEANT),
    ("include = inner.ini:sec\na = 1\n", ["1"], "! unable to load configuration from inner.ini:sec",
     "a section may be named wherever a file is"),
    ("inherit = late.ini\nb = 1\n", ["1"], ["%(b)"], _MEANT),
    ("config = inner.ini\na = 1\n", ["1"], "! unable to load configuration from inner.ini",
     "config is include"),
    ("ini = /tmp\na = 1\n", "! app.ini:2: ini: cannot read /tmp: Is a directory", ["1"], _EARLY),
    ("ini = app.ini\n", "! app.ini:2: ini: app.ini includes itself", "!",
     "uWSGI does not end, or ends in a crash"),
    ("inherit = :more\n[more]\na = 1\n", ["1"], "! unable to load configuration from :more",
     _MEANT),
    ("set-ph = a = 1\n", ["1"], ["1"], "uWSGI's name ends in a blank"),
    ("set-ph = a=$(SITE)\n", ["shop"], ["$(SITE)"], _MEANT),
    ("set = a\n", "! app.ini:2: set: 'a' is not of the form NAME=VALUE",
     "! invalid placeholder/--set value", "the message names the place"),
    ("declare-option = foo\n", "! app.ini:2: declare-option: 'foo' is not of the form",
     "! invalid foo syntax", "the message names the place"),
    ("blacklist = a\na = 1\n", "! app.ini:3: a: the blacklist forbids it here",
     "! forbidden option \"a\" (by blacklist)", "the message names the place"),
    ("whitelist = b\na = 1\n", "! app.ini:3: a: the whitelist only allows b here",
     "! forbidden option \"a\" (by whitelist)", "the message names the place"),
    ("exit = 3\n", "! app.ini:2: exit: the configuration ends the start here, with status 3",
     "! exit 3: ", "the message names the place"),
]


@pytest.mark.parametrize(("text", "here", "there", "reason"), DIFFERENT)
def test_differences(place: Path, monkeypatch: pytest.MonkeyPatch, text: str,
                     here: list[str] | str, there: list[str] | str, reason: str) -> None:
    monkeypatch.chdir(place)
    path = written(place, text)
    assert_is(here, lambda: ours("--ini", path))
    if there != "!":
        assert_is(there, lambda: theirs(place, "--ini", path))


def assert_is(expected: list[str] | str, read: Callable[[], Pairs]) -> None:
    try:
        found = [value for key, value in read() if key == "a"]
    except ConfigError as error:
        assert isinstance(expected, str) and expected[2:] in str(error), str(error)
    else:
        assert found == expected


@pytest.mark.parametrize("arguments, environ", [
    ("--processes 5 --ini app.ini", {}),
    ("--ini app.ini --processes 5 --processes=6", {}),
    ("--ini app.ini --ini two.ini", {}),
    ("--ini app.ini:sec --ini :uwsgi", {}),
    ("--inherit parent.ini --ini app.ini --inherit two.ini --processes 2", {}),
    ("--set x=5 --set-ph z=9 --ini app.ini", {}),
    ("--if-env PATH --threads 3 --endif= --for=a --set-ph=%(_)=1 --endfor= --ini two.ini", {}),
    ("--ini app.ini", {"UWSGI_PROCESSES": "8", "UWSGI_Z": "$(PATH)"}),
    ("--processes 4", {"UWSGI_INI": "app.ini", "UWSGI_RELOADS": "1", "UWSGI_LAZY_APPS": "1"}),
    ("--ini two.ini", {"UWSGI_INI": "app.ini", "UWSGI_Foo_Bar": "1", "UWSGI_A_B": ""}),
])
def test_order(place: Path, monkeypatch: pytest.MonkeyPatch, arguments: str,
               environ: dict[str, str]) -> None:
    monkeypatch.chdir(place)
    written(place, "processes = 2\nx = 1\ny = %(x)%(z)\n[sec]\nz = %x\n")
    environ = {"PATH": "/usr/bin", **environ}
    settings, _ = read(arguments.split(), environ)
    assert settings is not None
    pairs = theirs(place, *arguments.split(), environ=environ)
    assert [(key, text or "") for key, text in settings.given] == pairs
    # ... and of the numbers the same one wins.
    assert str(settings.processes) == [value for key, value in pairs if key == "processes"][-1]


def test_a_file_without_an_option(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """uWSGI reads it after the options, wherever it is, and its number wins without a message."""
    monkeypatch.chdir(place)
    arguments = [written(place, "processes = 2\n"), "--processes", "5"]
    settings, _ = read(arguments, {})
    assert settings is not None and settings.processes == 5
    assert theirs(place, *arguments, environ={}) == [("processes", "5"), ("processes", "2")]


@pytest.mark.parametrize("text", [
    "5", "5 ; five", "5s", "+3", "5.9", "0x10", "7 7", "0", "", "true", "on", "$(NONE)"])
def test_numbers(place: Path, text: str) -> None:
    shown = output(place, "--ini", written(place, f"worker-reload-mercy = {text}\n"))
    found = re.search(r"graceful operations on workers is (\d+) seconds", shown)
    assert found is not None
    context = CastContext(Origin("file", "app.ini", 2, "worker-reload-mercy", "uwsgi"))
    assert Number().cast(text, context) == int(found[1])


@pytest.mark.parametrize("text", [
    "true", "1", "", "False", "OFF", "no", "0", "00", "yes", "on ; please", "off ; please", "2"])
def test_flags(place: Path, text: str) -> None:
    shown = output(place, "--ini", written(place, f"thunder-lock = {text}\n"))
    context = CastContext(Origin("file", "app.ini", 2, "thunder-lock", "uwsgi"))
    # With an inline comment the text is not `off` in uWSGI.
    assert Boolean().cast(text, context) is (
        "thunder lock: enabled" in shown and text != "off ; please")


def test_each_of_its_options_has_a_row() -> None:
    """Except --reload, which signals a master and is not valid in a file."""
    text = subprocess.run([reference_uwsgi(), "--help"], capture_output=True, text=True,
                          timeout=60).stdout
    names = set(re.findall(r"^\s*(?:-\w\|)?--([\w.-]+)", text, re.MULTILINE))
    assert len(names) > 800
    assert sorted(name for name in names if row(name, uwsgi=True) is None) == ["reload"]
