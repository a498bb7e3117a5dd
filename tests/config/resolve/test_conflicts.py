"""Options that contradict each other are errors that name both places."""

import pytest

from geventuwsgi.config.resolve import asgi as asgi_conflicts
from geventuwsgi.errors import AppLoadError, ConfigError, UsageError
from tests.config.conftest import Resolve


@pytest.mark.parametrize("text, line, message", [
    ("harakiri-path = /a=5\nharakiri-path = /a=6\n", 3, "/a has two limits, 5 and 6 seconds"),
    ("harakiri = 5\nslow-request = 5\n", 3, "harakiri = 5 (app.ini:2) ends it before"),
    ("slow-request = 9\nharakiri = 5\nharakiri-path = /a=8\n", 2,
     "the longest harakiri-path, 8, ends it"),
    ("harakiri = 2\nblock-warning = 2000\n", 3, "worker-timeout = 2 (default) replaces it before"),
])
def test_contradictions(resolve: Resolve, text: str, line: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(text)
    error = str(caught.value)
    assert f"app.ini:{line}: " in error \
        and message in error.replace(str(caught.value.file), "app.ini")


@pytest.mark.parametrize("text", [
    "harakiri-path = /a=5\nharakiri-path = /a=5\nharakiri-path = /b=6\n",
    "harakiri = 6\nslow-request = 5\n", "slow-request = 5\n",
    "harakiri = 2\nharakiri-path = /a=0\nslow-request = 5\n",  # /a has no limit
    "harakiri = 2\nblock-warning = 1999\n", "block-warning = 60000\n",
])
def test_compatible_options(resolve: Resolve, text: str) -> None:
    resolve(text)


def test_a_format_by_gunicorns_name_has_only_its_atoms(resolve: Resolve) -> None:
    """One mistyped atom would make unset variables of all the others."""
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
    """The server must not start without the protection of its rules."""
    with pytest.raises(ConfigError, match="middleware in the application, or the") as one:
        resolve(f"{rule}\n{asgi}\n")
    assert one.value.line == 2 and one.value.option == rule.partition(" ")[0]
    resolve(rule + "\nmodule = m:app")


def test_without_effect_with_asgi(resolve: Resolve) -> None:
    settings = resolve("asgi = m:app\nthreads = 4\nstatic-map = /a=/b\ndisable-sendfile = 1\n"
                       "post-buffering = 1\nvhost = false\nstatic-gzip-all = true\n")
    warnings = [line.rpartition("app.ini:")[2] for line in settings.warnings]
    assert [line.partition(": has no effect with ASGI: ")[0] for line in warnings] == [
        "3: threads", "6: post-buffering", "5: disable-sendfile"]


def test_the_same_with_interface_auto(resolve: Resolve) -> None:
    """It is checked once the application is loaded."""
    settings = resolve("module = m:app\nthreads = 4\npost-buffering = 1\n")
    assert [line.partition(": has no effect")[0].rpartition(":")[2]
            for line in asgi_conflicts.found(settings)] == [" threads", " post-buffering"]
    with pytest.raises(AppLoadError, match=r"application is ASGI: .*app.ini:3: route: rules"):
        asgi_conflicts.found(resolve("module = m:app\nroute = ^/no break:403\n"))


def test_a_goto_needs_a_label(resolve: Resolve) -> None:
    for text, line in (("route = ^/a goto:x", 2), ("route-label = x\nroute-run = goto:x", 3),
                       ("error-route = ^/ goto:x\nroute-label = x", 2),
                       ("route-if = eq:a;b goto: x\nroute-label = y", 2)):
        with pytest.raises(ConfigError, match="goto:x: there is no .*route-label = x") as one:
            resolve(text)
        assert one.value.line == line
    resolve("route = ^/a goto: x\nroute-run = goto:${HTTP_X}\nroute = (.) goto:$1\n"
            "route-label = x\nfinal-route-run = goto:y\nfinal-route-label = y")


def test_a_host_needs_vhost(resolve: Resolve) -> None:
    with pytest.raises(ConfigError, match=r"app.ini:2: mount: a.test\|/x=m: an application for "
                                          "one host needs vhost = true"):
        resolve("mount = a.test|/x=m")
    assert resolve("mount = a.test|/x=m\nvhost = true").mount == ("a.test|/x=m",)
    with pytest.raises(ConfigError, match="'a/b' is not a host"):
        resolve("mount = a/b|/x=m\nvhost = true")
