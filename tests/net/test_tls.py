"""TLS contexts: versions, the choice by host name, and errors about files."""

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from geventuwsgi.errors import ConfigError
from geventuwsgi.net import tls
from geventuwsgi.net.tls_config import Certificate, TlsConfig
from tests.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def certificate(authority: Authority, host: str, **more: Any) -> Certificate:
    cert, key = authority.issue(host.replace("*", "any"), host)
    return Certificate(cert, key, option="https-socket", **more)


def do_handshake(server: ssl.SSLContext, client: ssl.SSLContext,
                 name: str = "a.test") -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Do a handshake of a client and a server in memory; return both sides."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (client.wrap_bio(to_client, to_server, server_hostname=name),
             server.wrap_bio(to_server, to_client, server_side=True))
    for _ in range(4):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    for side in sides:
        side.do_handshake()
    return sides


def subject(side: ssl.SSLObject) -> str:
    found: Any = side.getpeercert()
    return str(found["subjectAltName"][0][1])


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_a_handshake(authority: Authority, version: str) -> None:
    context = tls.context_of(TlsConfig(certificate(authority, "a.test")))
    client = authority.client(only=tls.VERSIONS[version])
    client.set_alpn_protocols(["h2", "http/1.1"])
    peer, own = do_handshake(context, client)
    assert own.version() == version
    assert own.selected_alpn_protocol() == peer.selected_alpn_protocol() == "http/1.1"


def test_old_versions_are_rejected(authority: Authority) -> None:
    own = certificate(authority, "a.test")
    client = authority.client()
    client.minimum_version = ssl.TLSVersion.TLSv1_2
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        do_handshake(tls.context_of(TlsConfig(own, minimum="TLSv1.3")), client)
    assert tls.context_of(TlsConfig(own)).minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_client_that_offers_only_h2_is_served_without(authority: Authority) -> None:
    client = authority.client()
    client.set_alpn_protocols(["h2"])
    _, own = do_handshake(tls.context_of(TlsConfig(certificate(authority, "a.test"))), client)
    assert own.selected_alpn_protocol() is None


@pytest.mark.parametrize("host, chosen", [
    ("a.test", "a.test"), ("b.test", "b.test"), ("B.TEST", "b.test"),
    ("x.c.test", "*.c.test"), ("own.c.test", "own.c.test"), ("c.test", "a.test"),
    ("x.y.c.test", "a.test"), ("d7.test", "d.test"), ("other.test", "a.test"),
    ("e.test", "e.test"),
])
def test_the_host_name_chooses(authority: Authority, tmp_path: Path, host: str,
                               chosen: str) -> None:
    others = tuple(certificate(authority, name, name=name)
                   for name in ("b.test", "*.c.test", "own.c.test"))
    pattern = certificate(authority, "d.test", name=r"^d\d\.test$", pattern=True)
    (tmp_path / "more").mkdir()
    Authority(tmp_path / "more")  # a file that is none of a host's
    for file in certificate(authority, "e.test")[:2]:
        Path(file).rename(tmp_path / "more" / Path(file).name)
    config = TlsConfig(certificate(authority, "a.test"), (*others, pattern), str(tmp_path / "more"))
    client = authority.client()
    client.check_hostname = False
    peer, _ = do_handshake(tls.context_of(config), client, host)
    assert subject(peer) == chosen


def test_client_certificates(authority: Authority, tmp_path: Path) -> None:
    own = certificate(authority, "a.test")
    config = TlsConfig(own, (certificate(authority, "b.test", name="b.test"),),
                       ca=str(authority.pem), verify="required")
    context = tls.context_of(TlsConfig.from_json([list(part) if isinstance(part, tuple) else part
                                                  for part in config]))
    shown = authority.client(authority.issue("me", "me@a.test", common_name="Mé/O=no"))
    for name in ("a.test", "b.test"):  # the authorities hold for every name
        _, side = do_handshake(context, shown, name)
        found = tls.client_variables(side, True)
        assert found["HTTPS_DN"].endswith("/CN=M\\xC3\\xA9/O=no")
        assert found["HTTPS_CC"].startswith("-----BEGIN CERTIFICATE-----\n")
        assert list(tls.client_variables(side, False)) == ["HTTPS_DN"]
        with pytest.raises(ssl.SSLError, match="(?i)peer did not return a certificate"):
            do_handshake(context, authority.client(), name)
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other").issue("stranger", "me@a.test")
    for name in ("a.test", "b.test"):
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            do_handshake(context, authority.client(stranger), name)
        assert "certificate verify failed: " in tls.reason_of(caught.value)
    optional = tls.context_of(config._replace(verify="optional"))
    _, side = do_handshake(optional, authority.client())
    assert tls.client_variables(side, True) == {}


