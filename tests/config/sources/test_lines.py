"""The lines of files: sections, includes, blocks, `set`, `strict`, their order."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from geventuwsgi.config.sources.lines import Reading
from geventuwsgi.config.values.origin import Origin
from geventuwsgi.errors import ConfigError

Write = Callable[..., str]


def load(spec: str, **environ: str) -> Reading:
    reading = Reading(environ)
    reading.load(spec, Origin("argv", option="ini"))
    reading.finish()
    return reading


def pairs(reading: Reading, *without: str) -> list[tuple[str, str | None]]:
    return [(entry.key, entry.text) for entry in reading.entries if entry.key not in without]


def test_our_section_is_read_if_there_is_one(write: Write) -> None:
    reading = load(write("[uwsgi]\na = 1\n[geventuwsgi]\nb = 2\n"))
    assert pairs(reading) == [("b", "2")]
    assert reading.dialect == "geventuwsgi"


def test_a_section_by_name(write: Write) -> None:
    reading = load(write("[uwsgi]\na = 1\n[other]\nb = %x\n") + ":other")
    assert pairs(reading) == [("b", "other")]
    assert reading.dialect == "uwsgi"


@pytest.mark.parametrize(("text", "section", "message"), [
    ("[app:main]\nx = 1\n", "", r"no section \[uwsgi\] or \[geventuwsgi\]; .*\[app:main\]"),
    ("[uwsgi]\nx = 1\n", ":other", r"no section \[other\]; its sections: \[uwsgi\]"),
    ("[]\n", "", r"its sections: \[\]"),
])
def test_a_missing_section(write: Write, text: str, section: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(write(text) + section)


def test_includes_are_read_where_they_are_named(write: Write) -> None:
    inner = write("x = %n-%N\n", "inner.ini")
    reading = load(write(f"a = 1\nini = {inner}\ninclude = :more\nb = 2\n[more]\nc = 3\n"))
    # `:more` is a section of the file read last, and inner.ini has none
    assert pairs(reading, "ini", "include") == [("a", "1"), ("x", "inner-app"), ("b", "2")]
    assert reading.files[1] == inner
    assert any("has no section [more]" in warning for warning in reading.warnings)


def test_sections_of_the_same_file(write: Write) -> None:
    reading = load(write("ini = :more\nb = 2\n[more]\nc = %x\n"))
    assert pairs(reading, "ini") == [("c", "more"), ("b", "2")]


def test_inherited_files_come_last(write: Write) -> None:
    parent = write("a = parent\n", "parent.ini")
    reading = load(write(f"inherit = {parent}\na = child\n"))
    assert pairs(reading, "inherit") == [("a", "child"), ("a", "parent")]


def test_references_in_includes(write: Write) -> None:
    write("a = 1\n", "inner.ini")
    path = write("name = inner\ninclude = $(DIR)/%(name).ini\n")
    assert ("a", "1") in pairs(load(path, DIR=os.path.dirname(path)))


def test_circular_includes(write: Write, tmp_path: Path) -> None:
    write(f"ini = {tmp_path}/app.ini\n", "inner.ini")
    path = write(f"[uwsgi]\nini = {tmp_path}/inner.ini\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value) == f"{tmp_path}/inner.ini:2: ini: {path} includes itself"


def test_a_missing_file(write: Write) -> None:
    path = write("a = 1\nini = /nowhere/x.ini\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value) == (f"{path}:3: ini: cannot read /nowhere/x.ini: "
                                 "No such file or directory")


def test_the_hint_for_a_relative_include(write: Write) -> None:
    write("a = 1\n", "beside.ini")
    path = write("ini = beside.ini\n")
    with pytest.raises(ConfigError, match="No such file or directory: a path is relative to the "
                                          "directory where the server is started: write "
                                          "%dbeside.ini$"):
        load(path)


BLOCKS = [
    ("if-env = A\nx = %(_)\nendif =\n", [("x", "1")]),
    ("if-env = A=1\nx = 1\nendif\n", [("x", "1")]),
    ("if-env = A=2\nx = 1\nendif =\n", []),
    ("if-env = EMPTY\nx = <%(_)>\nend =\n", [("x", "<>")]),
    ("if-not-env = NONE\nx = 1\nendif =\n", [("x", "1")]),
    ("if-not-env = A\nx = 1\nendif =\nb = 2\n", [("b", "2")]),
    ("o = 1\nif-opt = o\nx = %(_)\nendif =\n", [("o", "1"), ("x", "1")]),
    ("o = 1\nif-opt = o=2\nx = 1\nendif =\n", [("o", "1")]),
    ("if-not-opt = o\nx = 1\nendif =\n", [("x", "1")]),
    ("if-file = /etc/passwd\nx = %(_)\nendif =\n", [("x", "/etc/passwd")]),
    ("if-file = /etc\nx = 1\nendif =\n", []),
    ("if-dir = /etc\nx = 1\nendif =\n", [("x", "1")]),
    ("ifdir = /etc\nx = 1\nendif =\n", [("x", "1")]),
    ("if-not-exists = /nowhere\nx = 1\nendif =\n", [("x", "1")]),
    ("ifexists = /nowhere\nx = 1\nendif =\n", []),
    ("if-plugin = python3\nx = 1\nendif =\n", [("x", "1")]),
    ("if-plugin = php\nx = 1\nendif =\n", []),
    ("if-reload = true\nx = 1\nendif =\n", []),
    ("if-not-reload =\nx = 1\nendif =\n", [("x", "1")]),
    (f"if-hostname = {socket.gethostname()}\nx = 1\nendif =\n", [("x", "1")]),
    ("if-hostname-match = .*\nx = 1\nendif =\n", [("x", "1")]),
    ("for = a b\nx = %(_)\ny = 1\nendfor =\n", [("x", "a"), ("x", "b"), ("y", "1"), ("y", "1")]),
    ("for-times = 2\nx = p%(_)\nend-for =\n", [("x", "p1"), ("x", "p2")]),
    ("for-glob = /etc/pass[w]d\nx = %(_)\nend =\n", [("x", "/etc/passwd")]),
    ("if-env = NONE\nx = 1\n", []),
    ("endif =\nx = 1\n", [("x", "1")]),
]


@pytest.mark.parametrize(("text", "expected"), BLOCKS)
def test_blocks(write: Write, text: str, expected: list[tuple[str, str]]) -> None:
    found = pairs(load(write(text), A="1", EMPTY=""))
    assert [(key, value) for key, value in found
            if not key.startswith(("if", "for", "end"))] == expected


def test_lines_of_a_file(write: Write, tmp_path: Path) -> None:
    (tmp_path / "words").write_text("a b\nc\n")
    found = pairs(load(write(f"for-readline = {tmp_path}/words\nx = %(_)\nendfor =\n")))
    assert [value for key, value in found if key == "x"] == ["a b", "c"]


@pytest.mark.parametrize(("text", "message"), [
    ("if-not-env = A\nif-env = B\n", "3: if-env: blocks do not nest: if-not-env has no end yet"),
    ("for-times = x\na = 1\n", "2: for-times: 'x' is not a number from 0 to 100000"),
    ("[geventuwsgi]\nfor-readline = /nowhere\na = 1\n", "3: for-readline: cannot read"),
    ("if-hostname-match = (\na = 1\n", "2: if-hostname-match: .* not a regular expression"),
    ("set-placeholder = processes=3\n", "2: set-placeholder: processes is an option"),
    ("set = processes\n", "2: set: 'processes' is not of the form NAME=VALUE"),
    ("a = %(b)\nb = %(a)\n", "2: a: .* refers to itself"),
    ("a = @(/nowhere)\n", "2: a: cannot read /nowhere"),
    (" = 1\n", "2: '= 1' has no name"),
    ("ini =\n", "2: ini: needs a path"),
])
def test_broken_lines(write: Write, text: str, message: str) -> None:
    path = write("[uwsgi]\n" + text)
    with pytest.raises(ConfigError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(path + ":")


def test_set(write: Write) -> None:
    reading = load(write("set = p=1\nset-ph = q=2\nx = %(p)%(q)\n"))
    assert pairs(reading, "set", "set-ph") == [("p", "1"), ("q", "2"), ("x", "12")]
    assert {"p", "q"} <= reading.placeholders


def test_the_first_occurrence_is_seen(write: Write) -> None:
    assert pairs(load(write("a = 1\na = 2\nx = %(a)\n")))[-1] == ("x", "1")


def test_the_order_of_references(write: Write, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("%(b)\n")
    path = write("x = @($(DIR)/f)\nb = 7\n")
    assert pairs(load(path, DIR=str(tmp_path)))[0] == ("x", "7")


def test_references_in_immediate_options(write: Write, tmp_path: Path) -> None:
    (tmp_path / "n").write_text("4096\n")
    reading = load(write(f"listen = @({tmp_path}/n)\n"))
    assert pairs(reading) == [("listen", "4096")]
    assert "uWSGI replaces no references here" in reading.warnings[0]
