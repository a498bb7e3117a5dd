"""Clients of an HTTPS socket for the tests of both wings, honest and not."""

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
    """Connect; the end of the connection has to be told (close_notify), or it is an error."""
    return RawClient(client.wrap_socket(server.connect("https", index), server_hostname=name,
                                        suppress_ragged_eofs=False, **options))


def refused(server: Server, name: str, words: str) -> str:
    """Wait for the line that says why a connection was refused."""
    return wait_until(lambda: [line for line in server.find(f"{name}: ") if words in line],
                      lambda: f"{words} in {server.find(name)}")[0]


def environ(wire: RawClient, *fields: str) -> dict[str, str]:
    """Ask the application of the tests of the server for what it was given."""
    return json.loads(wire.get("/environ", *fields).body)


def fails(server: Server, client: ssl.SSLContext, index: int, name: str = "localhost") -> str:
    """Fail to get an answer; return the server's name of the connection."""
    sock = server.connect("https", index)
    ours = RawClient(sock).name
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        with client.wrap_socket(sock, server_hostname=name) as secure:
            secure.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            while secure.recv(100):  # in TLS 1.3 the client learns it only here
                pass
    return ours


def hello() -> bytes:
    """A ClientHello."""
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing,
                                                server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def leave_in_the_middle(server: Server, authority: Authority, reset: bool) -> None:
    """Leave within the handshake, within a body that is sent and within one that is read."""
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
    """Send a record that was not encrypted for this connection, which an alert ends."""
    with dial(server, authority.client()) as wire:
        assert wire.get("/").body == b"hello"
        raw = socket.socket(fileno=os.dup(wire.sock.fileno()))
        raw.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        with pytest.raises(ssl.SSLError, match="(?i)bad record mac"):
            wire.sock.recv(100)
        raw.close()
