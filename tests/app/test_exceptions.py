"""What follows an exception of the application."""

import pytest

from geventuwsgi.app.exceptions import ExceptionPolicy


class Odd(ValueError):
    pass


@pytest.mark.parametrize(("options", "replacements"), [
    ({"reload": True}, 3), ({"types": ["ValueError"]}, 1), ({"types": [f"{__name__}.Odd"]}, 1),
    ({"values": ["x"]}, 2), ({"reprs": ["Odd: x"]}, 1), ({"types": ["KeyError"]}, 0), ({}, 0)])
def test_which_exceptions_replace_the_worker(options: dict, replacements: int) -> None:
    reasons: list[str] = []
    for error in (ValueError("x"), Odd("x"), OSError(1, "y")):
        policy = ExceptionPolicy(reasons.append, **options)
        assert policy.apply("GET /", error).content == b""
        policy.apply("GET /", error)  # a worker is replaced only once
    assert len(reasons) == replacements


def test_the_client_gets_the_traceback() -> None:
    try:
        raise Odd("häßlich")
    except Odd as error:
        text = ExceptionPolicy(print, expose=True).apply("GET /x", error).content.decode()
    assert text.startswith("GET /x\n\nTraceback") and text.endswith("Odd: häßlich\n")
