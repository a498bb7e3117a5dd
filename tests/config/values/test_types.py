"""The types of values: texts that are accepted, accepted only in [uwsgi] sections, or refused."""

import pytest

from geventuwsgi.config.options.static import PatternSeconds
from geventuwsgi.config.values import numbers
from geventuwsgi.config.values.numbers import Keepalive, Number, Seconds, Size
from geventuwsgi.config.values.origin import CastContext, Origin
from geventuwsgi.config.values.types import (
    Account, Address, Assignment, Boolean, Choice, Header, Many, Mount, Name, Network, Octal, Owner,
    Path, Plugins, SocketMode, Source, ValueType, Variable,
)
from geventuwsgi.errors import ConfigError, UsageError

UWSGI = Origin("file", "app.ini", 7, "opt", "uwsgi")
OURS = Origin("file", "app.ini", 7, "opt", "geventuwsgi")
ARGV = Origin("argv", option="opt")

# type, text, value, and whether it gives a warning in a [uwsgi] section
TAKEN = [
    (Boolean(), None, True, False),
    (Boolean(), "", True, False),
    (Boolean(), "1", True, False),
    (Boolean(), "TRUE", True, False),
    (Boolean(), "False", False, False),
    (Boolean(), "off", False, False),
    (Boolean(), "no", False, False),
    (Boolean(), "0", False, False),
    (Boolean(), "00", True, True),
    (Boolean(), "serialize accept() usage", True, True),
    (Boolean(), "false ; not now", False, True),
    (Number(), "60 ; seconds", 60, True),
    (Number(), "60\t# seconds", 60, True),
    (Number(), "8;x", 8, True),
    (Number(), "true", 0, True),
    (Number(on=1), "true", 1, True),
    (Number(), "false", 0, False),
    (Number(), "", 0, True),
    (Number(), "$(NOT_SET)", 0, True),
    (Number(), "12abc", 12, True),
    (Number(), "2.9", 2, True),
    (Number(off=True), "0", None, False),
    (Number(minimum=1, off=True), "0", None, False),
    (Number(auto=True), "auto", numbers.usable_processors(), False),
    (Seconds(), "90", 90, False),
    (Seconds(), "2.5", 2.5, False),
    (Seconds(), "90s", 90, False),
    (Seconds(), "5m", 300, True),
    (Seconds(), "1h", 3600, True),
    (Size(), "32768", 32768, False),
    (Size(), "64k", 65536, True),
    (Size(), "10M", 10485760, True),
    (Size(), "1 GiB", 1073741824, True),
    (Size(on=65536), "true", 65536, True),
    (Keepalive(), "true", 75, True),
    (Keepalive(), "True", 75, True),
    (Keepalive(), "1", 75, False),
    (Keepalive(), "0", 0, False),
    (Keepalive(), "20", 20, False),
    (Address(), "unix:8000", "unix:8000", False),
    (SocketMode(), None, 0o666, False),
    (SocketMode(), "1", 0o666, False),
    (SocketMode(), "660", 0o660, False),
    (SocketMode(), "0660", 0o660, True),
    (Octal(), "022", 0o022, False),
    (Octal(), "0o77", 0o077, False),
    (Path(), "/run/x.sock ; the socket", "/run/x.sock", True),
    (Path(), "/run/x;y#z", "/run/x;y#z", False),
    (Source(), "app:app ; cut", "app:app", True), (Source(), "a:b('; x') # c", "a:b('; x')", True),
    (Source(), "'app:app' ; cut", "app:app", True),
    (Source(), 'a:b("x ; y")', 'a:b("x ; y")', False), (Source(), "'app:app'", "app:app", True),
    (Name(), "app:app ; not cut", "app:app ; not cut", False),
    (ValueType(), "%(addr) # %(uri)", "%(addr) # %(uri)", False),
    (Address(), "127.0.0.1:8000", "127.0.0.1:8000", False),
    (Address(), ":8000 # all", ":8000", True),
    (Address(), "[::1]:8000", "[::1]:8000", False),
    (Address(), "/run/app.sock", "/run/app.sock", False),
    (Address(), "@name", "@name", False),
    (Address(), "fd://3", "fd://3", False),
    (Address(), "3031", ":3031", True),
    (Network(), "10.0.0.0/8", "10.0.0.0/8", False),
    (Network(), "10.1.2.3/8", "10.0.0.0/8", False),
    (Network(), "10.0.0.1", "10.0.0.1", False),
    (Network(), "::1", "::1", False),
    (Network(), "*", "*", False),
    (Account(), "root", "root", False),
    (Account(), "12345", "12345", False),
    (Account(group=True), "root", "root", False),
    (Owner(), "root:root", "root:root", False),
    (Owner(), ":0", ":0", False),
    (Choice("a", "b"), "A", "a", False),
    (Assignment(), "A=b=c", "A=b=c", False),
    (Assignment(), "A=", "A=", False),
    (Assignment(), "A = b", "A=b", True),
    (Variable(), "A=b", "A=b", False),
    (Variable(), "A = b", "A=b", True),
    (Variable(), " # of a file of variables", "", False),
    (Variable(), "", "", False),
    (Variable(), "export A=b=c", "A=b=c", True),
    (Variable(), "A", "A", True),
    (PatternSeconds(), "/* 86400", "/* 86400", False),
    (PatternSeconds(), "/* 86400 # a day", "/* 86400", True),
    (PatternSeconds(), "/* $(NOT_SET)", "/* 0", True),
    (Header(), "X-A:  b: c", "X-A: b: c", False),
    (Header(), "Connection: close", "Connection: close", False),
    (Header(), "Server: x", "Server: x", False),
    (Header(), "Connection: Keep-Alive", "Connection: Keep-Alive", True),
    (Header(), "Keep-Alive: timeout=5", "Keep-Alive: timeout=5", True),
    (Mount(), "/a=mod:app", "/a=mod:app", False),
    (Mount(), "/a=mod:f('x ; y') ; z", "/a=mod:f('x ; y')", True),
    (Mount(), "/a = mod:app", "/a=mod:app", False),
    (Plugins(), "python3,http", "python3,http", False),
    (Plugins(), "python311 gevent logfile", "python311 gevent logfile", False),
    (Plugins(), "0:python3,http", "0:python3,http", False),
    (Plugins(), "14:php", "14:php", True),
    (Plugins(), "php", "php", True),
    (Many(Network(), split=","), "10.0.0.1, ::1,", ("10.0.0.1", "::1"), False),
    (Many(ValueType()), "a,b", ("a,b",), False),
]

