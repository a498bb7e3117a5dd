"""The syntax of hooks, daemons and daemonize: values, and messages for wrong ones."""

from typing import Any

import pytest

from geventuwsgi.config.settings import Settings
from geventuwsgi.config.values.hooks import ACTIONS, REFUSED
from geventuwsgi.errors import ConfigError
from geventuwsgi.master.attached import hooks as process_hooks

INI = "[uwsgi]\nmodule = a\nsocket = /run/x.sock\n"  # further lines begin with line 4


def test_the_actions_are_implemented() -> None:
    assert {*ACTIONS, "cd", "chdir"} == {*process_hooks.ACTIONS, *process_hooks.PROGRAMS}
    assert not set(ACTIONS) & set(REFUSED)


def test_hooks_keep_uwsgis_order_and_their_lines(resolve: Any) -> None:
    settings = resolve(INI + "exec-as-root = second\nhook-as-root = exec:first\n"
                       "hook-asap = !append:/tmp/x a: b\nhook-as-root = print: hello\n")
    assert [hook[:1] + hook[2:] for hook in settings.hooks] == [
        ("asap", "append", "/tmp/x a: b", True), ("as-root", "exec", "first", False),
        ("as-root", "print", " hello", False), ("as-root", "exec", "second", False)]
    assert [hook[1].rpartition("/")[2] for hook in settings.hooks] == [
        "app.ini:6: hook-asap", "app.ini:5: hook-as-root", "app.ini:7: hook-as-root",
        "app.ini:4: exec-as-root"]
    assert Settings.from_json(settings.to_json()).hooks == settings.hooks


def test_hooks_of_the_application_may_change_the_directory(resolve: Any) -> None:
    settings = resolve(INI + "hook-post-fork = chdir:/srv\nhook-pre-app = cd:/tmp\n")
    assert [hook[:1] + hook[2:] for hook in settings.hooks] == [
        ("pre-app", "cd", "/tmp", False), ("post-fork", "chdir", "/srv", False)]


def test_signals_and_touches(resolve: Any) -> None:
    settings = resolve(
        INI + "hook-master-start = unix_signal:15 gracefully_kill_them_all\n"
        "hook-master-start = exec:date\nhook-touch = /tmp/f  unlink:/tmp/g\n"
        "touch-exec = /tmp/f echo a  b\n")
    assert settings.bindings == ((15, "stop"),)
    assert [hook[2:] for hook in settings.hooks] == [("exec", "date", False)]
    assert [hook[:1] + hook[2:] for hook in settings.touch_hooks] == [
        ("/tmp/f", "unlink", "/tmp/g", False), ("/tmp/f", "exec", "echo a  b", False)]


