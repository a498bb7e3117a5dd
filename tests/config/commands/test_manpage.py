"""The man page: up to date, complete, and accepted by formatters without warnings."""

import shutil
import subprocess
from pathlib import Path

import pytest

from geventuwsgi.config.commands import manpage
from geventuwsgi.config.options.table import OPTIONS

PAGE = Path(__file__).parents[3] / "docs" / "geventuwsgi.1"


def test_it_is_up_to_date() -> None:
    assert PAGE.read_text() == manpage.page(), (
        "python -m geventuwsgi.config.commands.manpage > docs/geventuwsgi.1")


def test_it_names_every_option() -> None:
    text = manpage.page()
    for option in OPTIONS:
        if option.section and option.section != "INI logic" and option.name != "application":
            for name in option.names:
                assert manpage.escaped(f"``--{name}``") in text


@pytest.mark.parametrize(("text", "roff"), [
    ("a-b", r"a\-b"), (r"C:\n", r"C:\en"), (".hidden", r"\&.hidden"), ("'quoted'", r"\&'quoted'"),
    ("say ``on-off`` now", r"say \fBon\-off\fR now"),
])
def test_escaping_of_roff(text: str, roff: str) -> None:
    assert manpage.escaped(text) == roff


@pytest.mark.parametrize("command", [
    ("mandoc", "-Tlint", "-Wwarning"), ("groff", "-man", "-ww", "-Tascii", "-z")])
def test_a_formatter_has_no_warnings(command: tuple[str, ...]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    result = subprocess.run([*command, str(PAGE)], capture_output=True, text=True, timeout=60)
    # The page has no date, as it would be stale every day.
    warnings = [line for line in (result.stdout + result.stderr).splitlines() if "date" not in line]
    assert (warnings, result.returncode in (0, 2)) == ([], True)