# type, text: refused outside [uwsgi] sections, accepted in them
STRICT = [
    (Boolean(), "maybe"), (Number(), "true"), (Number(), ""), (Number(), "$(NOT_SET)"),
    (Number(), "12abc"), (Number(), "2.5"),
    (Variable(), "A"), (Variable(), "# A"), (PatternSeconds(), "/* $(NOT_SET)"),
    (Seconds(), "5 fortnights"), (Address(), "3031"),
]

# type, text, a part of the message: refused everywhere
REFUSED = [
    (Number(), "-1", "at least 0"),
    (Number(minimum=1), "0", "at least 1"),
    (Number(maximum=5), "6", "at most 5"),
    (Number(minimum=1), "", "at least 1"),
    (Number(), "many", "'many' is not a number"),
    (Number(), "{{ workers }}", "is not a number"),
    (Number(), "auto", "'auto' is not a number"),
    (Seconds(), "soon", "not a number of seconds"),
    (Size(), "big", "not a number of bytes"),
    (Keepalive(), "long", "not a number of seconds"),
    (SocketMode(), "u=rw", "three octal digits"),
    (SocketMode(), "888", "three octal digits"),
    (SocketMode(), "66", "three octal digits"),
    (Octal(), "9", "not an octal number"),
    (Path(), "", "needs a path"),
    (Path(), "a\0b", "NUL"),
    (Name(), "", "needs a value"),
    (Address(), "", "needs an address"),
    (Address(), "127.0.0.1:99999", "'99999'"),
    (Address(), "127.0.0.1:http", "'http'"),
    (Address(), "::1:8000", "needs brackets"),
    (Address(), "a b:80", "blanks"),
    (Address(), "70000", "is not a port"),
    (Address(), "0.0.0.0", "'0.0.0.0' has no port: write 0.0.0.0:8000"),
    (Address(), "localhost", "has no port"),
    (Address(), "127.0.0.1:3031,127.0.0.1:3032", "only one address per line"),
    (Address(), "/run/a.sock,127.0.0.1:80", "only one address per line"),
    (Address(), "http://127.0.0.1:80", "is a URL: leave http:// out"),
    (Address(), "https://127.0.0.1:80/", "is a URL: leave https:// out"),
    (Network(), "10.0.0", "not an IP address"),
    (Network(), "example.com", "not an IP address"),
    (Account(), "nobody-has-this", "there is no user 'nobody-has-this'"),
    (Account(group=True), "nobody-has-this", "there is no group"),
    (Account(), "", "needs a user"),
    (Account(), "\u00b2", "there is no user"),
    (Account(), "4294967295", "4294967295 is above 4294967294, the highest user id"),
    (Owner(), "root:99999999999", "the highest group id"),
    (Owner(), "", "needs a user"),
    (Owner(), "root:nobody-has-this", "there is no group"),
    (Choice("a", "b", c="not here"), "c", "c: not here"),
    (Choice("a", "b"), "d", "not one of a, b"),
    (Assignment(), "A", "NAME=VALUE"),
    (Assignment(), "=b", "NAME=VALUE"),
    (Variable(), "=b", "NAME=VALUE"),
    (PatternSeconds(), "/*", "REGEX SECONDS"),
    (PatternSeconds(), "/* soon", "REGEX SECONDS"),
    (Header(), "Content-Length: 3", "the server writes this field itself"),
    (Header(), "transfer-encoding: chunked", "the server writes this field itself"),
    (Header(), "Date: today", "the server writes this field itself"),
    (Header(), "Trailer: X", "the server writes this field itself"),
    (Header(), "X-A", "Name: value"),
    (Header(), "X A: b", "Name: value"),
    (Header(), "X-A: b\r\nX-B: c", "CR, LF"),
    (Mount(), "/a", "/prefix=module"),
    (Mount(), "a=mod", "begins with '/'"),
    (Many(Address()), "", "needs an address"),
    (Many(Network(), split=","), "10.0.0.1,x", "'x' is not an IP address"),
]