@pytest.mark.parametrize(("line", "words"), [
    ("hook-asap = exec", "not of the form action:argument"),
    ("hook-asap = :x", "not of the form action:argument"),
    ("hook-asap = exec:", "exec needs a command"),
    ("hook-asap = exec:  ", "exec needs a command"),
    ("exec-asap =", "needs a command"),
    ("hook-asap = exek:date", "there is no action 'exek'; did you mean exec?"),
    ("hook-asap = zzz:date", "there is no action 'zzz' (there are exec,"),
    ("hook-asap = callint:foo 1", "callint: this server cannot call C functions"),
    ("hook-asap = mount:proc none /proc", "mount: mount file systems with the service manager"),
    ("hook-asap = cd:/tmp", "use the option chdir, or hook-post-fork"),
    ("hook-touch = /tmp/x chdir:/tmp", "use the option chdir"),
    ("hook-post-fork = chdir:", "chdir needs a directory"),
    ("hook-asap = putenv:A=b", "use the option env"),
    ("hook-asap = write:/tmp/x", "write needs FILE TEXT"),
    ("hook-asap = chmod:/tmp/x rw", "chmod needs FILE MODE"),
    ("hook-asap = chown:/tmp/x root", "chown needs FILE USER GROUP"),
    ("hook-asap = unlink:", "unlink needs a path"),
    ("hook-as-user = unix_signal:15 kill_them_all", "only be bound in hook-master-start"),
    ("hook-master-start = unix_signal:15", "not of the form unix_signal:NUMBER FUNCTION"),
    ("hook-master-start = unix_signal:9 kill_them_all", "9 is not a signal that can be bound"),
    ("hook-master-start = unix_signal:99 kill_them_all", "99 is not a signal"),
    ("hook-master-start = unix_signal:15 end_me", "there is no function 'end_me'"),
    ("hook-touch = /tmp/x", "not of the form FILE ACTION:ARGUMENT"),
    ("hook-touch = /tmp/x date", "not of the form action:argument"),
    ("touch-exec = /tmp/x", "not of the form FILE COMMAND"),
    ("hook-emperor-start = exec:date", "there is no emperor"),
    ("exec-as-vassal = date", "there is no emperor"),
    ("call-as-root = f", "use hook-as-root = exec:COMMAND"),
    ("mount-asap = x", "mount file systems with the service manager"),
    ("after-request-hook = f", "use middleware"),
    ("touch-signal = /tmp/f 17", "use touch-exec or hook-touch"),
    ("legion-attach-daemon = l date", "there is no legion"),
    ("chroot = /srv", "use a container"),
    ("attach-daemon =", "needs a command"),
    ("smart-attach-daemon = /run/x.pid", "not of the form PIDFILE COMMAND"),
    ("smart-attach-daemon = /run/x.pid,0 date", "not a number of at least 1"),
    ("attach-daemon2 = pidfile=/run/x.pid", "needs a command: cmd=COMMAND"),
    ("attach-daemon2 = cmd=date,color=red", "there is no key 'color'"),
    ("attach-daemon2 = cmd=echo a,b", "a comma in a value is written \\,"),
    ("attach-daemon2 = cmd=date,ns_pid=1", "ns_pid: namespaces are not supported"),
    ("attach-daemon2 = cmd=date,legion=x", "legion: there is no legion"),
    ("attach-daemon2 = cmd=date,stopsignal=77", "'77' is not a signal"),
    ("attach-daemon2 = cmd=date,stopsignal=TERMINATE", "'TERMINATE' is not a signal"),
    ("attach-daemon2 = cmd=date,uid=nobody-has-this", "there is no user"),
    ("attach-daemon2 = cmd=date,freq=3", "freq needs a pidfile"),
    ("attach-daemon2 = cmd=date,daemonize=1", "daemonize needs a pidfile"),
    ("attach-daemon2 = cmd=date,control=0", "in uWSGI any value means yes"),
    ("attach-daemon2 = cmd=date,pidfile=/x,control=1", "control is only for a daemon without"),
    ("attach-daemon2 = cmd=", "cmd needs a value"),
    ("daemonize = 127.0.0.1:514", "logs go to a file, not to an address"),
    ("daemonize = udp:log.example:514", "logs go to a file, not to an address"),
    ("daemonize =", "needs a path"),
    ("prio = 40", "not a number from -20 to 19"),
    ("max-fd = 5", "must be at least 64"),
    ("limit-as = much", "is not a number"),
    ("cpu-affinity = all", "is not a number"),
    ("reload-mercy = 0", "must be at least 1"),
])
def test_mistakes_name_their_line(resolve: Any, line: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(INI + line + "\n")
    option = line.partition(" ")[0]
    assert f"app.ini:4: {option}: " in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(("line", "fields"), [
    ("attach-daemon = redis-server --port 1, 2",
     {"command": "redis-server --port 1, 2"}),
    ("attach-control-daemon = a", {"command": "a", "control": True}),
    ("smart-attach-daemon = /run/m.pid memcached -d",
     {"command": "memcached -d", "pidfile": "/run/m.pid"}),
    ("smart-attach-daemon = /run/m.pid,30 memcached",
     {"command": "memcached", "pidfile": "/run/m.pid", "freq": 30}),
    ("smart-attach-daemon2 = /run/m.pid celery worker",
     {"command": "celery worker", "pidfile": "/run/m.pid", "daemonize": True}),
    ("attach-daemon2 = cmd=celery -Q a\\,b,stopsignal=2,reloadsignal=SIGUSR2,touch=/a;/b,"
     "max_throttle=5,chdir=/srv,uid=1,gid=2,stdin=1",
     {"command": "celery -Q a,b", "stop_signal": 2, "reload_signal": 12, "touch": ("/a", "/b"),
      "max_throttle": 5, "directory": "/srv", "uid": "1", "gid": "2", "stdin": True}),
    ("attach-daemon2 = exec=x,pidfile=/p,freq=4,daemon=1,notifypid=1",
     {"command": "x", "pidfile": "/p", "freq": 4, "daemonize": True, "notify": True}),
])
def test_daemons(resolve: Any, line: str, fields: dict[str, object]) -> None:
    settings = resolve(INI + line + "\n")
    found = dict(settings.daemons[0])
    assert found.pop("place").endswith(f"app.ini:4: {line.partition(' ')[0]}")
    assert found.pop("stdin") == fields.pop("stdin", False)
    assert found == fields


def test_all_logs_go_to_the_file_of_daemonize(resolve: Any) -> None:
    settings = resolve(INI + "daemonize = /var/log/a.log\nlogto = /var/log/b.log\n")
    assert settings.logto == "/var/log/a.log"
    assert settings.origin("logto") == settings.origin("daemonize")
    assert any("logto: has no effect" in warning for warning in settings.warnings)
    assert resolve(INI, "--daemonize2", "x.log").logto == "x.log"
    assert resolve(None, "app:app", "-D").daemonize == "/dev/null"
    assert resolve(INI + "daemon = true\n").daemonize is None  # a placeholder in uWSGI


def test_limits(resolve: Any) -> None:
    settings = resolve(INI + "limit-as = 512\nlimit-nproc = 50\nmax-fd = 9000\nprio = -5\n"
                       "cpu-affinity = 2\n")
    assert (settings.limit_as, settings.limit_nproc, settings.max_fd, settings.prio,
            settings.cpu_affinity) == (512, 50, 9000, -5, 2)
    nothing = resolve(INI + "limit-as = 0\n")
    assert (nothing.limit_as, nothing.prio, nothing.cpu_affinity) == (None, None, None)
