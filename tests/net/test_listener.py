"""Listening sockets, on real sockets: bound, inherited, replaced, removed."""

import fcntl
import json
import os
import socket
import stat
import subprocess
import sys

import pytest

from geventuwsgi.errors import BindError
from geventuwsgi.net import listener as listeners
from geventuwsgi.net.address import parse
from geventuwsgi.net.listener import Inherited, Listener, bind, bind_all


@pytest.fixture
def bound():
    """Bind addresses that are closed after the test."""
    made = []

    def make(text, protocol="http", **options):
        made.append(bind(parse(text), protocol, **options))
        return made[-1]
    yield make
    for one in made:
        one.close()
        one.vacuum()


def accepted(listener):
    """Connect to a listener and return both ends."""
    client = socket.socket(listener.socket.family)
    client.connect(listener.socket.getsockname())
    return client, listener.socket.accept()[0]


def test_tcp(bound):
    listener = bound("127.0.0.1:0")
    assert listener.address.port != 0
    assert listener.url == f"http://127.0.0.1:{listener.address.port}"
    assert listener.owned and not listener.is_unix
    assert not listener.socket.getblocking()
    assert not os.get_inheritable(listener.socket.fileno())


def test_options_that_accepted_connections_inherit(bound):
    listener = bound("127.0.0.1:0", keepalive=True, sndbuf=30_000, rcvbuf=20_000, fast_open=9)
    assert listener.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN) == 9
    client, connection = accepted(listener)
    with client, connection:
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        # the kernel doubles what is name for, socket(7)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 60_000
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 40_000


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6_serves_ipv4_too(bound):
    listener = bound("[::]:0")
    assert listener.url.startswith("http://[::]:")
    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, listener.address.port)).close()


def test_a_host_name_is_looked_up(bound):
    assert bound("localhost:0").address.host == "127.0.0.1"
    with pytest.raises(BindError, match="no.such.host.invalid"):
        bind(parse("no.such.host.invalid:0"), "http")


def test_a_port_in_use(bound):
    port = bound("127.0.0.1:0").address.port
    with pytest.raises(BindError, match=f"127.0.0.1:{port}: address already in use"):
        bind(parse(f"127.0.0.1:{port}"), "http")


def test_reuse_port(bound):
    first = bound("127.0.0.1:0", reuse_port=True)
    assert bound(f"127.0.0.1:{first.address.port}", reuse_port=True).address == first.address


def test_no_such_interface():
    with pytest.raises(BindError, match="192.0.2.1:80.*no interface"):
        bind(parse("192.0.2.1:80"), "http")


def test_freebind_and_fast_open(bound):
    listener = bound("192.0.2.1:0", freebind=True, fast_open=7)     # RFC 5737: for documentation
    assert listener.address.host == "192.0.2.1"
    assert listener.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN) == 7
    assert bound("[2001:db8::1]:0", freebind=True).address.host == "2001:db8::1"    # RFC 3849


def test_listen_is_clamped(messages):
    allowed = listeners.backlog_of(None)
    assert listeners.backlog_of(allowed + 1) == allowed
    assert "net.core.somaxconn" in messages.text
    assert listeners.backlog_of(7) == 7


def test_unix(bound, tmp_path, messages):
    path = tmp_path / "app.sock"
    listener = bound(str(path), "uwsgi", chmod=0o620)
    assert stat.S_IMODE(path.stat().st_mode) == 0o620
    assert listener.url == f"uwsgi://unix:{path}"
    client, connection = accepted(listener)
    client.close(), connection.close()
    if path.stat().st_gid:
        listeners.hint_about_mode(listener)
        assert not messages.records


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
@pytest.mark.parametrize("owner, mode, hint", [
    ((0, 0), 0o660, "mode 660 and belongs to root:root: only its owner can connect"),
    ((65534, 65534), 0o660, ""), ((0, 65534), 0o620, ""), ((0, 0), 0o666, ""),
    ((65534, 65533), 0o755, "mode 755 and belongs to nobody:65533: only its owner can connect"),
])
def test_a_hint_about_the_owner_and_mode_of_a_unix_socket(bound, tmp_path, messages, owner, mode,
                                                          hint):
    listeners.hint_about_mode(bound(str(tmp_path / "a.sock"), chmod=mode, owner=owner))
    assert hint in messages.text and bool(hint) == bool(messages.records)


