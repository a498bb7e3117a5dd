"""What the README and the examples promise exists: their options are rows, their files start."""

import configparser
import re
import shlex
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from geventuwsgi.config.load.arguments import read
from geventuwsgi.config.options.table import row
from tests.harness import installed

PROJECT = Path(__file__).parent.parent
README = (PROJECT / "README.rst").read_text()

# Literals of the README that look like options and are none.
OTHERS = {"nginx", "conf", "init", "chroot", "for", "if-env", "modifier1", "keepalive_timeout",
          "proxy_pass", "uwsgi_pass", "app", "application"}


def commands():
    return [line.strip() for line in README.splitlines()
            if re.match(r"    (geventuwsgi|python -m geventuwsgi) ", line)]


@pytest.mark.parametrize("name", sorted(
    {name for name in re.findall(r"``(?:--)?([a-z][a-z0-9-]+)(?: = [^`]*|=[^`]*)?``", README)}
    - OTHERS))
def test_options_of_the_readme_exist(name):
    assert row(name) is not None


def test_files_that_the_documentation_names_are_there():
    for page in (PROJECT / "README.rst", *(PROJECT / "docs").glob("*.rst")):
        for path in re.findall(r"``((?:conf|docs|init|benchmarks)/[\w./-]*\w)``", page.read_text()):
            assert (PROJECT / path).exists(), f"{page.name} names {path}"


def test_files_that_a_page_names_are_in_the_wheel():
    """A wheel has the tree of a checkout, but for the code, in share/geventuwsgi."""
    data = configparser.ConfigParser()
    data.read(PROJECT / "setup.cfg")
    shipped = {str(path.relative_to(PROJECT)) for pattern in
               " ".join(value for name, value in data["options.data_files"].items()
                        if name.startswith("share/geventuwsgi")).split()
               for path in PROJECT.glob(pattern)}
    assert shipped == {"README.rst", "CHANGES.rst", "CONTRIBUTING.rst"} | {
        str(path.relative_to(PROJECT)) for name in ("conf", "docs", "init")
        for path in (PROJECT / name).iterdir() if path.is_file()}
    for page in map(PROJECT.joinpath, sorted(shipped)):
        for path in re.findall(r"\b(?:conf|docs|init)/[\w@.-]*\w", page.read_text()):
            assert path in shipped, f"{page.name} names {path}"


def test_the_map_of_the_package_is_not_stale():
    text = (PROJECT / "CONTRIBUTING.rst").read_text()
    package = PROJECT / "geventuwsgi"
    for path in package.iterdir():
        if (path / "__init__.py").exists():
            assert f"``{path.name}/" in text, f"CONTRIBUTING.rst has no {path.name}/"
    for name in re.findall(r"``([\w*.]+/[\w*./]*|\w+\.(?:py|rst))``", text):
        assert [*PROJECT.glob(name.strip("/")), *package.rglob(name.strip("/"))], name


@pytest.mark.parametrize("command", commands())
def test_commands_of_the_readme_are_understood(command):
    words = shlex.split(command)
    development = words[0] == "python"
    arguments = words[3:] if development else words[1:]
    settings, _ = read([word.replace("conf/app.ini", str(PROJECT / "conf/app.ini"))
                        for word in arguments], {}, dev=development)
    settings.require_application()
    assert settings.listeners


def test_the_two_commands_stand_there_for_ci():
    assert [line.strip().split(" && ")[-1] for line in README.splitlines()
            if line.startswith("    python3 -m venv ")] == [
        "venv/bin/geventuwsgi -c conf/app.ini", "venv/bin/python -m pytest"]


def test_the_ini_of_the_readme_reads_without_a_warning(tmp_path):
    text = README.partition("    [uwsgi]\n")[2].partition("\n\n\n")[0].partition("\n\nSections")[0]
    path = tmp_path / "shop.ini"
    path.write_text("[uwsgi]\n" + re.sub("(?m)^    ", "", text))
    settings, _ = read(["-c", str(path), "--strict"], {})
    assert (settings.processes, settings.gevent, settings.harakiri) == (4, 100, 60)


def test_conf_router_ini_is_strict():
    settings, _ = read(["-c", str(PROJECT / "conf/router.ini"), "--strict"], {})
    assert settings.standalone and settings.owners == ("router", "router")


def test_conf_app_ini_is_strict(tmp_path):
    settings, _ = read(["-c", str(PROJECT / "conf/app.ini"), "--strict"], {})
    assert settings.listeners == (("127.0.0.1:8000", "http"), ("127.0.0.1:3031", "uwsgi"))


@pytest.mark.parametrize("name", ["nginx-http.conf", "nginx-uwsgi.conf", "nginx-balancer.conf"])
def test_nginx_takes_its_configuration(tmp_path, name):
    result = subprocess.run([installed("nginx"), "-t", "-e", "stderr", "-p", str(tmp_path), "-c",
                             str(PROJECT / "conf" / name)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("method, path, status", [
    ("GET", "/", "200 OK"), ("POST", "/echo", "200 OK"), ("GET", "/stream", "200 OK"),
    ("GET", "/healthz", "204 No Content"), ("GET", "/none", "404 Not Found")])
def test_the_example_application_keeps_the_pep(monkeypatch, method, path, status):
    monkeypatch.syspath_prepend(str(PROJECT / "conf"))
    application = __import__("example_app").application
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": "",
               "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.input": BytesIO(b"")}
    setup_testing_defaults(environ)
    seen = []
    answer = validator(application)(environ, lambda status, headers, exc_info=None:
                                    seen.append(status) or (lambda data: None))
    body = b"".join(answer)
    answer.close()
    assert seen == [status]
    assert bool(body) == (status != "204 No Content")


@pytest.mark.parametrize("script", [".ci/run", "init/geventuwsgi.sysv"])
def test_scripts_parse(script):
    shell = "bash" if script == ".ci/run" else "sh"
    subprocess.run([shell, "-n", str(PROJECT / script)], check=True)


def test_the_entry_point_is_the_module():
    result = subprocess.run([sys.executable, "-m", "geventuwsgi", "--version"], cwd=PROJECT,
                            capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout.strip()
