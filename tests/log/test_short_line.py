"""The short request line, and when it is coloured."""

import os
import pty
from types import SimpleNamespace

import pytest

from geventuwsgi.log.format import colours, short_line


def record(**more):
    return SimpleNamespace(**{"method": "GET", "uri": "/a?b=c", "status": 200, "body_size": 12,
                              "duration": 0.00312, **more})


@pytest.mark.parametrize("more, line", [
    ({}, "GET /a?b=c 200 12 B 3.1 ms\n"),
    ({"duration": 1.5, "method": "POST"}, "POST /a?b=c 200 12 B 1500 ms\n"),
    ({"uri": "/\x1b[31m\n"}, "GET /\\x1b[31m\\x0a 200 12 B 3.1 ms\n")])
def test_the_line(more, line):
    assert short_line(False)(record(**more)) == line


@pytest.mark.parametrize("status, colour", [(200, 32), (304, 36), (404, 33), (500, 31)])
def test_the_status_has_its_colour(status, colour):
    assert f" \x1b[{colour}m{status}\x1b[0m " in short_line(True)(record(status=status))


def test_the_environment_decides_about_colours(tmp_path):
    ends = pty.openpty()
    kept = os.dup(1)
    try:
        os.dup2(ends[1], 1)
        for target, environ, coloured in [
                (None, {"TERM": "xterm"}, True), ("-", {}, True), ("/dev/stdout", {}, True),
                (None, {"NO_COLOR": "1"}, False), (None, {"NO_COLOR": ""}, True),
                (None, {"TERM": "dumb"}, False), (str(tmp_path / "log"), {}, False),
                (str(tmp_path / "log"), {"FORCE_COLOR": "1"}, True),
                (None, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)]:
            assert colours(target, environ) is coloured, (target, environ)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
        assert not colours(None, {"TERM": "xterm"}) and colours(None, {"FORCE_COLOR": "1"})
    finally:
        os.dup2(kept, 1)
        for fd in (*ends, kept):
            os.close(fd)
