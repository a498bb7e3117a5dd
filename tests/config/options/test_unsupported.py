"""uWSGI's options without effect: refused with a replacement, or harmless."""

from collections.abc import Callable
from typing import Any

import pytest

from geventuwsgi.config.load.arguments import check
from geventuwsgi.config.options.table import row
from geventuwsgi.config.options.unsupported import BACKGROUND, DEPLOYMENT
from geventuwsgi.errors import ConfigError

APP = "module = app\nhttp-socket = 127.0.0.1:0\n"


@pytest.mark.parametrize(("line", "instead"), [
    ("timer = 1 60", "systemd timer"),
    ("fs-signal = /tmp/x 17", "hook-touch"),
    ("mule = worker.py", "attach-daemon"),
    ("farm = first:1,2", "attach-daemon"),
    ("spooler = /var/spool/app", "Celery"),
    ("spooler-import = tasks", "task queue"),
    ("cache2 = name=x,items=100", "memcached"),
    ("queue = 100", "broker"),
    ("locks = 2", "fcntl.flock"),
    ("sharedarea = 10", "redis"),
    ("alarm = oom cmd:mail", "watch the log"),
    ("metric-alarm = key=worker.0,value=1", "prometheus_client"),
    ("emperor = /etc/uwsgi/apps-enabled", "geventuwsgi@.service"),
    ("vassals-include = /etc/uwsgi/all.ini", "geventuwsgi@.service"),
    ("legion = a 225.1.1.1:4242 98 bf-cbc:x", "keepalived"),
    ("zerg-server = /run/zerg", "reuse-port"),
    ("namespace = /ns/1", "container"),
    ("cgroup = /sys/fs/cgroup/x", "MemoryMax="),
    ("cap = net_bind_service", "AmbientCapabilities="),
    ("worker-exec = php", "attach-daemon"),
])
def test_refused_with_a_replacement(resolve: Any, line: str, instead: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(APP + line + "\n")
    assert f"app.ini:4: {line.partition(' =')[0]}: " in str(caught.value)
    assert instead in str(caught.value)


def test_a_vassal_runs_on_its_own(write: Callable[..., str], resolve: Any) -> None:
    vassal = APP + ("master = true\nheartbeat = 10\nvassal-sos-backlog = 10\nvassal-sos = true\n"
                    "die-on-term = true\n")
    assert resolve(vassal).warnings == ()
    report, _ = check(["--check-config", write(vassal)], {})
    assert report.fine and report.counts["ignored"] == 5


def test_tuning_options_are_ignored(resolve: Any) -> None:
    lines = "".join(f"{name} = 3\n" for name in (
        "mule-reload-mercy", "spooler-processes", "cache-expire-freq", "signal-bufsize",
        "forkbomb-delay", "check-interval", "alarm-freq", "ksm"))
    flags = "".join(f"{name} = true\n" for name in (
        "never-swap", "master-as-root", "enable-metrics"))
    assert resolve(APP + lines + flags).warnings == ()


def test_each_has_a_reason() -> None:
    for option in (*BACKGROUND, *DEPLOYMENT):
        assert row(option.name, True) is option
        assert len(option.reason) > 12 and not option.reason.endswith(".")
