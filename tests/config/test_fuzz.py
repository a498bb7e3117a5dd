"""Any text in a file or an argument gives settings, or a `ConfigError` that names the place."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from geventuwsgi.config.load.arguments import check, read
from geventuwsgi.config.options.table import OPTIONS
from geventuwsgi.errors import ConfigError, UsageError

KEYS = st.sampled_from([option.name for option in OPTIONS if option.name not in (
    "ini", "inherit", "for-readline", "for-times", "for-glob")])
TEXTS = st.one_of(
    st.text("%$(){}[]=:;#'\" \t0123456789abcnpsvx/.,-_+*\\\n\r\0é\udcff", max_size=30),
    st.sampled_from(["", "true", "0", "1", "%(a + 1)", "$(HOME)", "%(processes)", "10M ; x"]))


@settings(max_examples=3 * settings().max_examples,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(KEYS | TEXTS, TEXTS), max_size=8), st.sampled_from(["uwsgi",
                                                                              "geventuwsgi"]))
def test_files(tmp_path: Path, lines: list[tuple[str, str]], section: str) -> None:
    path = tmp_path / "app.ini"
    text = f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in lines)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    try:
        found, _ = read(["--ini", str(path)], {"HOME": "/root"})
    except ConfigError as error:
        assert str(error)
    else:
        assert found is not None
        assert type(found).from_json(found.to_json()) == found


@settings(max_examples=3 * settings().max_examples)
@given(st.lists(st.one_of(KEYS.map("--{}".format), TEXTS.filter(lambda text: ".ini" not in text
                                                                and text != "-"),
                          st.sampled_from(["-p", "-w", "-b", "-ML", "-C", "-s", "-V", "--help"])),
                max_size=6))
def test_arguments(arguments: list[str]) -> None:
    try:
        found, command = read(arguments, {})
    except ConfigError as error:
        assert str(error)
    else:
        assert found is not None or command is not None


PIECES = st.one_of(
    st.sampled_from([
        "[uwsgi]", "[geventuwsgi]", "[", "]", "\n", "\r\n", "\n\n", "=", " = ", ";", "#", " ; ",
        "%", "%%", "%n", "%d", "%(", "%(_)", "%(a)", "%(a + 1)", "%(a * a)", "$(HOME)", "$(NONE)",
        "@(", "@(app.ini)", ")", "(", "a", "b", "x y", "true", "0", "9" * 30, "-1", "10M", "\0",
        "\ufeff", "\udcff", "$1", "$1;b=$2", "a=b=$1", "a=%(a)", "a=1", "localhost", "/", "*",
        ":b", "app.ini"]),
    st.text(max_size=5))
NAMES = st.sampled_from(sorted({name for option in OPTIONS for name in option.names}))
LINES = st.tuples(NAMES | st.sampled_from(["a", "b"]),
                  st.lists(PIECES, max_size=4).map("".join)).map(" = ".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(PIECES, max_size=5).map("".join) | LINES, max_size=12).map("\n".join),
       st.booleans())
def test_any_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str,
                  headed: bool) -> None:
    """Any text ends in settings, or an error that names file and line; the check never fails."""
    assume("://" not in text)  # a test must not run commands
    monkeypatch.chdir(tmp_path)
    text = "[uwsgi]\n" + text if headed else text
    Path("app.ini").write_bytes(text.encode("utf-8", "surrogatepass"))
    arguments = ["--ini", "app.ini", "a:b"]
    try:
        found, _ = read(arguments, {"HOME": "/root"})
    except UsageError as error:  # an error about the file as a whole
        assert "app.ini" in str(error)
    except ConfigError as error:
        assert error.file in ("app.ini", "./app.ini"), str(error)
        assert error.line is not None and 0 < error.line <= text.count("\n") + 1, str(error)
    else:
        assert found is not None and type(found).from_json(found.to_json()) == found
    try:
        report, _ = check(["--check-config", *arguments], {"HOME": "/root"})
    except UsageError:
        return
    assert json.loads(report.json())["ok"] is report.fine


@pytest.mark.parametrize("text", ["%", "%(", "$(", "@(", "%()", "%( )", "%(()", ")("])
def test_half_references_stay(tmp_path: Path, text: str) -> None:
    (tmp_path / "app.ini").write_text(f"[uwsgi]\nlog-format = {text}\n")
    found, _ = read([str(tmp_path / "app.ini")], {})
    assert found is not None and isinstance(found.log_format, str)
