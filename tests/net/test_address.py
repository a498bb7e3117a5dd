"""Addresses as text: one table of spellings, one of mistakes."""

import socket

import pytest

from geventuwsgi.errors import BindError
from geventuwsgi.net.address import Address, looks_like_tcp, parse

V4, V6, UNIX, LATER = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_UNSPEC


@pytest.mark.parametrize("text, family, host, port, path, shown", [
    ("127.0.0.1:8000", V4, "127.0.0.1", 8000, "", "127.0.0.1:8000"),
    (" 127.0.0.1:8000 ", V4, "127.0.0.1", 8000, "", "127.0.0.1:8000"),
    (":8000", V4, "", 8000, "", "0.0.0.0:8000"),
    ("*:8000", V4, "", 8000, "", "0.0.0.0:8000"),
    ("0.0.0.0:0", V4, "0.0.0.0", 0, "", "0.0.0.0:0"),
    ("tcp://10.0.0.1:80", V4, "10.0.0.1", 80, "", "10.0.0.1:80"),
    ("localhost:65535", LATER, "localhost", 65535, "", "localhost:65535"),
    ("[::1]:8000", V6, "::1", 8000, "", "[::1]:8000"),
    ("[::]:0", V6, "::", 0, "", "[::]:0"),
    ("/run/app.sock", UNIX, "", 0, "/run/app.sock", "/run/app.sock"),
    ("/run/a:b.sock", UNIX, "", 0, "/run/a:b.sock", "/run/a:b.sock"),
    ("app.sock", UNIX, "", 0, "app.sock", "app.sock"),
    ("3031", UNIX, "", 0, "3031", "3031"),
    ("unix:/run/app.sock", UNIX, "", 0, "/run/app.sock", "/run/app.sock"),
    ("unix:///run/app.sock", UNIX, "", 0, "/run/app.sock", "/run/app.sock"),
    ("unix:app.sock", UNIX, "", 0, "app.sock", "app.sock"),
    ("@name", UNIX, "", 0, "\0name", "@name"),
    ("\\0name", UNIX, "", 0, "\0name", "@name"),
    ("unix:@name", UNIX, "", 0, "\0name", "@name"),
    ("@name:with:colons", UNIX, "", 0, "\0name:with:colons", "@name:with:colons"),
])
def test_spellings(text, family, host, port, path, shown):
    address = parse(text)
    assert address == Address(family, host, port, path)
    assert address.text == shown
    assert address.is_unix == (family == UNIX)


@pytest.mark.parametrize("text, inherited", [("fd://3", "3"), ("fd://web", "web")])
def test_inherited(text, inherited):
    assert parse(text) == Address(LATER, inherited=inherited)
    assert parse(text).text == text


@pytest.mark.parametrize("text", [
    "", "  ", "unix:", "@", "fd://", "fd:///3", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536",
    "127.0.0.1:-1", "127.0.0.1:+80", "127.0.0.1:8_0", "127.0.0.1:٣",
    ".invalid:80", "a..b:80", "[::\0]:80", "a" * 64 + ":80", "256.0.0.1:80", "1.2.3:80",
    "::1:8000", "[::1", "[::1]", "[::g]:80", "[127.0.0.1]:80", "ho st:80", "http://127.0.0.1:80",
    "/" + "x" * 107, "é" * 54,
])
def test_errors_contain_the_text(text):
    with pytest.raises(BindError) as caught:
        parse(text)
    assert caught.value.exit_status == 1
    if text.strip():
        assert repr(text.strip()) in str(caught.value)


def test_the_longest_path():
    assert parse("/" + "x" * 106).is_unix


@pytest.mark.parametrize("text, likely", [
    ("8000", True), ("127.0.0.1", True), ("localhost", True), ("app.sock", False),
    ("/run/8000", False), (":8000", False)])
def test_a_missing_colon_is_recognized(text, likely):
    assert looks_like_tcp(parse(text)) is likely