def test_the_mode_of_a_unix_socket_follows_the_umask_with_a_warning(bound, tmp_path, messages):
    before = os.umask(0o077)
    try:
        listener = bound(str(tmp_path / "app.sock"))
    finally:
        os.umask(before)
    listeners.hint_about_mode(listener)
    assert "mode 700" in messages.text and "chmod-socket" in messages.text


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
@pytest.mark.parametrize("owner, expected", [("nobody", (65534, 0)), ("12:34", (12, 34)),
                                             (":nogroup", (0, 65534)), ("12", (12, 0))])
def test_chown(bound, tmp_path, owner, expected):
    path = tmp_path / "app.sock"
    bound(str(path), chown=owner)
    assert (path.stat().st_uid, path.stat().st_gid) == expected


def test_chown_to_an_unknown_user(tmp_path):
    with pytest.raises(BindError, match="no user 'nosuchuser'"):
        bind(parse(str(tmp_path / "a")), "http", chown="nosuchuser")
    with pytest.raises(BindError, match="no group 'nosuchgroup'"):
        bind(parse(str(tmp_path / "b")), "http", chown=":nosuchgroup")


def test_a_stale_socket_file_is_replaced(bound, tmp_path, messages):
    path = str(tmp_path / "app.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    client, connection = accepted(bound(path))
    client.close(), connection.close()
    assert "stale" in messages.text


def test_a_live_socket_file_is_left_alone(bound, tmp_path):
    path = tmp_path / "app.sock"
    first = bound(str(path))
    with pytest.raises(BindError, match="already in use"):
        bind(parse(str(path)), "http")
    client, connection = accepted(first)
    client.close(), connection.close()


def test_a_live_socket_with_a_full_queue_is_left_alone(tmp_path):
    path = str(tmp_path / "app.sock")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as waiting:
        server.bind(path)
        server.listen(0)
        waiting.connect(path)
        with pytest.raises(BindError, match="already in use"):
            bind(parse(path), "http")


def test_another_file_is_left_alone(tmp_path):
    path = tmp_path / "app.sock"
    path.write_text("precious")
    with pytest.raises(BindError, match="the file exists and is not a socket"):
        bind(parse(str(path)), "http")
    assert path.read_text() == "precious"


def test_a_directory_that_is_not_there(tmp_path):
    with pytest.raises(BindError, match="the directory does not exist"):
        bind(parse(str(tmp_path / "not" / "there")), "http")


def test_abstract(bound):
    name = f"@geventuwsgi-test-{os.getpid()}"
    listener = bound(name)
    assert listener.url == f"http://unix:{name}"
    client, connection = accepted(listener)
    client.close(), connection.close()
    with pytest.raises(BindError, match="already in use"):
        bind(parse(name), "http")
    assert not listener.vacuum()


def test_vacuum_removes_only_our_file(tmp_path):
    path = tmp_path / "app.sock"
    listener = bind(parse(str(path)), "http")
    listener.close()
    path.rename(tmp_path / "ours")
    path.write_text("another server's")
    assert not listener.vacuum()
    path.unlink()
    assert not listener.vacuum()
    (tmp_path / "ours").rename(path)
    assert listener.vacuum()
    assert not path.exists()


def test_another_process_recreates_it(bound):
    listener = bound("127.0.0.1:0", "uwsgi")
    fd = os.dup(listener.socket.fileno())
    text = listener.to_json().replace(str(listener.socket.fileno()), str(fd))
    again = Listener.from_json(text)
    assert (again.url, again.owned) == (listener.url, False)
    assert not again.socket.getblocking()
    again.close()


def test_a_failure_closes_what_was_bound_before(tmp_path):
    path = tmp_path / "app.sock"
    with pytest.raises(BindError):
        bind_all([(str(path), "http"), ("192.0.2.1:1", "http")], Inherited({}, 1), {})
    assert not path.exists()


# Inherited sockets: in a process of its own, for their numbers begin at 3.

ADOPT = """
import json, os, sys
from geventuwsgi.net.listener import Inherited, bind_all
os.environ["LISTEN_PID"] = str(os.getpid()) if sys.argv[2] == "ours" else "1"
inherited = Inherited(os.environ, os.getpid())
found = bind_all(json.loads(sys.argv[1]), inherited, {}) + inherited.rest("http")
print(json.dumps([[one.socket.fileno(), one.protocol, one.owned] for one in found]))
print(json.dumps([name for name in os.environ if name.startswith("LISTEN_")]))
"""


def adopt(sockets, names, wanted, whose="ours"):
    """Run ADOPT with `sockets` as descriptors 3, 4, ...; return what it printed."""
    script = ("import os, sys\n"
              f"for number, fd in enumerate({[s.fileno() for s in sockets]}, 3):\n"
              "    os.dup2(fd, number)\n"
              f"os.execv(sys.executable, [sys.executable, '-c', {ADOPT!r}, *sys.argv[1:]])\n")
    result = subprocess.run(
        [sys.executable, "-c", script, json.dumps(wanted), whose], capture_output=True, text=True,
        pass_fds=[s.fileno() for s in sockets],
        env={**os.environ, "PYTHONPATH": os.getcwd(), "LISTEN_FDS": str(len(sockets)),
             "LISTEN_FDNAMES": ":".join(names)})
    assert result.returncode == 0, result.stderr
    found, left = map(json.loads, result.stdout.splitlines())
    assert left == []  # no child of ours shall take them for its own
    return found


@pytest.fixture
def pair(tmp_path):
    """A TCP and a unix socket with high numbers, as a service manager would have them."""
    made = []
    for family, name in ((socket.AF_INET, ("127.0.0.1", 0)),
                         (socket.AF_UNIX, str(tmp_path / "systemd.sock"))):
        with socket.socket(family) as sock:
            sock.bind(name)
            sock.listen()
            made.append(socket.socket(
                fileno=fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, 50)))
    yield made
    for sock in made:
        sock.close()


