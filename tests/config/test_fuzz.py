"""Whatever stands in a file or an argument: settings, or a `ConfigError` that names the place."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geventuwsgi.config.reader import read
from geventuwsgi.config.table import OPTIONS
from geventuwsgi.errors import ConfigError

KEYS = st.sampled_from([option.name for option in OPTIONS if option.name not in (
    "ini", "inherit", "for-readline", "for-times", "for-glob")])
TEXTS = st.one_of(
    st.text("%$(){}[]=:;#'\" \t0123456789abcnpsvx/.,-_+*\\\n\r\0é\udcff", max_size=30),
    st.sampled_from(["", "true", "0", "1", "%(a + 1)", "$(HOME)", "%(processes)", "10M ; x"]))


@settings(max_examples=300, deadline=None,
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


@settings(max_examples=300, deadline=None)
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


@pytest.mark.parametrize("text", ["%", "%(", "$(", "@(", "%()", "%( )", "%(()", ")("])
def test_half_references_stay(tmp_path: Path, text: str) -> None:
    (tmp_path / "app.ini").write_text(f"[uwsgi]\nlog-format = {text}\n")
    found, _ = read([str(tmp_path / "app.ini")], {})
    assert found is not None and isinstance(found.log_format, str)
