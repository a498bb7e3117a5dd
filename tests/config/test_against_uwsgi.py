"""The same files read by real uWSGI: the resolved options are equal, where they should be."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from geventuwsgi.config.origin import Origin
from geventuwsgi.config.reading import Reading
from tests.harness import installed

ENVIRON = {"SITE": "shop", "EMPTY": "", "WORKERS": "3", "PATH": "/usr/bin:/bin"}

FILES = [
    "a = 1\n  b=2\t\n;c\n#d\ne = f ; g\nh\ni =\nj = k = l\nm = \"n \"\n",
    "base = /srv/%(name)\nname = $(SITE)\nchdir = %(base)/current\nx = $(NONE) %(none) $(EMPTY)|\n",
    "a = %n|%s|%e|%p|%d|%c|%o|%0|%1|%x|%j|%%|%y|%u|%U|%i\n",
    "x = %(%k * 2)\ny = %(x + 1 - 4)\nz = %(x 7)\nv = %(x / 0)|%(9 / 2)|%(none + 2)\n",
    "a = first\na = second\nb = %(a)\n",
    "if-env = SITE\nx = %(_)\nendif =\nif-env = EMPTY\ny = <%(_)>\nendif =\n"
    "if-not-env = NONE\nz = 1\nendif =\nif-env = SITE=other\nw = 1\nend =\nv = 2\n",
    "for = a b c\nx = %(_)/%n\ny = 1\nendfor =\nfor-times = 2\nz = %(_)\nend-for =\n",
    "if-exists = /etc/passwd\nx = %(_)\nendif =\nif-dir = /nowhere\ny = 1\nendif =\n"
    "if-file = /etc\nz = 1\nendif =\nif-opt = a=1\nv = 1\nendif =\na = 1\n",
    "set = a=1\nset-placeholder = b=2\nset-ph = c=3\nd = %(b)%(c)\n",
    "ini = %dinner.ini\na = %(inner)\n",
    "ini = :more\na = 1\n[more]\nb = %x\n",
    "x = @(%dwords)\ny = @(exec://echo $((6 * 7)))\n",
    "a = 1\n[other]\nb = 2\n[uwsgi]\nc = 3\n",
    "procname-prefix-spaced = $(SITE)\nlog-format = %(addr) %(method)\ngevent = $(WORKERS)\n",
    "a = %(b)\nb = $(SITE)\nc = $(NO$(SITE))\nd = %((e))\n",
]


@pytest.mark.parametrize("text", FILES)
def test_resolved_options(write: Callable[..., str], tmp_path: Path, text: str) -> None:
    write("inner = %n %N\n", "inner.ini")
    (tmp_path / "words").write_text("one two\n")
    path = write(text)
    assert ours(path) == theirs(path)


def ours(path: str) -> list[tuple[str, str]]:
    reading = Reading(ENVIRON)
    reading.load(path, Origin("argv", option="ini"))
    reading.finish()
    return [(entry.key, entry.text or "") for entry in reading.entries]


def theirs(path: str) -> list[tuple[str, str]]:
    """Return what uWSGI prints of its configuration, less our own arguments."""
    result = subprocess.run([installed("uwsgi"), "--show-config", "--no-server", "--ini", path],
                            env=ENVIRON, capture_output=True, text=True, timeout=60)
    output = (result.stdout + result.stderr).split(";uWSGI instance configuration\n")[1]
    lines = output.split("\n;end of configuration")[0].split("\n")[1:]
    found = [(key.strip(), value.strip()) for key, _, value in
             (line.partition("=") for line in lines)]
    return found[3:]
