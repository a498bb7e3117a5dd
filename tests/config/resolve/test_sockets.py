"""Sockets that depend on several options, and options that wait or lock at startup."""

from typing import Any

import pytest

from geventuwsgi.errors import ConfigError

APP = "module = app\n"


def listeners(resolve: Any, text: str) -> list[tuple[str, str]]:
    return list(resolve(APP + text).listeners)


def test_shared_sockets(resolve: Any) -> None:
    assert listeners(resolve, "shared-socket = 127.0.0.1:8001\nhttp-socket = =1\nsocket = =0\n"
                              "undeferred-shared-socket = /run/x.sock\n") == [
        ("/run/x.sock", "http"), ("127.0.0.1:8001", "uwsgi")]


def test_shared_sockets_of_https_and_unused_ones(resolve: Any) -> None:
    settings = resolve(APP + "shared-socket = :443\nhttps-socket = addr==0,cert=a,key=b\n"
                             "https-socket = =1,a,b\nshared-socket = :444\nshared-socket = :445\n")
    assert settings.listeners == ((":443", "https"), (":444", "https"))
    assert [warning.partition("app.ini:")[2] for warning in settings.warnings] == [
        "7: shared-socket: :445: no other option refers to it by its number, so it is not bound"]


def test_abstract_sockets(resolve: Any) -> None:
    assert listeners(resolve, "abstract-socket = true\nsocket = /run/x.sock\nhttp-socket = :80\n"
                              "uwsgi-socket = @y\n") == [
        ("@/run/x.sock", "uwsgi"), (":80", "http"), ("@y", "uwsgi")]


@pytest.mark.parametrize(("text", "line", "reason"), [
    ("http-socket = =0\n", 3, "=0: there is no shared-socket 0"),
    ("shared-socket = :80\nhttp-socket = =2\n", 4, "there is no shared-socket 2, only 0 to 0"),
    ("http-socket = :80\nmap-socket = 1\n", 4, "not of the form SOCKET:WORKER"),
    ("http-socket = :80\nmap-socket = 0:0\n", 4, "workers from 1"),
    ("http-socket = :80\nprocesses = 2\nmap-socket = 0:1,3\n", 5, "there is no worker 3"),
    ("http-socket = :80\nmap-socket = 1:1\n", 4, "the workers have no socket 1"),
    ("http-socket = :80\nwait-for-socket = :many\n", 4, "many"),
    ("http-socket = :80\nwait-for-file-timeout = 1\nwait-for-fs-timeout = soon\n", 5, "soon"),
    ("http-socket = :80\nadd-gid = nonesuch-group\n", 4, "there is no group"),
    ("http-socket = :80\nimmediate-uid = nonesuch-user\n", 4, "there is no user"),
    ("http-socket = :80\n" + "".join(f"master-fifo = /run/{n}\n" for n in range(11)), 14,
     "there are only ten slots"),
])
def test_wrong_lines(resolve: Any, text: str, line: int, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(APP + text)
    assert f"app.ini:{line}: " in str(caught.value) and reason in str(caught.value)


def test_an_http_socket_counts_unless_the_router_serves_it(resolve: Any) -> None:
    text = "http = :80\nhttp-socket = :81\nmap-socket = 1:1\n"
    assert resolve("[geventuwsgi]\n" + APP + text).owners == ("worker", "worker")
    with pytest.raises(ConfigError, match="have no socket 1, only 0 to 0"):
        resolve(APP + "http-router = true\n" + text)


def test_sockets_whose_workers_cheaper_may_stop(resolve: Any) -> None:
    settings = resolve(APP + "http-socket = :80\nmap-socket = 0:2\nprocesses = 2\ncheaper = 1\n")
    assert any("4: map-socket: while the workers of a socket are stopped" in one
               for one in settings.warnings)


def test_aliases(resolve: Any) -> None:
    settings = resolve(APP + "http-socket = :80\nwait-iface = eth0\nwait-for-iface = eth1\n"
                             "wait-interface-timeout = 5\nflock = a\nflock2 = b\n"
                             "flock-wait2 = c\nmap-socket = 0: 1 , 1\n")
    assert settings.wait_for_interface == ("eth0", "eth1")
    assert settings.wait_for_interface_timeout == 5 and settings.wait_for_fs_timeout == 60
    assert settings.flock == ("a", "b") and settings.flock_wait == ("c",)
    assert settings.map_socket == ("0:1,1",)


def test_a_development_run_ignores_the_rights_of_production(resolve: Any) -> None:
    settings = resolve(APP + "http-socket = :0\nprocesses = 4\nmap-socket = 0:4\n"
                             "master-fifo = /run/x\nimmediate-uid = nobody\nadd-gid = 0\n"
                             "flock = /run/lock\n", dev=True)
    assert (settings.map_socket, settings.master_fifo, settings.immediate_uid, settings.add_gid,
            settings.flock) == ((), (), None, (), ())
