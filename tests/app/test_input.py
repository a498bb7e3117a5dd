"""`wsgi.input` ends where the body ends, and returns exactly as much as was asked for."""

import io
import os
from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from geventuwsgi.app.input import Body, spool, whole
from geventuwsgi.errors import ClientDisconnected

PIECES = [b"one\ntw", b"o\n", b"three\n\nfo", b"ur"]
TEXT = b"".join(PIECES)


def feed(pieces: list[bytes]) -> Callable[[], bytes]:
    """Return a `receive` that returns these pieces, and fails if called again after the end."""
    rest = iter([*pieces, b""])

    def receive() -> bytes:
        piece = next(rest, None)
        assert piece is not None, "asked for more behind the end of the body"
        return piece

    return receive


def body(pieces: list[bytes] = PIECES) -> Body:
    return Body(feed(pieces))


@pytest.mark.parametrize("size", [-1, None, len(TEXT), len(TEXT) + 1, 10 ** 12])
def test_read_everything(size: int | None) -> None:
    stream = body()
    assert stream.read(size) == TEXT
    assert stream.read(size) == b"" and stream.read() == b"" and stream.readline() == b""


@pytest.mark.parametrize("size", range(1, len(TEXT) + 1))
def test_read_returns_exactly_what_was_asked_for(size: int) -> None:
    stream, read = body(), []
    while piece := stream.read(size):
        read.append(piece)
    assert b"".join(read) == TEXT and all(len(piece) == size for piece in read[:-1])


def test_nothing_is_fetched_before_it_is_needed() -> None:
    fetched = []

    def receive() -> bytes:
        fetched.append(1)
        return b"ab\n"

    stream = Body(receive)
    assert stream.read(0) == b"" and stream.readline(0) == b"" and not fetched
    assert stream.read(3) == b"ab\n" and len(fetched) == 1
    assert stream.readline() == b"ab\n" and len(fetched) == 2
    assert stream.read1(10) == b"ab\n" and len(fetched) == 3


def test_lines() -> None:
    expected = [b"one\n", b"two\n", b"three\n", b"\n", b"four"]
    assert list(body()) == body().readlines() == expected
    assert [body().readline(size) for size in (-1, None, 2, 4, 100)] == [  # type: ignore[arg-type]
        b"one\n", b"one\n", b"on", b"one\n", b"one\n"]
    assert body().readlines(5) == io.BytesIO(TEXT).readlines(5) == expected[:2]
    stream = body()
    assert next(stream) == b"one\n" and stream.read(2) == b"tw" and stream.readline() == b"o\n"
    assert stream.read() == b"three\n\nfour"
    assert list(body([])) == [] and body([]).readlines() == []


def test_readinto_and_wrapping() -> None:
    buffer = bytearray(4)
    assert body().readinto(buffer) == 4 and buffer == b"one\n"
    assert io.BufferedReader(body()).read() == TEXT
    assert io.TextIOWrapper(body()).read() == TEXT.decode()
    assert body().readable() and not body().writable() and not body().seekable()


def test_a_long_line_in_many_pieces_is_linear() -> None:
    stream = body([b"x" * 1000] * 5000 + [b"\n"])
    assert len(stream.readline()) == 5_000_001


# Not readlines(hint): what a hint counts differs between the classes of `io`.
STEPS = st.lists(st.one_of(
    st.tuples(st.sampled_from(["read", "readline"]),
              st.one_of(st.integers(-1, 30), st.none())),
    st.tuples(st.just("__next__"))), max_size=12)


def given_by(file: io.IOBase, name: str, arguments: list[int | None]) -> bytes | None:
    try:
        return getattr(file, name)(*arguments)
    except StopIteration:
        return None


@given(st.lists(st.text("ab\n", min_size=1, max_size=9).map(str.encode), max_size=8), STEPS)
def test_as_a_file(pieces: list[bytes], steps: list[tuple]) -> None:
    """Invariant: however the body is cut, every call returns what an `io.BytesIO` returns."""
    stream, file = body(pieces), io.BytesIO(b"".join(pieces))
    for name, *arguments in steps:
        expected = given_by(file, name, arguments)
        assert given_by(stream, name, arguments) == expected
    assert stream.read() == file.read()


def test_the_errors_of_the_client_pass_through() -> None:
    def receive() -> bytes:
        raise ClientDisconnected("gone")

    for call in (Body(receive).read, Body(receive).readline, Body(receive).readlines,
                 lambda: list(Body(receive)), lambda: spool(receive, 10), lambda: whole(receive)):
        with pytest.raises(OSError, match="gone"):
            call()


def test_a_body_that_breaks_off_is_never_complete() -> None:
    pieces = iter([b"half"])

    def receive() -> bytes:
        for piece in pieces:
            return piece
        raise ClientDisconnected("gone")

    stream = Body(receive)
    with pytest.raises(OSError):
        stream.read(100)


# Bodies that are there before the application runs

def test_whole() -> None:
    file = whole(feed(PIECES))
    assert type(file) is io.BytesIO and file.read() == TEXT
    assert whole(feed([])).read() == b""


@pytest.mark.parametrize("memory, on_disk", [(len(TEXT), False), (len(TEXT) - 1, True)])
def test_spool(memory: int, on_disk: bool) -> None:
    with spool(feed(PIECES), memory) as file:
        assert file.tell() == 0 and file.readline() == b"one\n" and list(file)[-1] == b"four"
        file.seek(0)
        assert file.read() == TEXT and file.read() == b""
        assert isinstance(file, io.BytesIO) is not on_disk
        assert file.readable() and file.seekable()


def test_a_spooled_file_has_no_name_on_disk(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with spool(feed([b"x" * 70_000]), 10) as file:
        assert os.listdir(tmp_path) == [] and len(file.read()) == 70_000
