"""The syntax of INI files, magic variables, and the sources of their content."""

import os
from pathlib import Path

import pytest

from geventuwsgi.config.sources import ini
from geventuwsgi.errors import ConfigError

LINES = [
    ("[uwsgi]\na = b\n", [(2, "a", "b")]),
    ("[uwsgi]\r\n\ta=b  \r\n", [(2, "a", "b")]),
    ("[uwsgi]\n; c\n# d\n  ; e\na = b ; c\n", [(5, "a", "b ; c")]),
    ("[uwsgi]\nmaster\n", [(2, "master", "")]),
    ("[uwsgi]\na =\n", [(2, "a", "")]),
    ("[uwsgi]\na = b = c\n", [(2, "a", "b = c")]),
    ("[uwsgi]\na = \"b \"\n", [(2, "a", '"b "')]),
    ("[uwsgi]\na = b\\\nc = d\n", [(2, "a", "b\\"), (3, "c", "d")]),
    ("x = y\n[other]\na = b\n", []),
    ("[uwsgi]\na = b\n[x]\nc = d\n[uwsgi]\ne = f\n", [(2, "a", "b"), (6, "e", "f")]),
    ("[uwsgi] ; text\na = b\n", [(2, "a", "b")]),
    ("[uwsgi]\nA_b-C = d\n", [(2, "A_b-C", "d")]),
    ("[uwsgi]\na = b", [(2, "a", "b")]),
    ("", []),
]


@pytest.mark.parametrize(("text", "expected"), LINES)
def test_lines(text: str, expected: list[tuple[int, str, str]]) -> None:
    assert [(line.number, line.key, line.text) for line in ini.lines(text, "uwsgi")] == expected


def test_a_line_without_a_name() -> None:
    with pytest.raises(ConfigError, match="no name before '='") as caught:
        ini.lines("[uwsgi]\n = x\n", "uwsgi")
    assert caught.value.line == 2


MAGIC = [
    ("%d", "{directory}/"), ("%p", "{directory}/my.app.ini"), ("%s", "my.app.ini"),
    ("%n", "my.app"), ("%e", "ini"), ("%c", "{base}"), ("%o", "{directory}/my.app.ini"),
    ("%x", "sect"), ("%u", str(os.getuid())), ("%k", str(os.cpu_count())), ("%%d", "%d"),
    ("%Y-%q", "-"), ("%(name)", "%(name)"), ("100%\nnext", "100%\nnext"), ("%[0m", "\0330m"),
    ("%v", os.getcwd()), ("%h", os.uname().nodename), ("a%", "a%"),
]


@pytest.mark.parametrize(("text", "expected"), MAGIC)
def test_magic(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path.resolve() / "my.app.ini"
    path.touch()
    table = ini.magic(str(path), "sect")
    assert ini.substitute(text, table) == expected.format(directory=path.parent,
                                                          base=path.parent.name)


def test_components_of_the_directory(tmp_path: Path) -> None:
    path = tmp_path.resolve() / "a.ini"
    path.touch()
    assert ini.substitute("/%0/%1", ini.magic(str(path), None)) == "/" + "/".join(
        path.parts[1:3])


def test_a_link_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "real.ini").touch()
    (tmp_path / "link.ini").symlink_to("real.ini")
    assert ini.magic(str(tmp_path / "link.ini"), None)["n"] == "link"


def test_upper_case_is_the_first_file() -> None:
    table = ini.with_first({"n": "second"}, {"n": "first"})
    assert ini.substitute("%n %N", table) == "second first"


def test_files_without_a_path_have_no_name() -> None:
    table = ini.magic("exec://true", None)
    assert ini.substitute("<%d%n%p>", table) == "<>"


@pytest.mark.parametrize(("spec", "expected"), [
    ("a.ini", ("a.ini", None)), ("a.ini:x", ("a.ini", "x")), (":x", ("", "x")),
    ("/a/b.ini:x y", ("/a/b.ini", "x y")), ("exec://cat a", ("exec://cat a", None)),
    ("fd://3:x", ("fd://3", "x")), ("http://h:80/a.ini", ("http://h:80/a.ini", None)),
    ("http://h:80/a.ini:x", ("http://h:80/a.ini", "x")),
])
def test_sections_in_names(spec: str, expected: tuple[str, str | None]) -> None:
    assert ini.split_section(spec) == expected


def test_sections_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.ini"
    path.write_bytes(b"\xef\xbb\xbf[b]\nx = \xff\n[a]\n[b]\n")
    source = ini.read(str(path))
    assert source.sections == ("b", "a")
    assert os.fsencode(ini.lines(source.text, "b")[0].text) == b"\xff"


def test_contents(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"text")
    with open(path) as file:
        assert ini.content(f"fd://{file.fileno()}") == b"text"
    assert ini.content(str(path)) == b"text"
    assert ini.content("exec://echo hi") == b"hi\n"


@pytest.mark.parametrize(("name", "message"), [
    ("/nowhere/x", "cannot read /nowhere/x: No such file or directory"),
    ("/", "cannot read /: Is a directory"),
    ("exec://false", "cannot read exec://false: .*status 1$"),
    ("fd://x", "cannot read fd://x"),
    ("fd://999", "cannot read fd://999: Bad file descriptor"),
    ("http://127.0.0.1:1/x", "cannot read http://127.0.0.1:1/x: Connection refused"),
    ("http://127.0.0.1:x/", "cannot read http://127.0.0.1:x/: .*port"),
    ("sym://x", "sym:// is not supported"),
    ("what://x", "there is no such scheme"),
])
def test_contents_that_cannot_be_read(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ini.content(name)