def test_systemd_sockets_that_no_option_names(pair):
    assert adopt(pair, ["http", "uwsgi"], []) == [[3, "http", False], [4, "uwsgi", False]]
    assert adopt(pair, ["connection", "unknown"], []) == [[3, "http", False], [4, "http", False]]


def test_systemd_sockets_by_name_and_by_address(pair):
    path = pair[1].getsockname()
    assert adopt(pair, ["web", "app"], [["fd://app", "uwsgi"], ["fd://web", "http"]]) == [
        [4, "uwsgi", False], [3, "http", False]]
    assert adopt(pair, [], [[path, "uwsgi"], ["127.0.0.1:%d" % pair[0].getsockname()[1], "http"]]
                 ) == [[4, "uwsgi", False], [3, "http", False]]
    assert adopt(pair, [], [["fd://4", "uwsgi"]]) == [[4, "uwsgi", False], [3, "http", False]]


def test_sockets_meant_for_another_process(pair):
    assert adopt(pair, ["http", "uwsgi"], [], "theirs") == []


def test_a_descriptor_that_is_not_a_socket():
    with open(os.devnull) as file, pytest.raises(BindError, match="is not an inherited socket"):
        bind(parse(f"fd://{file.fileno()}"), "http")
    with pytest.raises(BindError, match="fd://nosuch"):
        bind(parse("fd://nosuch"), "http")


def test_an_inherited_socket_that_is_only_bound_is_made_to_listen():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        listener = bind(parse(f"fd://{os.dup(sock.fileno())}"), "http")
        socket.create_connection(sock.getsockname()).close()
        listener.close()
