"""Which application a request is for: by SCRIPT_NAME, path and host."""

from typing import Any

import pytest

from geventuwsgi.app.applications import Application, Applications, origin_of, without_port


def applications(*mountpoints: str, **options: Any) -> Applications:
    return Applications([
        Application(number, mountpoint, origin_of(mountpoint)[1], lambda *_: None, mountpoint, 0,
                    host=origin_of(mountpoint)[0])
        for number, mountpoint in enumerate(mountpoints)], **options)


def chosen(found: Applications, script: str = "", path: str = "/", **variables: str) -> str:
    environ = {"SCRIPT_NAME": script, "PATH_INFO": path, **variables}
    found.place(environ)
    app = found.choose(environ)
    name = app.mountpoint if app is not None else "none"
    return f"{name} {environ['SCRIPT_NAME']} {environ['PATH_INFO']}"


HOSTS = ("a.test|", "a.test|/x", "b.test|", "/y")


@pytest.mark.parametrize(("host", "path", "expected"), [
    ("a.test", "/", "a.test|  /"), ("a.test", "/x/1", "a.test|/x /x /1"),
    ("A.Test:80", "/x", "a.test|/x /x "), ("b.test", "/x/1", "b.test|  /x/1"),
    ("c.test", "/y/1", "/y /y /1"), ("", "/z", "/y  /z")])
def test_host_and_path(host: str, path: str, expected: str) -> None:
    found = applications(*HOSTS, manage_script_name=True, virtual_host="HTTP_HOST")
    assert chosen(found, path=path, HTTP_HOST=host) == expected


def test_host_and_script_name() -> None:
    found = applications(*HOSTS, virtual_host="SERVER_NAME")
    assert chosen(found, "/x", SERVER_NAME="a.test") == "a.test|/x /x /"
    assert chosen(found, "/q", SERVER_NAME="a.test") == "a.test| /q /"
    assert chosen(found, SERVER_NAME="c.test") == "/y  /"
    assert found.only is None and found.default is found.all[3]


def test_no_application_for_another_host() -> None:
    """As in uWSGI, an application with a host is never the default."""
    found = applications("a.test|", virtual_host="HTTP_HOST")
    assert chosen(found, HTTP_HOST="b.test") == "none  /"
    assert found.default is None and found.only is None


def test_no_default_app() -> None:
    found = applications("", "/x", no_default=True)
    assert [chosen(found, script) for script in ("", "/x", "/q")] == [
        "  /", "/x /x /", "none /q /"]
    assert applications("", no_default=True).only is None
    assert "default app" not in found.ready_lines(1)[0]


def test_ignore_script_name() -> None:
    found = applications("/x", "", ignore_script_name=True)
    assert found.only is found.all[1]


def test_wrapped_applications_are_chosen_the_same_way() -> None:
    found = applications(*HOSTS, manage_script_name=True, virtual_host="HTTP_HOST")
    again = found.wrapped(lambda callable: (lambda *_: 1))
    assert chosen(again, path="/x", HTTP_HOST="a.test") == "a.test|/x /x "
    assert again.all[0].callable() == 1


def test_ports_of_hosts() -> None:
    assert [without_port(host) for host in ("a:80", "a", "[::1]:80", "[::1]")] == [
        "a", "a", "[::1]", "[::1]"]
