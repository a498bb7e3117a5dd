"""Rules of internal routing: the syntax that is accepted, and messages for wrong rules."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from geventuwsgi.config.load.arguments import read
from geventuwsgi.config.options import rules
from geventuwsgi.errors import ConfigError

TYPICAL = """[uwsgi]
http-socket = 127.0.0.1:0
module = app
route = ^/healthz$ donotlog:
route-if = ishigher:${CONTENT_LENGTH};15000000 break:413 Request Entity Too Large
route-if = equal:${HTTP_X_FORWARDED_PROTO};http redirect-permanent:https://x${REQUEST_URI}
route-host = ^(?!www\\.)(.*) redirect-301:https://www.$1/
route-uri = ^/static/ addheader:Cache-Control: max-age=60
route-run = fixpathinfo:
route-if = contains:${HTTP_ACCEPT_ENCODING};gzip goto:_gzip
route-run = last:
route-label = _gzip
route-run = gzip:
route-run = chunked:
"""


def test_rules_keep_their_order(write: Callable[..., str]) -> None:
    settings, _ = read(["-c", write(TYPICAL)], {})
    assert [rule.split()[0] for rule in settings.route] == [
        line.split(" = ")[0] for line in TYPICAL.splitlines()[3:]]
    assert not settings.warnings


@pytest.mark.parametrize("line, reason", [
    ("route = ^/x", "is not of the form REGEX ACTION"),
    ("route = ( last:", "is not a regular expression"),
    ("route-if = equal:a;b", "is not of the form CONDITION ACTION"),
    ("route-if = equals:a;b last:", "'equals' is not a condition"),
    ("route-if = equal last:", "'equal' is not a condition"),
    ("route-if = equal:a last:", "equal takes 2 operands"),
    ("route-if = exists:a;b last:", "exists takes 1 operand,"),
    ("route-if = regexp:a;( last:", "is not a regular expression"),
    ("route-if = regexp:a;${X} last:", "a pattern may not contain variables of the request"),
    ("route-if = lord:x last:", "'lord' is not a condition"),
    ("route-run = jump:", "'jump' is not an action"),
    ("route-run =", "a rule is of the form ACTION"),
    ("route-run = redirect:", "redirect needs an argument"),
    ("route-run = return:abc", "does not begin with an HTTP status"),
    ("route-run = return:999", "does not begin with an HTTP status"),
    ("route-run = break:4", "does not begin with an HTTP status"),
    ("route-run = http:127.0.0.1:80", "http is not supported: rules do not pass requests on"),
    ("route-run = setfile:/x.py", "a request cannot choose which code runs"),
    ("route-run = harakiri:3", "use harakiri-path"),
    ("route-run = expires:time=60", "use addheader:Expires: ${httptime[SECONDS]}"),
    ("route-run = metricinc:x", "there are no metrics"),
    ("route-run = basicauth:Shop,/etc/htpasswd", "is not of the form realm,user:password"),
    ("route-run = addheader:X", "is not of the form Name: value"),
    ("route-run = addvar:X", "is not of the form name=value"),
    ("route-run = log:${metric[x]}", "${metric[x]} is unknown"),
    ("route-run = log:${uwsgi[lq]}", "${uwsgi[lq]} is unknown; there are uwsgi[pid]"),
    ("route-run = log:${time[x]}", "there are time[unix], time[micros]"),
    ("route-run = log:${a b}", "${a b} is unknown"),
])
def test_wrong_rules(write: Callable[..., str], line: str, reason: str) -> None:
    path = write(f"[uwsgi]\nmodule = app\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        read(["-c", path], {})
    assert reason in str(caught.value) and f"{path}:3" in str(caught.value)


def test_docs_rules_names_every_word() -> None:
    text = (Path(__file__).parents[3] / "docs" / "rules.rst").read_text()
    words = set(re.findall(r"``\$?\{?([^:`\[ ]+)", text))
    assert set(rules.CONDITIONS) <= words
    assert set(rules.ACTIONS) <= words
    assert set(rules.FUNCTIONS) <= words
