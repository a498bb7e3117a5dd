"""Clients of an HTTPS socket, valid and hostile, for the tests of both kinds of worker."""

import json
import os
import socket
import ssl
import struct
from typing import Any

import pytest

from tests.certificates import Authority
from tests.harness import Server, wait_until
from tests.workers.wsgi.raw_client import RawClient

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def dial(server: Server, client: ssl.SSLContext, index: int = 0, name: str = "localhost",
         **options: Any) -> RawClient:
    """Connect. An end of the connection without close_notify is an error."""
    return RawClient(client.wrap_socket(server.connect("https", index), server_hostname=name,
                                        suppress_ragged_eofs=False, **options))


def refused(server: Server, name: str, words: str) -> str:
    """Wait for the log line with the reason why a connection was rejected."""
    return wait_until(lambda: [line for line in server.find(f"{name}: ") if words in line],
                      lambda: f"{words} in {server.find(name)}")[0]


def environ(wire: RawClient, *fields: str) -> dict[str, str]:
    """Return the environ that the tests' application received."""
    return json.loads(wire.get("/environ", *fields).body)


def fails(server: Server, client: ssl.SSLContext, index: int, name: str = "localhost") -> str:
    """Check that no response comes; return the server's name of the connection."""
    sock = server.connect("https", index)
    ours = RawClient(sock).name
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        with client.wrap_socket(sock, server_hostname=name) as secure:
            secure.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            while secure.recv(100):  # in TLS 1.3 the client learns it only here
                pass
    return ours


def hello() -> bytes:
    """Return a ClientHello."""
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing,
                                                server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def leave_in_the_middle(server: Server, authority: Authority, reset: bool) -> None:
    """Disconnect in the handshake, in a request body and in a response body."""
    data = hello()
    for size in (0, 1, 5, 100, len(data)):
        with server.connect("https") as sock:
            sock.sendall(data[:size])
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with dial(server, authority.client()) as wire:
        wire.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n" + b"x" * 9)
    with dial(server, authority.client()) as wire:
        wire.send(b"GET /endless HTTP/1.1\r\nHost: test\r\n\r\n")
        wire.read(100_000)


def break_a_record(server: Server, authority: Authority) -> None:
    """Send a record that was not encrypted for this connection; expect an alert."""
    with dial(server, authority.client()) as wire:
        assert wire.get("/").body == b"hello"
        raw = socket.socket(fileno=os.dup(wire.sock.fileno()))
        raw.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        with pytest.raises(ssl.SSLError, match="(?i)bad record mac"):
            wire.sock.recv(100)
        raw.close()
