"""Request lines: uWSGI's default, its variables, gunicorn's atoms, and escaping."""

import json
import re
import time
from types import SimpleNamespace

import pytest

from geventuwsgi.log.format import compile_format

STARTED = time.mktime((2026, 11, 21, 10, 12, 6, 0, 0, -1)) + 0.25
LOCAL_TIME = time.strftime("%d/Nov/2026:%H:%M:%S %z", time.localtime(STARTED))


def record(environ=None, **fields):
    known = dict(
        environ={"REMOTE_ADDR": "127.0.0.1", **(environ or {})}, method="GET", uri="/p?q",
        protocol="HTTP/1.1", status=200, header_count=2, header_size=64, body_size=2, vars=16,
        vars_size=142, duration=0.0015, started=STARTED, via="", app=0, core=0,
        app_requests=2, total_requests=5, pid=7701, worker=1, request_length=0, logvars=None)
    return SimpleNamespace(**{**known, **fields})


def test_the_line_of_uwsgi_to_the_letter():
    assert compile_format()(record({"REMOTE_USER": "user"}, duration=0.0001)) == (
        "[pid: 7701|app: 0|req: 2/5] 127.0.0.1 (user) {16 vars in 142 bytes} "
        "[Sat Nov 21 10:12:06 2026] GET /p?q => generated 2 bytes in 0 msecs (HTTP/1.1 200) "
        "2 headers in 64 bytes (1 switches on core 0)\n")


def test_no_application_and_via():
    line = compile_format()(record(app=-1, via="sendfile()"))
    assert line.startswith("[pid: 7701|app: -1|req: -1/5]")
    assert " in 1 msecs via sendfile() (HTTP/1.1 200) " in line


def test_micros_and_forwarded_address():
    line = compile_format(micros=True, x_forwarded_for=True)
    assert " in 1500 micros (" in line(record())
    assert "] 127.0.0.1 (" in line(record())
    assert "] 10.0.0.9 (" in line(record({"HTTP_X_FORWARDED_FOR": "10.0.0.9"}))


def test_the_memory_report_of_uwsgi():
    memory = [27303936, 17604608]
    line = compile_format(memory=lambda: tuple(memory))
    assert line(record()).startswith("{address space usage: 27303936 bytes/26MB} "
                                     "{rss usage: 17604608 bytes/16MB} [pid: 7701|app: 0|")
    memory[1] += 1048576
    assert "{rss usage: 18653184 bytes/17MB}" in line(record())
    assert compile_format("%(uri)", memory=lambda: (1, 2))(record()) == "/p?q\n"


def test_the_date_follows_the_request():
    line = compile_format()
    assert "[Sat Nov 21 10:12:06 2026]" in line(record())
    assert "[Sat Nov 21 10:12:07 2026]" in line(record(started=STARTED + 0.75))
    assert "[Sat Nov 21 10:12:06 2026]" in line(record())  # a slow one that began earlier


def test_the_cache_of_line_ends_is_bounded():
    line = compile_format()
    for size in range(1000):
        assert f" in {size} bytes (1 switches" in line(record(header_size=size))
    assert "(HTTP/1.0 404) " in line(record(protocol="HTTP/1.0", status=404))


HOSTILE = ["\n", "\r", "\x00", "\x1b[31m", "\x7f", "\x9b", "\u2028", "\xff", "\t"]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("field", ["uri", "method", "protocol"])
@pytest.mark.parametrize("format", [
    None, "%(uri) %(method) %(proto)", '%(h)s "%(r)s"', '{"u":"%(uri)%(method)%(proto)"}'])
def test_nothing_hostile_reaches_a_line(format, field, text):
    line = compile_format(format)(record(**{field: f"/a{text}b"}))
    assert line.isascii() and line[:-1].isprintable() and line[-1] == "\n"


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", ["REMOTE_ADDR", "REMOTE_USER", "HTTP_X_FORWARDED_FOR"])
def test_nothing_hostile_of_the_environ_reaches_a_line(name, text):
    line = compile_format(x_forwarded_for=True)(record({name: f"a{text}b"}))
    assert line[:-1].isprintable()


