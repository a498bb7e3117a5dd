"""Rules of internal routing as they are read: what is taken, and what is said of the rest."""

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


def test_the_rules_people_write_keep_their_order(write: Callable[..., str]) -> None:
    settings, _ = read(["-c", write(TYPICAL)], {})
    assert [rule.split()[0] for rule in settings.route] == [
        line.split(" = ")[0] for line in TYPICAL.splitlines()[3:]]
    assert not settings.warnings


@pytest.mark.parametrize("line, reason", [
    ("route = ^/x", "is not of the form REGEX ACTION"),
    ("route = ( last:", "is no regular expression"),
    ("route-if = equal:a;b", "is not of the form CONDITION ACTION"),
    ("route-if = equals:a;b last:", "'equals' is no condition"),
    ("route-if = equal last:", "'equal' is no condition"),
    ("route-if = equal:a last:", "equal takes 2 operands"),
    ("route-if = exists:a;b last:", "exists takes 1 operand,"),
    ("route-if = regexp:a;( last:", "is no regular expression"),
    ("route-if = regexp:a;${X} last:", "a pattern holds nothing of the request"),
    ("route-if = lord:x last:", "'lord' is no condition"),
    ("route-run = jump:", "'jump' is no action"),
    ("route-run =", "a rule is of the form ACTION"),
    ("route-run = redirect:", "redirect wants an argument"),
    ("route-run = return:abc", "does not begin with a status"),
    ("route-run = return:999", "does not begin with a status"),
    ("route-run = break:4", "does not begin with a status"),
    ("route-run = http:127.0.0.1:80", "http is not done here: requests are not passed on"),
    ("route-run = setfile:/x.py", "a request does not choose what code runs"),
    ("route-run = harakiri:3", "use harakiri-path"),
    ("route-run = expires:time=60", "use addheader:Expires: ${httptime[SECONDS]}"),
    ("route-run = metricinc:x", "there are no metrics"),
    ("route-run = basicauth:Shop,/etc/htpasswd", "is not of the form realm,user:password"),
    ("route-run = addheader:X", "is not of the form Name: value"),
    ("route-run = addvar:X", "is not of the form name=value"),
    ("route-run = log:${metric[x]}", "${metric[x]} is not known here"),
    ("route-run = log:${uwsgi[lq]}", "${uwsgi[lq]} is not known here; there are uwsgi[pid]"),
    ("route-run = log:${time[x]}", "there are time[unix], time[micros]"),
    ("route-run = log:${a b}", "${a b} is not known here"),
])
def test_rules_that_cannot_be_followed(write: Callable[..., str], line: str, reason: str) -> None:
    path = write(f"[uwsgi]\nmodule = app\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        read(["-c", path], {})
    assert reason in str(caught.value) and f"{path}:3" in str(caught.value)


def test_the_page_of_rules_has_every_word() -> None:
    text = (Path(__file__).parents[3] / "docs" / "rules.rst").read_text()
    words = set(re.findall(r"``\$?\{?([^:`\[ ]+)", text))
    assert set(rules.CONDITIONS) <= words
    assert set(rules.ACTIONS) <= words
    assert set(rules.FUNCTIONS) <= words
