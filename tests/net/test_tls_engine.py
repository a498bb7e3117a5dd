"""The TLS engine in memory: every flight of bytes whole, byte by byte and with a tail left over."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from geventuwsgi.errors import ClientDisconnected
from geventuwsgi.net import tls
from geventuwsgi.net.tls_config import Certificate, TlsConfig
from geventuwsgi.net.tls_engine import RECORD, HandshakeFailed, TlsEngine
from tests.certificates import Authority

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
HEADER = 5  # octets before a record, RFC 8446 section 5.1
Feeding = Callable[[bytes], Iterator[bytes]]


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def octets(data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        yield data[at:at + 1]


def with_a_tail(data: bytes) -> Iterator[bytes]:
    """Each record with the first octets of the next one."""
    start = end = 0
    while end < len(data):
        end += HEADER + int.from_bytes(data[end + 3:end + HEADER], "big")
        yield data[start:end + 2]
        start = min(end + 2, len(data))


FEEDINGS: list[Feeding] = [whole, octets, with_a_tail]


class Peer:
    """A TLS client in memory."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="a.test")

    def handshake(self, data: bytes = b"") -> bytes:
        self.incoming.write(data)
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    def records(self, *pieces: bytes) -> bytes:
        for piece in pieces:
            self.tls.write(piece)
        return self.outgoing.read()

    def close_notify(self) -> bytes:
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()

    def read(self, data: bytes) -> bytes:
        """Decrypt all that the engine sent; a close_notify ends it with a 0 octet."""
        self.incoming.write(data)
        found = b""
        while True:
            try:
                piece = self.tls.read(RECORD)
            except ssl.SSLWantReadError:
                return found
            if not piece:
                return found + b"\0"
            found += piece


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    cert, key = authority.issue("a", "a.test")
    return tls.context_of(TlsConfig(Certificate(cert, key, option="https-socket")))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def peer(authority: Authority, request: pytest.FixtureRequest) -> Peer:
    return Peer(authority.client(only=request.param))


def connect(engine: TlsEngine, peer: Peer, feeding: Feeding = whole) -> None:
    """Let both sides make the handshake."""
    flight = peer.handshake()
    complete = False
    while flight:
        for piece in feeding(flight):
            assert not complete
            engine.feed(piece)
            complete = engine.do_handshake()
            assert engine.established is complete
        flight = peer.handshake(engine.output())
    assert complete and not engine.has_input()


def decrypt(engine: TlsEngine, data: bytes, feeding: Feeding) -> tuple[bytes, bool]:
    """Read all that comes of some bytes; return it, and whether a close_notify followed."""
    found = b""
    for piece in feeding(data):
        engine.feed(piece)
        while (part := engine.read()) is not None:
            if not part:
                return found, True
            found += part
    return found, False


@pytest.mark.parametrize("feeding", FEEDINGS)
def test_handshake_and_records(context: ssl.SSLContext, peer: Peer, feeding: Feeding) -> None:
    engine = TlsEngine(context)
    connect(engine, peer, feeding)
    sent = [b"GET /", b"x", b"y" * RECORD, b"end"]
    assert decrypt(engine, peer.records(*sent), feeding) == (b"".join(sent), False)
    assert not engine.has_input() and engine.read() is None
    engine.encrypt(b"answer")
    assert peer.read(engine.output()) == b"answer"
    assert not engine.output()


def test_a_part_of_a_record_stays(context: ssl.SSLContext, peer: Peer) -> None:
    engine = TlsEngine(context)
    connect(engine, peer)
    first, second = peer.records(b"first"), peer.records(b"second")
    engine.feed(first + second[:-1])
    assert engine.read(2) == b"fi" and engine.has_input()
    assert engine.read() == b"rst"
    assert engine.read() is None
    engine.feed(second[-1:])
    assert engine.read() == b"second"


def test_the_first_request_may_come_with_the_end_of_the_handshake(context: ssl.SSLContext,
                                                                  peer: Peer) -> None:
    engine = TlsEngine(context)
    engine.feed(peer.handshake())
    while not engine.do_handshake():
        flight = peer.handshake(engine.output())
        try:
            flight += peer.records(b"early")  # TLS 1.2: once its handshake is complete
        except ssl.SSLError:
            pass
        engine.feed(flight)
    if peer.tls.version() == "TLSv1.3":
        assert engine.read() == b"early"
    peer.handshake(engine.output())
    assert decrypt(engine, peer.records(b"next"), whole) == (b"next", False)