@pytest.mark.parametrize(("value_type", "text", "value", "warned"), TAKEN)
def test_taken_in_a_uwsgi_section(value_type: ValueType, text: str | None, value: object,
                                  warned: bool) -> None:
    context = CastContext(UWSGI)
    got = value_type.cast(text, context)
    assert got == value and type(got) is type(value)
    assert bool(context.warnings) is warned, context.warnings
    assert all(warning.startswith("app.ini:7: opt: ") for warning in context.warnings)


@pytest.mark.parametrize(("value_type", "text"), STRICT)
@pytest.mark.parametrize("origin", [OURS, ARGV], ids=["section", "argv"])
def test_refused_outside_uwsgi_sections(value_type: ValueType, text: str,
                                        origin: Origin) -> None:
    with pytest.raises(ConfigError) as caught:
        value_type.cast(text, CastContext(origin))
    place = "app.ini:7: opt: " if origin is OURS else "--opt: "
    assert str(caught.value).startswith(place)
    value_type.cast(text, CastContext(UWSGI))


@pytest.mark.parametrize(("value_type", "text", "message"), REFUSED)
def test_refused_with_file_line_and_option(value_type: ValueType, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        value_type.cast(text, CastContext(UWSGI))
    assert str(caught.value).startswith("app.ini:7: opt: ")
    assert message in str(caught.value)
    assert (caught.value.file, caught.value.line, caught.value.option) == ("app.ini", 7, "opt")


def test_arguments_are_usage_errors_without_comments() -> None:
    with pytest.raises(UsageError):
        Number().cast("8 ; x", CastContext(ARGV))
    assert Path().cast("/tmp/a # b", CastContext(ARGV)) == "/tmp/a # b"


def test_the_message_names_the_variable() -> None:
    with pytest.raises(ConfigError, match="^environment: UWSGI_PROCESSES: 'x' is not a number$"):
        Number().cast("x", CastContext(Origin("environment", option="UWSGI_PROCESSES")))
