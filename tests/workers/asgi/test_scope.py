"""The header fields of a scope."""

import pytest

from geventuwsgi.protocol.http1 import RequestParser
from geventuwsgi.workers.asgi.scope import headers_of


@pytest.mark.parametrize("data, headers", [
    (b"GET / HTTP/1.0\r\n\r\n", []),
    (b"GET http://h/ HTTP/1.0\r\n\r\n", [(b"host", b"h")]),
    (b"GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX_A: 2\r\n\r\n", [(b"host", b"h"), (b"x-a", b"1")])])
def test_headers(data: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    parser = RequestParser()
    assert parser.head(data)
    assert headers_of(parser) == headers
