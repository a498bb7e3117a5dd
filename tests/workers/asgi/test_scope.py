"""The header fields and the client of a scope."""

import pytest

from geventuwsgi.net.allowlist import AllowList
from geventuwsgi.protocol.http1 import RequestParser
from geventuwsgi.workers.asgi.scope import client_of, headers_of


@pytest.mark.parametrize("data, headers", [
    (b"GET / HTTP/1.0\r\n\r\n", []),
    (b"GET http://h/ HTTP/1.0\r\n\r\n", [(b"host", b"h")]),
    (b"GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX_A: 2\r\n\r\n", [(b"host", b"h"), (b"x-a", b"1")])])
def test_headers(data: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    parser = RequestParser()
    assert parser.head(data)
    assert headers_of(parser) == headers


@pytest.mark.parametrize("addresses, client", [
    ([], ""), ([""], ""), (["1.2.3.4", ""], "1.2.3.4"), (["1.2.3.4", "", "10.0.0.1"], "1.2.3.4"),
    (["6.6.6.6", "", "1.2.3.4", ""], "1.2.3.4"), (["", "10.0.0.1"], "10.0.0.1"),
    (["6.6.6.6:1", "1.2.3.4:5678", "10.0.0.1:80"], "1.2.3.4"),
    (["[2001:db8::1]:443", "10.0.0.1"], "2001:db8::1"), (["[2001:db8::1]"], "2001:db8::1"),
    (["2001:db8::1", ":80"], "2001:db8::1"), (["unknown", "10.0.0.1"], "unknown")])
def test_the_client_of_x_forwarded_for(addresses: list[str], client: str) -> None:
    assert client_of(addresses, AllowList(["10.0.0.0/8"], "forwarded-allow-ips")) == client
