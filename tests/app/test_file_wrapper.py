"""`wsgi.file_wrapper`: sendfile for regular files, reading for everything else."""

import gzip
import io
import os
from pathlib import Path
from typing import Any

import pytest

from geventuwsgi.app.wsgi import FileWrapper, OffloadedWrapper
from tests.app.exchange import OK, TYPE, Body, exchange, returning, run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    return path


@pytest.mark.parametrize("mode, buffering", [("rb", -1), ("rb", 0), ("r+b", -1), ("r+b", 0)])
@pytest.mark.parametrize("skip", [0, 4, 10, 15])
def test_a_regular_file_goes_by_sendfile(path: Path, mode: str, buffering: int, skip: int) -> None:
    with open(path, mode, buffering) as file:
        if skip <= 10:
            file.read(skip)
        else:
            file.seek(skip)
        one, wire = run(FileWrapper(file))
        rest = b"0123456789"[skip:]
        assert file.closed and wire.body == rest and one.body_size == len(rest)
        assert wire.events == ["send", "sendfile", "release"] and one.via == "sendfile()"
        assert b"Content-Length: %d" % len(rest) in wire.head and one.keep_alive


def test_a_region_by_content_length(path: Path) -> None:
    with open(path, "rb") as file:
        file.seek(2)
        one, wire = run(FileWrapper(file), ("Content-Length", "3"), status="206 Partial Content")
        assert wire.body == b"234" and one.keep_alive and not one.fault
    with open(path, "rb") as file:
        one, wire = run(FileWrapper(file), ("Content-Length", "11"))
        assert wire.body == b"0123456789" and not one.keep_alive and "shorter" in one.fault


@pytest.mark.parametrize("name", ["/proc/self/status", "/proc/sys/kernel/ostype",
                                  "/sys/kernel/mm/transparent_hugepage/enabled"])
def test_files_of_proc_and_sys_are_read(name: str) -> None:
    """Their size is 0, or 4096, whatever is in them."""
    with open(name, "rb") as file:
        expected = file.read()
        file.seek(0)
        one, wire = run(FileWrapper(file))
        assert file.closed and "sendfile" not in wire.events and one.keep_alive and not one.fault
    assert b"Transfer-Encoding: chunked" in wire.head and b"Content-Length" not in wire.head
    size, _, rest = wire.body.partition(b"\r\n")
    assert int(size, 16) == len(rest) - len(b"\r\n0\r\n\r\n") > 0
    assert rest.split()[0] == expected.split()[0]


@pytest.mark.parametrize("kind", [FileWrapper, OffloadedWrapper])
@pytest.mark.parametrize("length", [None, ("Content-Length", "10")])
def test_a_file_that_becomes_shorter(path: Path, kind: Any, length: tuple[str, str] | None) -> None:
    one, wire = exchange()
    send_pair = wire.send_pair

    def shrink(head: bytes, body: bytes) -> None:
        send_pair(head, body)
        os.truncate(path, 4)
    wire.send_pair = shrink  # type: ignore[method-assign]
    with open(path, "rb") as file:
        one.run(returning(kind(file), *[length] if length else []))
    assert wire.head.endswith(b"Content-Length: 10") and wire.body == b"0123"
    assert not one.keep_alive and one.body_size == 4
    assert one.fault == "the body is 6 bytes shorter than its Content-Length"


def test_gzip_is_read_not_sent_as_the_compressed_file(tmp_path: Path) -> None:
    name = tmp_path / "x.gz"
    with gzip.open(name, "wb") as file:
        file.write(b"text" * 1000)
    with gzip.open(name) as file:
        assert file.fileno() >= 0
        one, wire = run(FileWrapper(file), ("Content-Length", "4000"))
    assert wire.body == b"text" * 1000 and "sendfile" not in wire.events and one.via == ""


def test_other_files_are_read() -> None:
    readable, writable = os.pipe()
    os.write(writable, b"piped")
    os.close(writable)

    class OnlyRead:
        pieces = [b"only", b"read"]

        def read(self, size: int) -> bytes:
            return self.pieces.pop(0) if self.pieces else b""
    with open("/dev/null", "rb") as null, os.fdopen(readable, "rb") as pipe:
        for file, text in ((io.BytesIO(b"memory"), b"memory"), (pipe, b"piped"), (null, b""),
                           (io.BufferedReader(io.BytesIO(b"wrapped")), b"wrapped"),  # type: ignore
                           (OnlyRead(), b"onlyread")):
            one, wire = run(FileWrapper(file, 3), ("Content-Length", str(len(text))))
            assert wire.body == text and "sendfile" not in wire.events and not one.fault
    closed = open("/dev/null", "rb")
    closed.close()
    with pytest.raises(ValueError):
        run(FileWrapper(closed))


def test_a_wrapper_closes_its_file_if_it_has_close(path: Path) -> None:
    file = Body()
    file.read = lambda size: b""  # type: ignore[attr-defined]
    run(FileWrapper(file))
    assert file.closed == 1
    for method, status in (("HEAD", OK), ("GET", "304 Not Modified")):
        with open(path, "rb") as real:
            _, wire = run(FileWrapper(real), method=method, status=status)
            assert real.closed and wire.body == b"" and "sendfile" not in wire.events
    assert not hasattr(FileWrapper(object()), "close")


def test_a_wrapper_after_write_or_wrapped_again(path: Path) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> FileWrapper:
        start_response(OK, TYPE)(b"first")
        return FileWrapper(open(path, "rb"))
    one, wire = exchange()
    one.run(application)
    assert wire.body == b"5\r\nfirst\r\na\r\n0123456789\r\n0\r\n\r\n"
    _, wire = run(iter(FileWrapper(io.BytesIO(b"0123456789"), 4)))
    assert wire.body == b"4\r\n0123\r\n4\r\n4567\r\n2\r\n89\r\n0\r\n\r\n"