def test_sessions_are_resumed_by_tickets(authority: Authority) -> None:
    """The key is in the context, so every process that inherits it by a fork accepts tickets."""
    context = tls.context_of(TlsConfig(certificate(authority, "a.test")))
    client = authority.client(only=ssl.TLSVersion.TLSv1_2)
    peer, own = do_handshake(context, client)
    assert not own.session_reused
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    again = client.wrap_bio(to_client, to_server, server_hostname="a.test", session=peer.session)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for side in (again, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    assert again.session_reused


def bad(authority: Authority, kind: str) -> tuple[TlsConfig, tuple[str, ...]]:
    cert, key = authority.issue("a", "a.test")
    other = authority.issue("b", "b.test")[1]
    folder = authority.directory
    own = Certificate(cert, key, option="https-socket")
    if kind == "missing":
        return TlsConfig(own._replace(cert="/nowhere.crt")), ("/nowhere.crt", "No such file")
    if kind == "missing key":
        return TlsConfig(own._replace(key="/nowhere.key")), ("private key /nowhere.key", "No such")
    if kind == "of another":
        return TlsConfig(own._replace(key=other)), (other, "does not belong to", cert)
    if kind == "of another kind":
        path = folder / "rsa.key"
        path.write_bytes(trustme.CA().issue_cert(
            "a.test", key_type=trustme.KeyType.RSA).private_key_pem.bytes())
        return TlsConfig(own._replace(key=str(path))), (str(path), "does not belong to", cert)
    if kind == "no certificate":
        return TlsConfig(own._replace(cert=key)), (key, "holds no certificate")
    if kind == "no key":
        return TlsConfig(own._replace(key=cert)), (cert, "holds no private key")
    if kind == "directory":
        return TlsConfig(own._replace(cert=str(folder))), (str(folder), "Is a directory")
    if kind == "ciphers":
        return TlsConfig(own._replace(ciphers="NONE-SUCH")), ("NONE-SUCH",)
    if kind == "authority":
        return TlsConfig(own, ca=key, verify="required"), (key, "no certificate of an authority")
    if kind == "missing authority":
        return TlsConfig(own, ca="/nowhere.pem"), ("authorities /nowhere.pem", "No such file")
    if kind == "missing directory":
        return TlsConfig(own, directory="/nowhere"), ("directory /nowhere", "No such file")
    if kind == "authority of a host":
        (folder / "a.ca").write_bytes(authority.pem.read_bytes())
        return TlsConfig(own, directory=str(folder)), ("a.ca", "separate listener")
    path = folder / "broken.crt"
    path.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    return TlsConfig(own._replace(cert=str(path))), ("cannot use", str(path))


@pytest.mark.parametrize("kind", [
    "missing", "missing key", "of another", "of another kind", "no certificate", "no key",
    "directory", "ciphers",
    "authority", "missing authority", "missing directory", "authority of a host", "broken"])
def test_bad_files_are_named(authority: Authority, kind: str) -> None:
    config, words = bad(authority, kind)
    with pytest.raises(ConfigError) as caught:
        tls.context_of(config)
    assert all(word in caught.value.message for word in words), caught.value.message
    assert caught.value.option in ("https-socket", "sni-dir")


def test_an_encrypted_key_does_not_prompt_on_the_terminal(authority: Authority,
                                                          tmp_path: Path) -> None:
    cert, key = authority.issue("locked", "a.test")
    authority.encrypt(key, "secret")
    config = TlsConfig(Certificate(cert, key, option="certfile"))
    with pytest.raises(ConfigError, match="locked.key is encrypted with a passphrase: "
                                          "ssl-keyfile-password says"):
        tls.context_of(config)
    (tmp_path / "secret").write_text("secret\nmore\n")
    for place in (f"file:{tmp_path}/secret", "env:SECRET"):
        context = tls.context_of(config._replace(passphrase=place), None, {"SECRET": "secret"})
        do_handshake(context, authority.client())
    open_key = TlsConfig(certificate(authority, "a.test"), passphrase="env:NONE")
    do_handshake(tls.context_of(open_key, None, {}), authority.client())


@pytest.mark.parametrize("place, message", [
    ("env:NONE", "env:NONE has no passphrase"), ("env:EMPTY", "env:EMPTY has no passphrase"),
    ("env:LONG", "env:LONG has no passphrase in its first line, or one of more than 1023"),
    ("env:WRONG", "the passphrase in env:WRONG does not open the private key .*locked.key"),
    ("file:/nowhere", "cannot read the passphrase /nowhere: No such file"),
    ("file:/", "cannot read the passphrase /: Is a directory"),
    ("file:/dev/null", "file:/dev/null has no passphrase")])
def test_a_passphrase_that_is_missing_or_wrong(authority: Authority, place: str,
                                               message: str) -> None:
    cert, key = authority.issue("locked", "a.test")
    authority.encrypt(key, "secret")
    with pytest.raises(ConfigError, match=message) as caught:
        tls.context_of(TlsConfig(Certificate(cert, key), passphrase=place), None,
                       {"EMPTY": "", "WRONG": "other", "LONG": "x" * 1024})
    assert caught.value.option == "ssl-keyfile-password"


def test_an_encrypted_key_of_another_certificate(authority: Authority) -> None:
    cert, _ = authority.issue("a", "a.test")
    _, key = authority.issue("locked", "b.test")
    authority.encrypt(key, "secret")
    with pytest.raises(ConfigError, match="does not belong to the certificate"):
        tls.context_of(TlsConfig(Certificate(cert, key), passphrase="env:S"), None, {"S": "secret"})


def test_keys_that_all_users_can_read(authority: Authority) -> None:
    own = certificate(authority, "a.test")
    assert tls.exposed_keys(TlsConfig(own)) == []
    Path(own.key).chmod(0o644)
    assert tls.exposed_keys(TlsConfig(own, (own,))) == [own.key]


@pytest.mark.parametrize("data, http", [
    (b"GET / HTTP/1.1\r\n", True), (b"OPTIONS * HTTP/1.1\r\n", True), (b"G", True),
    (b"PRI * HTTP/2.0\r\n", True), (b"\x80\x2e\x01\x00\x02", False), (b"\0\xff", False),
    (b"get /", False), (b"SSH-2.0-x", False)])
def test_looks_like_http(data: bytes, http: bool) -> None:
    assert tls.looks_like_http(data) is http
