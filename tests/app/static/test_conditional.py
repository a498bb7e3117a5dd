"""Conditions and ranges of RFC 9110, as tables."""

import pytest

from geventuwsgi.app.static.conditional import Validators, byte_range, precondition

AT = 1700000000
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
BEFORE = "Tue, 14 Nov 2023 22:13:19 GMT"
AFTER = "Tue, 14 Nov 2023 22:13:21 GMT"
OURS = Validators('"a1"', AT, DATE)


@pytest.mark.parametrize("fields, status", [
    ({}, 200),
    ({"HTTP_IF_NONE_MATCH": '"a1"'}, 304),
    ({"HTTP_IF_NONE_MATCH": 'W/"a1"'}, 304),
    ({"HTTP_IF_NONE_MATCH": '"b", "a1"'}, 304),
    ({"HTTP_IF_NONE_MATCH": '"x,y","a1"'}, 304),
    ({"HTTP_IF_NONE_MATCH": "*"}, 304),
    ({"HTTP_IF_NONE_MATCH": '"b"'}, 200),
    ({"HTTP_IF_NONE_MATCH": "a1"}, 200),
    ({"HTTP_IF_NONE_MATCH": '"a1'}, 200),
    ({"HTTP_IF_NONE_MATCH": ""}, 200),
    ({"HTTP_IF_MODIFIED_SINCE": DATE}, 304),
    ({"HTTP_IF_MODIFIED_SINCE": AFTER}, 304),
    ({"HTTP_IF_MODIFIED_SINCE": BEFORE}, 200),
    ({"HTTP_IF_MODIFIED_SINCE": "yesterday"}, 200),
    ({"HTTP_IF_MODIFIED_SINCE": "Tue, 14 Nov 99999 22:13:20 GMT"}, 200),
    # If-None-Match counts alone where both are there.
    ({"HTTP_IF_NONE_MATCH": '"b"', "HTTP_IF_MODIFIED_SINCE": DATE}, 200),
    ({"HTTP_IF_MATCH": '"a1"'}, 200),
    ({"HTTP_IF_MATCH": "*"}, 200),
    ({"HTTP_IF_MATCH": '"b"'}, 412),
    ({"HTTP_IF_MATCH": 'W/"a1"'}, 412),
    ({"HTTP_IF_UNMODIFIED_SINCE": BEFORE}, 412),
    ({"HTTP_IF_UNMODIFIED_SINCE": DATE}, 200),
    ({"HTTP_IF_UNMODIFIED_SINCE": "never"}, 200),
    ({"HTTP_IF_MATCH": '"a1"', "HTTP_IF_UNMODIFIED_SINCE": BEFORE}, 200),
    ({"HTTP_IF_MATCH": '"a1"', "HTTP_IF_NONE_MATCH": '"a1"'}, 304),
])
def test_preconditions(fields: dict[str, str], status: int) -> None:
    assert precondition(fields, OURS) == status


@pytest.mark.parametrize("value, part", [
    ("bytes=0-0", (0, 1)), ("bytes=2-5", (2, 4)), ("bytes=5-", (5, 5)), ("bytes=-3", (7, 3)),
    ("bytes=-30", (0, 10)), ("bytes=8-100", (8, 2)), ("Bytes=0-9", (0, 10)), ("bytes= 1-2", (1, 2)),
    ("bytes=10-", (0, 0)), ("bytes=10-20", (0, 0)), ("bytes=-0", (0, 0)),
    ("bytes=5-2", None), ("bytes=-", None), ("bytes=a-b", None), ("bytes=1-2,4-5", None),
    ("octets=0-1", None), ("bytes=+1-2", None), ("bytes=0x1-2", None), ("", None),
    ("bytes=1_0-", None), ("bytes=\u0661-", None), ("bytes=" + "9" * 30 + "-", None),
])
def test_ranges(value: str, part: tuple[int, int] | None) -> None:
    environ = {"REQUEST_METHOD": "GET", "HTTP_RANGE": value}
    assert byte_range(environ, OURS, 10) == part


@pytest.mark.parametrize("value, holds", [
    ('"a1"', True), (DATE, True), ('W/"a1"', False), ('"b"', False), (AFTER, False), ("x", False)])
def test_if_range(value: str, holds: bool) -> None:
    environ = {"REQUEST_METHOD": "GET", "HTTP_RANGE": "bytes=2-5", "HTTP_IF_RANGE": value}
    assert byte_range(environ, OURS, 10) == ((2, 4) if holds else None)


def test_a_range_is_for_get_only_and_an_empty_file_has_none() -> None:
    assert byte_range({"REQUEST_METHOD": "HEAD", "HTTP_RANGE": "bytes=2-5"}, OURS, 10) is None
    assert byte_range({"REQUEST_METHOD": "GET", "HTTP_RANGE": "bytes=0-"}, OURS, 0) == (0, 0)
