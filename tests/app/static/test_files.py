"""The file of a request: maps, directories, links, and files that must not be served."""

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from geventuwsgi.app.static.files import Expiry, Gzipped, StaticFiles, accepts_gzip, expiries


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "css").mkdir(parents=True)
    (root / "css" / "a.css").write_text("a { }")
    (root / "css" / "index.html").write_text("index")
    (root / "a.py").write_text("secret")
    (root / "tea é.txt").write_text("tea")
    (tmp_path / "rootless").mkdir()
    (tmp_path / "rootless" / "x.txt").write_text("not under root")
    (tmp_path / "secret.txt").write_text("secret")
    (root / "out").symlink_to(tmp_path / "secret.txt")
    (root / "dirout").symlink_to(tmp_path / "rootless")
    (root / "inner").symlink_to(root / "css" / "a.css")
    os.mkfifo(root / "fifo")
    return root


def ask(path: str, method: str = "GET", **more: str) -> dict[str, Any]:
    return {"REQUEST_METHOD": method, "PATH_INFO": path, "REQUEST_URI": path, **more}


def name(files: StaticFiles, environ: dict[str, Any]) -> str | None:
    found = files.find(environ)
    if found is None:
        return None
    found.file.close()
    return found.name


def test_prefixes(tree: Path) -> None:
    files = StaticFiles(maps=[("/static", str(tree)), ("/icon", str(tree / "css/a.css")),
                              ("/rel/", str(tree))],
                        whole_maps=[("/css", str(tree))], index=["none.html", "index.html"])
    css = str(tree / "css/a.css")
    for path in ("/static/css/a.css", "/static//css/a.css", "/staticcss/a.css", "/icon",
                 "/rel/css/a.css", "/css/a.css", "/static/inner", "/static/css/../css/a.css"):
        assert name(files, ask(path)) == css, path
    assert name(files, ask("/static/css/a.css", "HEAD")) == css
    assert name(files, ask("/static/css")) == name(files, ask("/css/")) == str(
        tree / "css/index.html")
    assert name(files, ask("/static/tea é.txt".encode().decode("latin-1"))) == str(
        tree / "tea é.txt")


@pytest.mark.parametrize("path", [
    "/static/none.css", "/static/css/a.css/", "/static/css/a.css/b", "/static/fifo", "/static/",
    "/static", "/elsewhere", "/icon/", "/static/a.py", "/static/" + "x" * 5000,
    "/static/css/a.css\0.txt", "/static/\xff"])
def test_paths_that_the_application_gets(tree: Path, path: str) -> None:
    files = StaticFiles(maps=[("/static", str(tree)), ("/icon", str(tree / "css/a.css"))],
                        skip=[".py"])
    assert name(files, ask(path)) is None


@pytest.mark.parametrize("path", ["/static/../secret.txt", "/static/out", "/static/dirout/x.txt",
                                  "/static/css/../../secret.txt", "/staticless/x.txt/../x.txt",
                                  "/static/../rootless/x.txt"])
def test_nothing_outside_is_served(tree: Path, path: str, caplog: pytest.LogCaptureFixture) -> None:
    before = len(os.listdir("/proc/self/fd"))
    files = StaticFiles(maps=[("/static", str(tree))], index=["x.txt"])
    with caplog.at_level(logging.ERROR, "geventuwsgi.error"):
        assert name(files, ask(path)) is None
    assert ("security error" in caplog.text) == (path != "/staticless/x.txt/../x.txt")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_safe_directory_may_be_linked_to(tree: Path) -> None:
    files = StaticFiles(maps=[("/static", str(tree))], safe=[str(tree.parent / "rootless")])
    assert name(files, ask("/static/dirout/x.txt")) == str(tree.parent / "rootless/x.txt")
    assert name(files, ask("/static/out")) is None


def test_methods_and_docroot(tree: Path) -> None:
    files = StaticFiles(roots=[str(tree)], docroot=True)
    assert name(files, ask("/css/a.css", "POST")) is None
    assert name(files, ask("/css/a.css"))
    other = str(tree.parent / "rootless")
    assert name(files, ask("/x.txt", DOCUMENT_ROOT=other)) == f"{other}/x.txt"
    assert name(StaticFiles(roots=[str(tree)]), ask("/x.txt", DOCUMENT_ROOT=other)) is None


def test_a_root_that_moves_is_followed(tree: Path) -> None:
    current = tree.parent / "current"
    current.symlink_to(tree)
    files = StaticFiles(maps=[("/s", str(current))])
    assert name(files, ask("/s/css/a.css"))
    current.unlink()
    current.symlink_to(tree.parent / "rootless")
    assert name(files, ask("/s/css/a.css")) is None and name(files, ask("/s/x.txt"))


class Answer:
    """The response of `StaticFiles.respond`, as a WSGI server gets it."""

    def __init__(self, files: StaticFiles, environ: dict[str, Any]) -> None:
        found = files.find(environ)
        assert found is not None
        body = files.respond(found, environ, self._start)
        self.body = b"".join(self._pieces(body))
        assert found.file.closed  # whatever was sent

    def _start(self, status: str, headers: list[tuple[str, str]]) -> None:
        self.status, self.headers = status, dict(headers)

    @staticmethod
    def _pieces(body: Any) -> Iterator[bytes]:
        yield from body
        if hasattr(body, "close"):
            body.close()


