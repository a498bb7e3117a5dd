"""The request log of a server in the formats that can be configured."""

import re
from pathlib import Path

import pytest

from tests.harness import Server, wait_until

APP = '''
def application(environ, start_response):
    start_response("200 OK", [("X-Colour", "blue"), ("x-colour", "green"), ("X-Empty", "")])
    return [b"hello"]
'''
DATE = r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"


@pytest.mark.parametrize("arguments, line", [
    (("--access-logformat", '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'),
     rf'127\.0\.0\.1 - - {DATE} "GET /a\?b HTTP/1\.1" 200 5 "-" "a \\"b\\""'),
    (("--access-logformat", "%({X-Colour}o)s|%({x-empty}o)s|%({X-None}o)s|%({user-agent}i)s"),
     r'blue, green\|-\|-\|a "b"'),
    (("--log-format", "%(addr) %(method) %(uri) %(status) %(rsize) %(var.PATH_INFO) %(unknown)"),
     r"127\.0\.0\.1 GET /a\?b 200 5 /a -"),
    (("--log-micros", "--log-x-forwarded-for"),
     r"\[pid: \d+\|app: 0\|req: 1/1\] 10\.0\.0\.9 \(\) \{\d+ vars in \d+ bytes\} \[.*\] GET /a\?b "
     r"=> generated 5 bytes in \d+ micros \(HTTP/1\.1 200\) 3 headers in \d+ bytes "
     r"\(1 switches on core 0\)"),
])
def test_the_line(tmp_path: Path, arguments: tuple[str, ...], line: str) -> None:
    with Server(tmp_path, "app:application", *arguments, app=APP) as server:
        server.get("/a?b", 'User-Agent: a "b"\r\nX-Forwarded-For: 10.0.0.9\r\n')
        logged = wait_until(lambda: server.out, "a line in the request log")
        assert re.fullmatch(line, logged[0]), logged
        assert server.stop() == 0
