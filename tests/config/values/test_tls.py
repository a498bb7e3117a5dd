"""The options of HTTPS: uWSGI's lines and gunicorn's options make the same TlsConfig."""

from typing import Any

import pytest

from geventuwsgi.config.settings import Settings
from geventuwsgi.errors import ConfigError
from geventuwsgi.net.tls_config import Certificate, TlsConfig

INI = "module = a\n"


@pytest.mark.parametrize("line, cert, more", [
    ("https-socket = :8443,a.crt,a.key", ("a.crt", "a.key", ""), {}),
    ("https = :8443,a.crt,a.key", ("a.crt", "a.key", ""), {}),
    ("https-socket = :8443, a.crt, a.key ; ours", ("a.crt", "a.key", ""), {}),
    ("https-socket = :8443,a.crt,a.key,HIGH", ("a.crt", "a.key", "HIGH"), {}),
    ("https-socket = :8443,a.crt,a.key,HIGH,ca.pem", ("a.crt", "a.key", "HIGH"),
     {"ca": "ca.pem", "verify": "optional"}),
    ("https-socket = :8443,a.crt,a.key,,!ca.pem", ("a.crt", "a.key", ""),
     {"ca": "ca.pem", "verify": "required"}),
    ("https2 = addr=:8443,cert=a.crt,key=a.key", ("a.crt", "a.key", ""), {}),
    ("https2 = addr=:8443,crt=a.crt,key=a.key,ciphers=HIGH,client_ca=!ca.pem,spdy=1",
     ("a.crt", "a.key", "HIGH"), {"ca": "ca.pem", "verify": "required"}),
])
def test_uwsgis_sockets(resolve: Any, line: str, cert: tuple[str, str, str],
                        more: dict[str, str]) -> None:
    settings = resolve(INI + line + "\n")
    option = line.split()[0].replace("https2", "https")
    assert settings.listeners == ((":8443", "https"),)
    assert settings.tls == (TlsConfig(Certificate(*cert, option=option), **more),)
    assert settings.tls_bind is None


def test_gunicorns_options(resolve: Any) -> None:
    settings = resolve(None, "a:b", "--certfile", "a.crt", "--keyfile", "a.key", "--ca-certs",
                       "ca.pem", "--cert-reqs", "2", "--ciphers", "HIGH", "--ssl-version",
                       "TLSv1_3", "--do-handshake-on-connect", "--bind", ":1", "--http-socket",
                       ":2", "--bind", ":3")
    tls = TlsConfig(Certificate("a.crt", "a.key", "HIGH", option="certfile"), ca="ca.pem",
                    verify="required", minimum="TLSv1.3")
    assert settings.listeners == ((":1", "https"), (":2", "http"), (":3", "https"))
    assert settings.tls == (tls, None, tls)
    assert settings.tls_bind == tls
    assert settings.warnings == ()


def test_uvicorns_option_and_one_file(resolve: Any) -> None:
    settings = resolve(None, "a:b", "--ssl-certfile", "a.pem")
    assert settings.listeners == (("127.0.0.1:8000", "https"),)
    assert settings.tls[0].certificate == Certificate("a.pem", option="certfile")


def test_in_an_ini_of_uwsgi_they_are_placeholders(resolve: Any) -> None:
    settings = resolve(INI + "certfile = /etc/a.crt\nkeyfile = /etc/a.key\n"
                             "https-socket = :8443,%(certfile),%(keyfile)\n")
    assert settings.tls[0].certificate[:2] == ("/etc/a.crt", "/etc/a.key")
    assert settings.certfile is None
    assert settings.warnings == ()


def test_host_names(resolve: Any) -> None:
    settings = resolve(INI + "https-socket = :8443,a.crt,a.key\nhttps = :8444,c.crt,c.key\n"
                             "sni = b.test b.crt,b.key,HIGH\nsni = *.c.test c.crt,c.key\n"
                             r"sni-regexp = ^d\d d.crt,d.key" "\nsni-dir = /etc/certs\n"
                             "sni-dir-ciphers = HIGH\nssl-option = 0x4000\nssl-option = 8\n")
    others = (Certificate("b.crt", "b.key", "HIGH", "b.test", option="sni"),
              Certificate("c.crt", "c.key", "", "*.c.test", option="sni"),
              Certificate("d.crt", "d.key", "", r"^d\d", True, "sni-regexp"))
    assert [tls[1:] for tls in settings.tls] == 2 * [
        (others, "/etc/certs", "HIGH", "", "none", "TLSv1.2", 0x4008, "")]