def test_responses(tree: Path) -> None:
    files = StaticFiles(roots=[str(tree)])
    whole = Answer(files, ask("/css/a.css"))
    assert whole.status == "200" and whole.body == b"a { }"
    assert whole.headers["Content-Type"] == "text/css" and whole.headers["Content-Length"] == "5"
    etag = whole.headers["ETag"]
    same = Answer(files, ask("/css/a.css", HTTP_IF_NONE_MATCH=etag))
    assert (same.status, same.body, same.headers["ETag"]) == ("304", b"", etag)
    assert Answer(files, ask("/css/a.css", HTTP_IF_MATCH='"x"')).status == "412"
    since = Answer(files, ask("/css/a.css", HTTP_IF_MODIFIED_SINCE=whole.headers["Last-Modified"]))
    assert since.status == "304" and "Content-Length" not in since.headers
    part = Answer(files, ask("/css/a.css", HTTP_RANGE="bytes=2-3", HTTP_IF_RANGE=etag))
    assert part.status == "206" and part.headers["Content-Range"] == "bytes 2-3/5"
    assert part.headers["Content-Length"] == "2" and part.body[:2] == b"{ "
    beyond = Answer(files, ask("/css/a.css", HTTP_RANGE="bytes=9-"))
    assert beyond.status == "416" and beyond.headers["Content-Range"] == "bytes */5"
    plain = Answer(StaticFiles(roots=[str(tree)], ranges=False),
                   ask("/css/a.css", HTTP_RANGE="bytes=2-3"))
    assert plain.status == "200" and "Accept-Ranges" not in plain.headers
    assert files.served == 6


def test_compressed_twins(tree: Path) -> None:
    (tree / "css" / "a.css.gz").write_bytes(b"gz")
    files = StaticFiles(roots=[str(tree)], gzipped=Gzipped(suffixes=(".css",)))
    accepted = Answer(files, ask("/css/a.css", HTTP_ACCEPT_ENCODING="br, gzip;q=0.5"))
    assert accepted.body == b"gz" and accepted.headers["Content-Encoding"] == "gzip"
    assert accepted.headers["Content-Type"] == "text/css"
    other = Answer(files, ask("/css/a.css"))
    assert other.body == b"a { }" and other.headers["Vary"] == "Accept-Encoding"
    assert other.headers["ETag"] != accepted.headers["ETag"]
    assert "Vary" not in Answer(files, ask("/css/index.html")).headers
    itself = Answer(files, ask("/css/a.css.gz"))
    assert itself.headers["Content-Type"] == "application/gzip"
    (tree / "css" / "a.css.gz").unlink()
    (tree / "css" / "a.css.gz").symlink_to(tree.parent / "secret.txt")
    assert Answer(files, ask("/css/a.css", HTTP_ACCEPT_ENCODING="gzip")).body == b"a { }"


@pytest.mark.parametrize("field, accepted", [
    ("gzip", True), ("GZIP", True), ("deflate, gzip;q=1.0", True), ("*", True), ("", False),
    ("gzip;q=0", False), ("gzip;q=0.000", False), ("*;q=0", False), ("br", False),
    ("*, gzip;q=0", False), ("x-gzip", True), ("gzipped", False)])
def test_accept_encoding(field: str, accepted: bool) -> None:
    assert accepts_gzip(field) is accepted


def test_expires(tree: Path) -> None:
    os.utime(tree / "css" / "a.css", (0, 1000))
    rules = [*expiries("type", ["text/html=5"], True), *expiries("name", [r"\.css$ 60"], True),
             Expiry("path", re.compile("tea"), 60, False)]
    files = StaticFiles(roots=[str(tree)], expiries=rules)
    css = Answer(files, ask("/css/a.css"))
    assert css.headers["Expires"] == "Thu, 01 Jan 1970 00:17:40 GMT"
    assert "Expires" in Answer(files, ask("/tea é.txt".encode().decode("latin-1"))).headers


def test_the_web_server_in_front_sends_the_file(tree: Path) -> None:
    files = StaticFiles(roots=[str(tree)], offload="X-Sendfile")
    answer = Answer(files, ask("/css/a.css"))
    assert answer.headers["X-Sendfile"] == str(tree / "css/a.css") and answer.body == b""
    assert answer.headers["Last-Modified"].endswith(" GMT")  # as uWSGI has it


def test_media_types_of_a_file(tree: Path, tmp_path: Path,
                               caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "types").write_text("text/x-tea tea\n")
    (tree / "a.tea").write_text("")
    files = StaticFiles(roots=[str(tree)], mime_files=[str(tmp_path / "types"), "/none"])
    assert Answer(files, ask("/a.tea")).headers["Content-Type"] == "text/x-tea"
    assert "no /none file found" in caplog.text
