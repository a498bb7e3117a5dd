"""The replacement of references."""

from pathlib import Path

import pytest

from geventuwsgi.config.sources import references
from geventuwsgi.errors import ConfigError


@pytest.mark.parametrize(("text", "expected"), [
    ("$(A)", "1"), ("x$(A)y$(B)z", "x1y z"), ("$(NONE)", "$(NONE)"), ("$(NONE)$(A)", "$(NONE)1"),
    ("$(EMPTY)", ""), ("$A", "$A"), ("$(A", "$(A"), ("$(C)", "1"),
])
def test_environment(text: str, expected: str) -> None:
    variables = {"A": "1", "B": " ", "EMPTY": "", "C": "$(A)"}
    assert references.environment(text, variables) == expected


def test_files(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("8\n\n")
    assert references.files(f"<@({tmp_path}/x)>") == "<8\n>"
    assert references.files("@(exec://echo $((1 + 2)))") == "3"


def test_a_missing_file() -> None:
    with pytest.raises(ConfigError, match="cannot read /nowhere"):
        references.files("@(/nowhere)")


# Observed with uWSGI 2.0.30 and --show-config.
@pytest.mark.parametrize(("text", "expected"), [
    ("%(a)", "4"), ("/%(b)/%(a)", "/x/4"), ("%(nope)", "%(nope)"), ("%(nope)%(a)", "%(nope)4"),
    ("%(a * 2)", "8"), ("%(a + 2 * 3)", "18"), ("%(2 - a)", "-2"), ("%(a / 0)", "0"),
    ("%(7 / 2)", "3"), ("%(a ++)", "5"), ("%(a --)", "3"), ("%(a b)", "4x"), ("%(b + 1)", "1"),
    ("%(nope + 1)", "1"), ("%(deep)", "4"), ("%(2 * 1024 * 1024 * 1024)", "2147483648"),
    ("%(method) %(uri)", "%(method) %(uri)"), ("100%", "100%"), ("%(a", "%(a"),
])
def test_options(text: str, expected: str) -> None:
    assert references.options(text, {"a": "4", "b": "x", "deep": "%(a)"}) == expected


def test_a_circular_reference_ends() -> None:
    with pytest.raises(ConfigError, match="refers to itself"):
        references.options("%(a)", {"a": "%(b)", "b": "%(a)"})