def test_where_the_passphrase_of_a_key_is(resolve: Any) -> None:
    line = INI + "https-socket = :8443,a.crt,a.key\nchdir = /srv\nssl-keyfile-password = %s\n"
    assert resolve(line % "env:NAME").tls[0].passphrase == "env:NAME"
    assert resolve(line % "file:a").tls[0].passphrase == "file:a"   # as uWSGI's certificates
    own = "[geventuwsgi]\n" + line % "file:a"
    assert resolve(own).tls[0].passphrase == "file:/srv/a"
    for wrong in ("secret", "env:", "file:", "env:A=B"):
        with pytest.raises(ConfigError, match="file:PATH or env:NAME") as caught:
            resolve(line % wrong)
        assert caught.value.line == 5


def test_json(resolve: Any) -> None:
    settings = resolve(INI + "https-socket = :8443,a.crt,a.key\nhttp-socket = :80\n"
                             "sni = b.test b.crt,b.key\n")
    again = Settings.from_json(settings.to_json())
    assert again == settings
    assert TlsConfig.from_json(again.tls[0]) == settings.tls[0]
    assert again.tls[1] is None


@pytest.mark.parametrize("line, words", [
    ("https-socket = :8443", "not of the form ADDRESS,CERTIFICATE,KEY"),
    ("https-socket = :8443,a.crt", "not of the form"),
    ("https-socket = :8443,a.crt,a.key,,,x", "more parts"),
    ("https-socket = :99999,a.crt,a.key", "not a port number"),
    ("https2 = addr=:8443,cert=a.crt", "not of the form"),
    ("https2 = addr=:8443,cert=a.crt,key=k,colour=red", "colour=red"),
    ("sni = b.test", "not of the form NAME CERTIFICATE,KEY"),
    ("sni = b.test b.crt,b.key,,ca.pem", "an https-socket of its own"),
    ("sni-regexp = ( b.crt,b.key", "not a regular expression"),
    ("ssl-option = NO_TICKET", "not a number"),
    ("ssl-option = 0x40000", "unsafe renegotiation"),
    ("ssl-enable3 = true", "TLS 1.2 is the oldest"),
])
def test_bad_lines(resolve: Any, line: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        resolve(INI + line + "\n")
    assert caught.value.line == 3
    assert caught.value.option == line.split()[0]


@pytest.mark.parametrize("arguments, words", [
    ("--keyfile a.key", "certfile is missing"),
    ("--certfile a.crt --cert-reqs required", "set ca-certs"),
    ("--certfile a.crt --cert-reqs sometimes", "not one of none, optional, required"),
    ("--certfile a.crt --ssl-version TLSv1", "TLS 1.2 is the oldest"),
    ("--certfile a.crt --ssl-version SSLv3", "TLS 1.2 is the oldest"),
    ("--certfile a.crt --protocol uwsgi --bind :1", "there is no TLS for the uwsgi protocol"),
])
def test_bad_combinations(resolve: Any, arguments: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        resolve(None, "a:b", *arguments.split())


@pytest.mark.parametrize("arguments, words", [
    ("--certfile a.crt --http-socket :1", "no socket uses it"),
    ("--certfile a.crt --ca-certs ca.pem", "unless cert-reqs is optional or required"),
])
def test_warnings(resolve: Any, arguments: str, words: str) -> None:
    (warning,) = resolve(None, "a:b", *arguments.split()).warnings
    assert words in warning


@pytest.mark.parametrize("line", [
    "ssl-verbose = true", "ssl-verify-depth = 3", "ssl-sessions-use-cache = c",
    "ssl-sessions-timeout = 60", "ssl-tmp-dir = /tmp", "https-session-context = x"])
def test_without_effect(resolve: Any, line: str) -> None:
    assert resolve(INI + "https-socket = :1,a,b\n" + line + "\n").warnings == ()