def test_a_view_and_nothing(context: ssl.SSLContext, peer: Peer) -> None:
    engine = TlsEngine(context)
    connect(engine, peer)
    engine.output()
    engine.encrypt(b"")
    assert not engine.output()
    engine.encrypt(memoryview(b"viewed")[:4])
    assert peer.read(engine.output()) == b"view"


@pytest.mark.parametrize("feeding", FEEDINGS)
def test_the_peer_closes(context: ssl.SSLContext, peer: Peer, feeding: Feeding) -> None:
    engine = TlsEngine(context)
    connect(engine, peer)
    data = peer.records(b"last words") + peer.close_notify()
    assert decrypt(engine, data, feeding) == (b"last words", True)
    engine.encrypt(b"the response")  # half-closed: our side goes on
    assert engine.close_notify()
    output = engine.output()
    peer.incoming.write(output)
    assert peer.tls.read(100) == b"the response"


def test_we_close(context: ssl.SSLContext, peer: Peer) -> None:
    engine = TlsEngine(context)
    connect(engine, peer)
    engine.encrypt(b"body")
    assert engine.close_notify() and not engine.established
    assert peer.read(engine.output()) == b"body\0"
    assert not engine.close_notify() and not engine.output()


def test_no_close_notify_before_the_handshake(context: ssl.SSLContext, peer: Peer) -> None:
    engine = TlsEngine(context)
    assert not engine.close_notify()
    engine.feed(peer.handshake())
    engine.do_handshake()
    engine.output()
    assert not engine.close_notify() and not engine.output()


def test_a_truncated_stream(context: ssl.SSLContext, peer: Peer) -> None:
    """The end of the connection is not the end of the data: only a close_notify is."""
    engine = TlsEngine(context)
    connect(engine, peer)
    data = peer.records(b"whole") + peer.records(b"cut off")[:-1]
    assert decrypt(engine, data, whole) == (b"whole", False)
    assert engine.established and engine.read() is None


def test_an_invalid_record(context: ssl.SSLContext, peer: Peer) -> None:
    engine = TlsEngine(context)
    connect(engine, peer)
    peer.read(engine.output())
    data = bytearray(peer.records(b"x" * 40))
    data[-1] ^= 1
    engine.feed(data)
    with pytest.raises(ClientDisconnected, match="(?i)bad record mac"):
        engine.read()
    assert not engine.established and not engine.close_notify()
    with pytest.raises(ssl.SSLError, match="(?i)alert"):
        peer.read(engine.output())


@pytest.mark.parametrize("feeding", FEEDINGS)
def test_a_handshake_fails(authority: Authority, feeding: Feeding) -> None:
    cert, key = authority.issue("a", "a.test")
    config = TlsConfig(Certificate(cert, key, option="https-socket"), minimum="TLSv1.3")
    peer = Peer(authority.client(only=ssl.TLSVersion.TLSv1_2))
    engine = TlsEngine(tls.context_of(config))
    with pytest.raises(HandshakeFailed, match="(?i)unsupported protocol"):
        for piece in feeding(peer.handshake()):
            engine.feed(piece)
            assert not engine.do_handshake()
    assert not engine.established and not engine.close_notify()
    with pytest.raises(ssl.SSLError, match="(?i)alert protocol version"):
        peer.incoming.write(engine.output())
        peer.tls.do_handshake()


@pytest.mark.parametrize("data", [b"SSH-2.0-x\r\n", b"\x16\x03\x01\x00\x05hello",
                                  b"GET / HTTP/1.1\r\n\r\n"])
@pytest.mark.parametrize("feeding", [whole, octets])
def test_not_tls(context: ssl.SSLContext, data: bytes, feeding: Feeding) -> None:
    engine = TlsEngine(context)
    with pytest.raises(HandshakeFailed):
        for piece in feeding(data):
            engine.feed(piece)
            assert not engine.do_handshake()


def test_detached(context: ssl.SSLContext, peer: Peer) -> None:
    engine = TlsEngine(context)
    connect(engine, peer)
    moved = engine.detach()
    assert moved.established and not engine.established and not engine.close_notify()
    with pytest.raises(ClientDisconnected, match="handed over"):
        engine.encrypt(b"x")
    engine.feed(peer.records(b"for the library"))
    with pytest.raises(ClientDisconnected, match="handed over"):
        engine.read()
    assert moved.read() == b"for the library"
    moved.encrypt(b"from the library")
    assert moved.close_notify()
    assert peer.read(moved.output()) == b"from the library\0"