@pytest.mark.parametrize("name, expected", [
    ("uri", "/p?q"), ("method", "GET"), ("user", "-"), ("addr", "127.0.0.1"), ("host", "h.test"),
    ("proto", "HTTP/1.1"), ("uagent", "browser"), ("referer", "-"), ("status", "200"),
    ("rsize", "2"), ("hsize", "64"), ("size", "66"), ("cl", "7"), ("micros", "1500"),
    ("msecs", "1"), ("secs", "0.001500"), ("time", str(int(STARTED))),
    ("tmsecs", str(int(STARTED * 1000))), ("tmicros", str(int(STARTED * 1000000))),
    ("ctime", "Sat Nov 21 10:12:06 2026"), ("ftime", LOCAL_TIME),
    ("pid", "7701"), ("wid", "1"), ("switches", "1"), ("vars", "16"), ("core", "0"),
    ("pktsize", "142"), ("modifier1", "0"), ("modifier2", "0"), ("headers", "2"),
    ("var.HTTP_HOST", "h.test"), ("var.NONE", "-"), ("tenant", "acme"), ("unset", "-"),
    ("werr", "-"),
])
def test_variables(name, expected):
    format = compile_format(f"a %({name}) b")
    asked = record({"HTTP_HOST": "h.test", "HTTP_USER_AGENT": "browser"}, request_length=7,
                   logvars={"tenant": "acme"})
    assert format(asked) == f"a {expected} b\n"


def test_variables_of_now():
    text = compile_format("%(epoch) %(rss) %(vsz) %(rssM) %(vszM) %(ltime)")(record())
    epoch, rss, vsz, rss_m, vsz_m, date, zone = text.split()
    assert abs(int(epoch) - time.time()) < 60
    assert 0 < int(rss) < int(vsz) and int(rss_m) <= int(rss) >> 20 <= int(vsz_m)
    assert date == "21/Nov/2026:10:12:06" and re.fullmatch(r"[+-]\d{4}", zone)


def test_the_default_of_gunicorn():
    line = compile_format('%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"')(
        record({"HTTP_USER_AGENT": 'a "b" \\'}, body_size=0))
    assert re.fullmatch(
        r'127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] '
        r'"GET /p\?q HTTP/1\.1" 200 - "-" "a \\"b\\" \\\\"\n', line)


@pytest.mark.parametrize("atom, expected", [
    ("m", "GET"), ("U", "/p"), ("q", "q"), ("H", "HTTP/1.1"), ("B", "2"), ("b", "2"), ("T", "0"),
    ("M", "1"), ("D", "1500"), ("L", "0.001500"), ("p", "<7701>"), ("{Content-Type}i", "text/x"),
    ("{x-id}i", "7"), ("{X-Out}o", "a, b"), ("{none}o", "-"), ("{geventuwsgi.x}e", "1"),
])
def test_atoms(atom, expected):
    asked = record({"CONTENT_TYPE": "text/x", "HTTP_X_ID": "7", "geventuwsgi.x": 1},
                   response_headers=[("X-Out", "a"), ("x-out", "b")])
    assert compile_format(f"%({atom})s 5%%")(asked) == f"{expected} 5%\n"


def test_an_atom_that_does_not_exist():
    with pytest.raises(ValueError, match=r"no atom %\(nonsense\)s"):
        compile_format("%(nonsense)s", style="gunicorn")


def test_an_s_after_a_variable_of_uwsgi_is_a_letter():
    assert compile_format("%(uri) %(secs)s")(record()) == "/p?q 0.001500s\n"
    assert compile_format("%(h)s", style="uwsgi")(record(logvars={"h": "x"})) == "xs\n"


def test_percent_signs_braces_and_quotes_of_the_format_stay():
    assert compile_format("100% {x} {{y}} 'z' %(method)")(record()) == "100% {x} {{y}} 'z' GET\n"
    assert compile_format("no variable")(record()) == "no variable\n"


def test_json_stays_json():
    format = compile_format('{"uri": "%(uri)", "agent": "%(uagent)", "status": %(status)}')
    asked = record({"HTTP_USER_AGENT": 'a"b\\c\nd'}, uri="/caf\xc3\xa9\xff"[:-1])
    assert json.loads(format(asked)) == {"uri": "/café", "agent": 'a"b\\c\nd', "status": 200}
    assert json.loads(format(record(uri="/\xff")))["uri"] == "/\xff"


def test_ftime_has_the_form_of_log_date_only_with_strftime():
    """As in uWSGI, where log-format-strftime decides for all of the format."""
    assert compile_format("%(ftime)", date="%H+%M")(record()) == LOCAL_TIME + "\n"
    assert compile_format("%(ftime)", date="%H+%M", strftime=True)(record()) == "10+12\n"


def test_strftime_and_the_form_of_ftime():
    """Literal text is strftime's; a percent sign of the client's is not."""
    line = compile_format("<%Y> %(uri) %(ftime)", strftime=True, date="%H+%M")
    assert re.fullmatch(r"<\d{4}> /p\?%Y 10\+12\n", line(record(uri="/p?%Y")))
    assert compile_format("%Y %(ftime)")(record()) == f"%Y {LOCAL_TIME}\n"
