"""Loggers and encoders as text: valid ones, and what the errors for others say."""

import gzip
import json
import re
import zlib

import pytest

from geventuwsgi.log.loggers import Logger, compiled, encoder, logger, routed

NOW = 1795290513.25


@pytest.mark.parametrize("text, expected", [
    ("file:/var/log/a.log", Logger("", "file", "/var/log/a.log")),
    ("file:/a,maxsize=10", Logger("", "file", "/a", 10)),
    ("err file:logfile=/a,maxsize=10,backupname=/b", Logger("err", "file", "/a", 10, "/b")),
    ("fd:3", Logger("", "fd", "3")), ("stdio", Logger("", "stdio")),
    ("socket:127.0.0.1:514,pre", Logger("", "socket", "127.0.0.1:514", prefix="pre")),
    ("s1 socket:/run/l.sock", Logger("s1", "socket", "/run/l.sock")),
    ("syslog", Logger("", "syslog")), ("syslog:", Logger("", "syslog")),
    ("syslog:app", Logger("", "syslog", prefix="app")),
    ("syslog:app,local0", Logger("", "syslog", prefix="app", priority=134)),
    ("syslog:local0", Logger("", "syslog", priority=134)),
    ("rsyslog:10.0.0.1", Logger("", "rsyslog", "10.0.0.1:514", priority=29)),
    ("rsyslog:h:5,app", Logger("", "rsyslog", "h:5", prefix="app", priority=29)),
    ("rsyslog:h:5,app,133", Logger("", "rsyslog", "h:5", prefix="app", priority=133)),
    ("systemd", Logger("", "systemd")),
])
def test_loggers(text, expected):
    assert logger(text) == expected


@pytest.mark.parametrize("text, reason", [
    ("", "not of the form"), ("a b c", "not of the form"), ("fiel:/a", "there is no logger"),
    ("redislog:127.0.0.1:6379", "use logger = socket"), ("python", "Python's logging"),
    ("file:", "needs a path"), ("file:/a,size=1", "the arguments of file are"),
    ("fd:\u00b2", "number of a descriptor"), ("socket:h:\u00b2", "neither HOST:PORT"),
    ("rsyslog:h,a,\u00b9", "not a syslog priority"), ("file:/a,maxsize=\u00b2", "not a number"),
    ("file:/a,maxsize=" + "9" * 5000, "not a number"),
    ("file:/a,maxsize=1M", "not a number of bytes"), ("fd:x", "number of a descriptor"),
    ("socket:", "neither HOST:PORT"), ("socket:h:0", "neither HOST:PORT"),
    ("syslog:a,local9", "no syslog facility"), ("rsyslog:h,a,999", "not a syslog priority"),
    ("rsyslog:h,a,1,2", "not of the form"),
])
def test_malformed_loggers(text, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        logger(text)


@pytest.mark.parametrize("text, expected", [
    ("prefix [x]", b"[x]line\n"), ("suffix !", b"line!\n"), ("nl", b"line\n\n"),
    ("format ${msg}|${msgnl}", b"line|line\n"), ("format ${unix} ${micros}",
                                                 b"1795290513 1795290513250000"),
    ("format ${strftime:%Y}", b"2026"), ("format a $ {b}", b"a $ {b}"),
])
def test_encoders(text, expected):
    _, encode = encoder(text)
    assert encode(b"line\n", NOW) == expected


def test_an_encoder_for_one_logger_and_the_output_of_json_and_gzip():
    name, encode = encoder('json:errors {"m": "${msg}", "t": ${unix}}')
    assert name == "errors"
    assert json.loads(encode(b'say "\\x" \t\xc3\xa9 \xff\n', NOW)) == {
        "m": 'say "\\x" \té \\xff', "t": 1795290513}
    gzipped = encoder("gzip")[1]
    assert gzip.decompress(gzipped(b"a\n", NOW) + gzipped(b"b\n", NOW)) == b"a\nb\n"
    assert zlib.decompress(encoder("compress")[1](b"a\n", NOW)) == b"a\n"


@pytest.mark.parametrize("parse, text, reason", [
    (encoder, "jsn {}", "there is no encoder"), (encoder, "", "there is no encoder"),
    (encoder, "format ${mesg}", "is none of"), (routed, "errors", "NAME REGEX"),
    (routed, "errors (", "not a regular expression"), (compiled, "[", "not a regular expression"),
])
def test_malformed_encoders_and_routes(parse, text, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse(text)


def test_a_route():
    assert routed(r"errors  (?i)error: \d+ x") == ("errors", r"(?i)error: \d+ x")
