"""Options that contradict each other are told at the start, with both places."""

import pytest

from geventuwsgi.config.resolve import asgi as conflicts_asgi
from geventuwsgi.errors import AppLoadError, ConfigError, UsageError
from tests.config.conftest import Resolve


@pytest.mark.parametrize("text, line, told", [
    ("harakiri-path = /a=5\nharakiri-path = /a=6\n", 3, "/a has two limits, 5 and 6 seconds"),
    ("harakiri = 5\nslow-request = 5\n", 3, "harakiri = 5 (app.ini:2) ends it before"),
    ("slow-request = 9\nharakiri = 5\nharakiri-path = /a=8\n", 2, "the longest harakiri-path, 8, ends it"),
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


@pytest.mark.parametrize("asgi", ["asgi = m:app", "module = m:app\ninterface = asgi"])
@pytest.mark.parametrize("rule", ["route = ^/no break:403", "error-route-run = log:x",
                                  "route-run = basicauth:R,a:b\nroute-run = last:"])
def test_rules_are_refused_with_asgi(resolve: Resolve, asgi: str, rule: str) -> None:
    """A guard that is lost must not start."""
    with pytest.raises(ConfigError, match="middleware in the application, or the") as one:
        resolve(f"{rule}\n{asgi}\n")
    assert one.value.line == 2 and one.value.option == rule.partition(" ")[0]
    resolve(rule + "\nmodule = m:app")


def test_what_has_no_effect_with_asgi(resolve: Resolve) -> None:
    settings = resolve("asgi = m:app\nthreads = 4\nstatic-map = /a=/b\nstatic-map = /c=/d\n"
                       "post-buffering = 1\nvhost = false\nstatic-gzip-all = true\n")
    told = [line.rpartition("app.ini:")[2] for line in settings.warnings]
    assert [line.partition(": has no effect with ASGI: ")[0] for line in told] == [
        "3: threads", "6: post-buffering", "4: static-map", "5: static-map", "8: static-gzip-all"]


def test_found_asgi_says_the_same(resolve: Resolve) -> None:
    """With `interface = auto` it is known when the application is loaded."""
    settings = resolve("module = m:app\nthreads = 4\npost-buffering = 1\n")
    assert [line.partition(": has no effect")[0].rpartition(":")[2]
            for line in conflicts_asgi.found(settings)] == [" threads", " post-buffering"]
    with pytest.raises(AppLoadError, match=r"application is ASGI: .*app.ini:3: route: rules"):
        conflicts_asgi.found(resolve("module = m:app\nroute = ^/no break:403\n"))


def test_a_goto_has_its_label(resolve: Resolve) -> None:
    for text, line in (("route = ^/a goto:x", 2), ("route-label = x\nroute-run = goto:x", 3),
                       ("error-route = ^/ goto:x\nroute-label = x", 2),
                       ("route-if = eq:a;b goto: x\nroute-label = y", 2)):
        with pytest.raises(ConfigError, match="goto:x: there is no .*route-label = x") as one:
            resolve(text)
        assert one.value.line == line
    resolve("route = ^/a goto: x\nroute-run = goto:${HTTP_X}\nroute = (.) goto:$1\n"
            "route-label = x\nfinal-route-run = goto:y\nfinal-route-label = y")


def test_a_host_wants_vhost(resolve: Resolve) -> None:
    with pytest.raises(ConfigError, match=r"app.ini:2: mount: a.test\|/x=m: an application of one "
                                          "host wants vhost = true"):
        resolve("mount = a.test|/x=m")
    assert resolve("mount = a.test|/x=m\nvhost = true").mount == ("a.test|/x=m",)
    with pytest.raises(ConfigError, match="'a/b' is no host"):
        resolve("mount = a/b|/x=m\nvhost = true")
