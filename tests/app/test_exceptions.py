"""What follows an exception of the application."""

import pytest

from geventuwsgi.app.exceptions import ExceptionPolicy


class Odd(ValueError):
    pass


@pytest.mark.parametrize(("wanted", "errors"), [
    ({"reload": True}, 3), ({"types": ["ValueError"]}, 1), ({"types": [f"{__name__}.Odd"]}, 1),
    ({"values": ["x"]}, 2), ({"reprs": ["Odd: x"]}, 1), ({"types": ["KeyError"]}, 0), ({}, 0)])
def test_what_has_a_worker_replaced(wanted: dict, errors: int) -> None:
    told: list[str] = []
    for error in (ValueError("x"), Odd("x"), OSError(1, "y")):
        one = ExceptionPolicy(told.append, **wanted)
        assert one.happened("GET /", error).content == b""
        one.happened("GET /", error)  # it is replaced once
    assert len(told) == errors


def test_what_the_client_is_told() -> None:
    try:
        raise Odd("häßlich")
    except Odd as error:
        text = ExceptionPolicy(print, told=True).happened("GET /x", error).content.decode()
    assert text.startswith("GET /x\n\nTraceback") and text.endswith("Odd: häßlich\n")
