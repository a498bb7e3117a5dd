"""Options on requests and responses: values, and messages for wrong ones."""

import re

import pytest

from geventuwsgi.errors import ConfigError
from tests.config.conftest import Resolve


def test_values(resolve: Resolve) -> None:
    settings = resolve(
        "error-page-404 = /a\nerror-page = 503 = /b\nrem-header = Server:\n"
        "collect-header = X-User  REMOTE_USER\nwebsockets-max-size = 64\n"
        "websocket-ping-freq = 5\nwebsocket-pong-tolerance = 6\nhttprouter = :80\n"
        "pymodule-alias = a.b = c\npecan = config.py\noffload-threads = 2\n"
        "http-socket-modifier1 = 0\nerror-route-status = ^5 log:x\nroute = ^/ log:y\n")
    assert settings.error_page == ("404=/a", "503=/b") and settings.del_header == ("Server",)
    assert settings.collect_header == ("X-User REMOTE_USER",)
    assert (settings.ws_max_size, settings.ws_ping_interval, settings.ws_ping_timeout) == (
        65536, 5, 6)
    assert settings.http == (":80",) and settings.pymodule_alias == ("a.b=c",)
    assert settings.module == "pecan.deploy:deploy('config.py')"
    assert settings.route == ("error-route-status ^5 log:x", "route ^/ log:y")


@pytest.mark.parametrize(("line", "reason"), [
    ("error-page = 418=/a", "'418' is not one of the statuses that the server itself sends"),
    ("error-page = /a", "is not one of the statuses"), ("error-page-404 =", "needs a path"),
    ("del-header = a b", "'a b' is not a header name"),
    ("collect-header = X-User", "is not of the form NAME VARIABLE"),
    ("pull-header = X-User wsgi.input", "is not of the form NAME VARIABLE"),
    ("websocket-max-size = 0", "must be at least 1 KiB"),
    ("workers = $(WORKERS)", "workers: WORKERS is not set in the environment: must be at least 1"),
    ("block-warning = 1", "block-warning: '1': must be at least 10 milliseconds"),
    ("harakiri = -1", "must be at least 0 seconds"),
    ("reload-on-rss = -1", "must be at least 0 megabytes"),
    ("cheaper-step = 0", "cheaper-step: '0': must be at least 1"),
    ("http-socket-modifier1 = 9", "9: this server runs only Python"),
    ("pymodule-alias = a", "is not of the form name=module"),
    ("threads-stack-size = 1", "must be at least 32"),
    ("fastrouter = :3031", "the router accepts HTTP, not the uwsgi protocol"),
    ("fastrouter-to = :3031", "proxy_pass in nginx"), ("eval = 1", "use wsgi-file"),
    ("start_response-nodelay = true", "yield that at once"),
    ("final-route = ^/ redirect:/x", "redirect: the response has been sent"),
    ("error-route-run = rewrite:/x", "the application has already responded"),
    ("response-route-run = break:", "the application has already responded"),
    ("route-status = 404 log:x", "there is no such option"),
])
def test_wrong_values(resolve: Resolve, line: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(reason)):
        resolve(f"{line}\nstrict = true")


def test_with_asgi(resolve: Resolve) -> None:
    settings = resolve("asgi = m\nerror-page-503 = /b\nws-max-size = 9\nwebsocket-max-size = 1\n")
    assert settings.ws_max_size == 1024
