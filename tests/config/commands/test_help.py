"""Help and reference are generated from the table; docs/options.rst is up to date."""

from pathlib import Path

import pytest

from geventuwsgi.config.commands import help
from geventuwsgi.config.options.table import OPTIONS
from geventuwsgi.errors import UsageError

REFERENCE = Path(__file__).parents[3] / "docs" / "options.rst"


def test_the_reference_is_up_to_date() -> None:
    assert REFERENCE.read_text() == help.reference(), (
        "python -m geventuwsgi.config.commands.help > docs/options.rst")


def test_the_reference_names_every_option() -> None:
    text = help.reference()
    for option in OPTIONS:
        for name in option.names:
            assert f"``{name}``" in text


def test_help_fits_a_terminal_and_names_every_option() -> None:
    text = help.usage()
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "``" not in text
    for option in OPTIONS:
        if option.section and option.section != "INI logic" and option.name != "application":
            assert f"--{option.name}" in text


@pytest.mark.parametrize(("name", "pieces"), [
    ("processes", ("-p, -w, --processes N", "workers", "Default: 1")),
    ("--timeout", ("--worker-timeout SECONDS", "gunicorn: timeout.")),
    ("chroot", ("Refused: ",)),
    ("-p", ("--processes N", "--pidfile PATH", "-p (with a path)")),
    ("-H", ("-H, --home PATH",)),
    ("master", ("Ignored: there is always a master.",)),
])
def test_about_one_option(name: str, pieces: tuple[str, ...]) -> None:
    text = help.about(name)
    for piece in pieces:
        assert piece in text


def test_about_an_unknown_option() -> None:
    with pytest.raises(UsageError, match="did you mean --processes?"):
        help.about("--proceses")
