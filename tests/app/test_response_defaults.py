"""Error pages, and the fields of all responses."""

from pathlib import Path

import pytest

from geventuwsgi.app.response_defaults import defaults_of, read_pages
from geventuwsgi.protocol.response import error_response


def test_pages(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a").write_bytes(b"<a>")
    (tmp_path / "b").write_bytes(b"<b>")
    pages = read_pages([f"404={tmp_path}/none", f"404={tmp_path}/a", f"404={tmp_path}/b",
                        f"503={tmp_path}/b"])
    assert pages == {404: b"<a>", 503: b"<b>"}
    assert f"error-page-404: cannot read {tmp_path}/none: No such file" in caplog.text
    defaults = defaults_of(server=True, date=True, added=["X-A: 1"], removed=["SERVER", "date"],
                           pages=[f"503={tmp_path}/b"])
    defaults.tick(0.0)
    assert error_response(503, defaults, extra=[("Retry-After", "1")]) == (
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nRetry-After: 1\r\n"
        b"Content-Length: 3\r\nConnection: close\r\nX-A: 1\r\n\r\n<b>")
    assert error_response(500, defaults).endswith(b"\r\n\r\n500 Internal Server Error\n")
    assert error_response(503, defaults, text=b"why").endswith(b"\r\n\r\nwhy")
    assert error_response(503, defaults, is_head=True).endswith(b"\r\n\r\n")
