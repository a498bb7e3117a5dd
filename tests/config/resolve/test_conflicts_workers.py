"""Options of workers that contradict each other are errors that name both places."""

from typing import Any

import pytest

from geventuwsgi.errors import ConfigError, UsageError


@pytest.mark.parametrize(("text", "message"), [
    ("processes = 4\ncheaper = 4\n",
     r"app.ini:3: cheaper: invalid cheaper value: must be lower than processes: "
     r"cheaper = 4 \(.*app.ini:3\), processes = 4 \(.*app.ini:2\)$"),
    ("cheaper = 1\n", r"app.ini:2: cheaper: invalid cheaper value: .*processes = 1 \(default\)$"),
    ("workers = 8\ncheaper = 3\ncheaper-initial = 2\n",
     r"app.ini:4: cheaper-initial: must be at least cheaper: cheaper-initial = 2 \(.*app.ini:4\), "
     r"cheaper = 3 \(.*app.ini:3\)$"),
    ("workers = 8\ncheaper = 3\ncheaper-initial = 9\n",
     r"app.ini:4: cheaper-initial: must be at most processes: .*workers = 8 \(.*app.ini:2\)$"),
    ("workers = 8\ncheaper = 2\ncheaper-step = 0\n", r"app.ini:4: cheaper-step: '0': must be at"),
    ("workers = 8\ncheaper = 2\ncheaper-algo = clever\n", r"app.ini:4: cheaper-algo: 'clever' is"),
    ("cheaper-busyness-min = 60\n", r"app.ini:2: cheaper-busyness-min: must be below .*"
     r"cheaper-busyness-max = 50 \(default\)$"),
    ("cheaper-busyness-max = 20\n", r"app.ini:2: cheaper-busyness-max: must be below the maximum: "
     r"cheaper-busyness-min = 25 \(default\)"),
    ("cheaper-rss-limit-soft = 2G\ncheaper-rss-limit-hard = 1G\n",
     r"app.ini:2: cheaper-rss-limit-soft: must not be above the hard limit"),
    ("min-worker-lifetime = 60\nmax-worker-lifetime = 60\n",
     r"app.ini:2: min-worker-lifetime: the minimum lifetime of a worker must be below the maximum: "
     r"min-worker-lifetime = 60 \(.*:2\), max-worker-lifetime = 60 \(.*:3\)$"),
    ("reload-on-rss = 300\nevil-reload-on-rss = 200\n",
     r"app.ini:2: reload-on-rss: a worker would be killed before"),
    ("evil-reload-on-as = 200\nreload-on-as = 200\n", r"app.ini:3: reload-on-as: a worker would"),
    ("[geventuwsgi]\nreload-on-rss = much\n", r"app.ini:2: reload-on-rss: 'much' is not a number"),
    ("max-requests = -1\n", r"app.ini:2: max-requests: '-1': must be at least 0"),
])
def test_impossible(resolve: Any, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        resolve(text + "module = a\nsocket = :1\n")
    assert caught.value.exit_status == 1


def test_impossible_on_the_command_line(resolve: Any) -> None:
    with pytest.raises(UsageError, match="cheaper: invalid cheaper value.*command line"):
        resolve(None, "a:b", "--processes", "2", "--cheaper", "2")


@pytest.mark.parametrize("text", [
    "processes = 4\ncheaper = 1\n", "processes = 4\ncheaper = 0\n", "max-worker-lifetime = 5\n",
    "processes = 4\ncheaper = 2\ncheaper-initial = 4\n",
    "reload-on-rss = 200\nevil-reload-on-rss = 300\n", "cheap = true\nidle = 60\n"])
def test_possible(resolve: Any, text: str) -> None:
    assert resolve(text + "module = a\n").warnings == ()


@pytest.mark.parametrize(("text", "warning"), [
    ("max-requests-delta = 5\n", "max-requests-delta: has no effect without max-requests"),
    ("max-worker-lifetime-delta = 5\n", "has no effect without max-worker-lifetime"),
    ("cheaper-algo = busyness\n", "cheaper-algo: has no effect without cheaper"),
    ("cheaper-initial = 1\n", "cheaper-initial: has no effect without cheaper"),
    ("die-on-idle = true\n", "die-on-idle: has no effect without idle"),
    ("reload-on-rss = 512k\n", "only 512 of '512k' is read, as in uWSGI"),
])
def test_without_effect(resolve: Any, text: str, warning: str) -> None:
    assert any(warning in one for one in resolve(text + "module = a\n").warnings)


@pytest.mark.parametrize(("text", "megabytes"), [
    ("256", 256), ("256M", 256), ("256MB", 256), ("2G", 2048), ("0", 0)])
def test_megabytes(resolve: Any, text: str, megabytes: int) -> None:
    settings = resolve(f"module = a\nreload-on-rss = {text}\n")
    assert settings.reload_on_rss == megabytes
    assert bool(settings.warnings) == (text == "2G")
