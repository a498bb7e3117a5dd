"""Options that contradict each other are told at the start, with both places."""

import pytest

from geventuwsgi.errors import ConfigError, UsageError
from tests.config.conftest import Resolve


@pytest.mark.parametrize("text, line, told", [
    ("harakiri-path = /a=5\nharakiri-path = /a=6\n", 3, "/a is given 5 seconds and 6"),
    ("harakiri = 5\nslow-request = 5\n", 3, "harakiri = 5 (app.ini:2) ends it before"),
    ("slow-request = 9\nharakiri = 5\nharakiri-path = /a=8\n", 2, "longest harakiri-path has 8"),
    ("harakiri = 2\nblock-warning = 2000\n", 3, "worker-timeout = 2 (default) replaces it before"),
])
def test_what_cannot_be_meant(resolve: Resolve, text: str, line: int, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(text)
    error = str(caught.value)
    assert f"app.ini:{line}: " in error and told in error.replace(str(caught.value.file), "app.ini")


@pytest.mark.parametrize("text", [
    "harakiri-path = /a=5\nharakiri-path = /a=5\nharakiri-path = /b=6\n",
    "harakiri = 6\nslow-request = 5\n", "slow-request = 5\n",
    "harakiri = 2\nharakiri-path = /a=0\nslow-request = 5\n",  # /a has no limit
    "harakiri = 2\nblock-warning = 1999\n", "block-warning = 60000\n",
])
def test_what_can(resolve: Resolve, text: str) -> None:
    resolve(text)


def test_a_format_under_gunicorn_s_name_has_its_atoms_only(resolve: Resolve) -> None:
    """One mistyped atom would turn all the others into variables that nobody sets."""
    with pytest.raises(UsageError, match=r"--access-logformat: no atom %\(Q\)s"):
        resolve(None, "a:a", "--access-logformat", '%(h)s "%(r)s" %(Q)s')
    with pytest.raises(ConfigError, match=r"GEVENTUWSGI_ACCESS_LOGFORMAT: no atom %\(uri\)s"):
        resolve(None, "a:a", environ={"GEVENTUWSGI_ACCESS_LOGFORMAT": "%(uri)s"})
    assert resolve(None, "a:a", "--access-logformat", "%({X-Id}i)s %(s)s").log_format
    assert resolve(None, "a:a", "--log-format", "%(h)s %(Q)s").log_format == "%(h)s %(Q)s"


def test_a_host_wants_vhost(resolve: Resolve) -> None:
    with pytest.raises(ConfigError, match=r"app.ini:2: mount: a.test\|/x=m: an application of one "
                                          "host wants vhost = true"):
        resolve("mount = a.test|/x=m")
    assert resolve("mount = a.test|/x=m\nvhost = true").mount == ("a.test|/x=m",)
    with pytest.raises(ConfigError, match="'a/b' is no host"):
        resolve("mount = a/b|/x=m\nvhost = true")
