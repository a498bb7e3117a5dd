"""`manage.py rungeventuwsgi` and `flask geventuwsgi` with real projects."""

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT, Program, Server, wait_until


def needs(name: str) -> None:
    """Skip the test where a framework is not installed; in CI it fails."""
    try:
        __import__(name)
    except ImportError:
        (pytest.fail if "CI" in os.environ else pytest.skip)(f"{name} is not installed")


class Command(Server):
    """A command that executes the server.

    Args:
        directory: its current directory.
        words: its arguments after the interpreter.
    """

    def __init__(self, directory: Path, *words: str, **env: str) -> None:
        Program.__init__(self, sys.executable, *words, cwd=directory, env=env)
        self.directory = directory
        self._wait_ready = True


def run_command(directory: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, *words], cwd=directory, text=True, timeout=60,
                          capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


# Django

MANAGE = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
SETTINGS = """
DEBUG = {debug}
ALLOWED_HOSTS = ["*"]
SECRET_KEY = "not a secret, and as long as the checks want it to be: 0123456789"
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = ["django.contrib.staticfiles", "shop", "geventuwsgi.django"]
STATIC_URL = "/static/"
{more}
"""
URLS = """
import sys
from django.http import HttpResponse
from django.urls import path

def home(request):
    return HttpResponse(f"{type(request).__name__} {'gevent.monkey' in sys.modules}")

urlpatterns = [path("", home)]
"""
WSGI = """
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
"""


@pytest.fixture
def project(tmp_path):
    """A project in DIRECTORY/site, with `development.py` beside its settings."""
    needs("django")
    site = tmp_path / "site"
    (site / "shop" / "static").mkdir(parents=True)
    (site / "manage.py").write_text(MANAGE)
    for name, text in (
            ("__init__", ""), ("urls", URLS), ("wsgi", WSGI),
            ("settings", SETTINGS.format(debug=False, more="WSGI_APPLICATION = "
                                         "'shop.wsgi.application'")),
            ("development", SETTINGS.format(debug=True, more=""))):
        (site / "shop" / f"{name}.py").write_text(text)
    (site / "shop" / "static" / "shop.css").write_text("shop {}")
    yield site
    for name in [one for one in sys.modules if one.partition(".")[0] == "shop"]:
        del sys.modules[name]   # other tests have their own package of this name


def test_django_from_another_directory(project):
    """Options, an address, and the project's WSGI_APPLICATION; no reload and no static files."""
    with Command(project.parent, "site/manage.py", "rungeventuwsgi", "--workers", "2",
                 "127.0.0.1:0", "--log-format=%(uri)", "--settings", "shop.settings") as server:
        assert len(server.workers()) == 2
        assert b"WSGIRequest True" in server.get()
        assert b" 404 " in server.get("/static/shop.css")
        server.wait_for("application shop.wsgi:application loaded")
        assert server.stop() == 0


def test_django_in_development(project):
    """ASGI without ASGI_APPLICATION, with static files, as runserver."""
    with Command(project, "manage.py", "rungeventuwsgi", "127.0.0.1:0", "--asgi",
                 "--settings=shop.development") as server:
        assert b"ASGIRequest" in server.get()
        assert server.get("/static/shop.css").endswith(b"shop {}")
        server.wait_for("this is a development run")
        server.wait_for("System check identified no issues")
        assert server.stop() == 0


def test_a_django_project_that_is_broken_from_the_start(project):
    """The server starts and waits for a fix, as runserver does; without reload it ends."""
    command = ("manage.py", "rungeventuwsgi", "--settings=shop.development")
    models, urls = project / "shop" / "models.py", project / "shop" / "urls.py"
    urls.write_text("import nope_mod\n" + URLS)
    shown = run_command(project, *command, "--show-config")
    assert shown.returncode == 0 and "geventuwsgi.django.project:wsgi()" in shown.stdout
    assert shown.stderr.startswith(
        "The checks ended with ModuleNotFoundError: No module named 'nope_mod'\n")
    ended = run_command(project, *command, "--show-config", "--noreload")
    assert ended.returncode == 1 and "nope_mod" in ended.stderr
    urls.write_text(URLS)
    models.write_text("import (")
    ended = run_command(project, *command, "--show-config", "--noreload")
    assert ended.returncode == 1 and "SyntaxError" in ended.stderr
    with Command(project, *command, "127.0.0.1:0", "--py-autoreload=0.1") as server:
        assert b"SyntaxError" in server.get()
        models.write_text("")
        wait_until(lambda: b"WSGIRequest" in server.get(), lambda: server.log)
        assert server.stop() == 0


def test_django_errors_and_help(project):
    text = run_command(project, "manage.py", "rungeventuwsgi", "--help").stdout
    assert "WSGI_APPLICATION" in text and "geventuwsgi --help" in text
    wrong = run_command(project, "manage.py", "rungeventuwsgi", "--wrokers", "2")
    assert (wrong.returncode, wrong.stderr) == (
        2, "CommandError: --wrokers: there is no such option; did you mean --workers?\n")
    wrong = run_command(project, "manage.py", "rungeventuwsgi", "shop.wsgi")
    assert wrong.returncode == 2
    assert "'shop.wsgi' is neither a port nor address:port" in wrong.stderr
    settings = project / "shop" / "settings.py"
    settings.write_text(settings.read_text().replace('["*"]', "[]"))
    wrong = run_command(project, "manage.py", "rungeventuwsgi")
    assert wrong.returncode == 1 and "settings.ALLOWED_HOSTS is empty" in wrong.stderr


def test_django_command_lines(project, monkeypatch):
    """The server's command lines, without starting it."""
    django_project = pytest.importorskip("geventuwsgi.django.project")

    class Settings:
        DEBUG = False
        INSTALLED_APPS = ["django.contrib.staticfiles"]
        WSGI_APPLICATION = "shop.wsgi.application"
        ASGI_APPLICATION = None

    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "shop.settings")
    monkeypatch.syspath_prepend(project)
    monkeypatch.chdir(project)

    def words(*given, debug=False):
        Settings.DEBUG = debug
        return django_project.arguments(django_project.Command(given), Settings)

    plain = "--module=shop.wsgi:application"
    assert words() == [plain]
    assert words("8080", "-p", "4") == [plain, "--bind=127.0.0.1:8080", "--processes=4"]
    assert words("0:80", "--nothreading") == [plain, "--bind=0.0.0.0:80", "--threads=1"]
    assert words("-v", "2", "--traceback", "[::1]:1", "--ini=x.ini") == [
        plain, "--bind=[::1]:1", "--ini=x.ini"]
    assert words("--asgi") == ["--asgi=django.core.asgi:get_asgi_application()"]
    assert words("--nostatic", "--noreload", debug=True) == ["--dev", "--no-reload", plain]
    assert words(debug=True) == ["--dev", "--module=geventuwsgi.django.project:wsgi()"]
    assert words("--show-config") == [plain, "--show-config"]


# Flask

FLASK = """
from flask import Flask

def create_app(greeting="hello"):
    app = Flask(__name__)

    @app.get("/")
    def index():
        return f"{greeting} {app.debug}"

    return app
"""
# Does what the entry point does, for a source tree that is not installed.
RUN = """
import sys
from flask import cli
from geventuwsgi.flask import command
if "geventuwsgi" not in cli.cli.commands:
    cli.cli.add_command(command)
cli.main()
"""


@pytest.fixture
def site(tmp_path):
    needs("flask")
    (tmp_path / "hello.py").write_text(FLASK)
    (tmp_path / "run.py").write_text(RUN)
    return tmp_path


def test_flask(site):
    with Command(site, "run.py", "--app", "hello:create_app('good day')", "--debug",
                 "geventuwsgi", "--port", "0", "--workers", "1", "-L") as server:
        assert server.body() == b"good day True"
        server.wait_for("this is a development run")
        assert server.stop() == 0


def test_flask_by_its_variables(site):
    with Command(site, "run.py", "geventuwsgi", "-b", "127.0.0.1:0",
                 FLASK_APP="hello.py") as server:
        assert server.body() == b"hello False"
        assert not server.find("development run")
        assert server.stop() == 0


def test_flask_errors_and_entry_point(site):
    wrong = run_command(site, "run.py", "--app", "nowhere", "geventuwsgi", "--port", "0")
    assert wrong.returncode == 4 and "Could not import 'nowhere'" in wrong.stderr
    assert "geventuwsgi --help" in run_command(site, "run.py", "geventuwsgi", "--help").stdout
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert "geventuwsgi = geventuwsgi.flask:command" in setup["options.entry_points"][
        "flask.commands"]


def test_flask_addresses(site):
    from geventuwsgi import flask
    assert flask.arguments("::1", None, (), debug=False)[1:] == ["--bind=[::1]:8000"]
    assert flask.arguments(None, 5000, ("-L",), debug=True)[1:] == [
        "--dev", "--bind=127.0.0.1:5000", "-L"]
    assert flask.arguments(None, None, (), debug=False)[1:] == []


@pytest.mark.parametrize("words, found", [
    ([], ["--bind=0.0.0.0:5001"]), (["--port", "7"], ["--bind=0.0.0.0:7"]),
    (["-L"], ["--bind=0.0.0.0:5001", "-L"]), (["-b", ":1"], ["-b", ":1"]),
    (["-h", "::1", "-c", "x.ini"], ["--bind=[::1]:8000", "-c", "x.ini"]),
    (["--wrokers"], ["--bind=0.0.0.0:5001", "--wrokers"]),
])
def test_flask_address_variables(site, monkeypatch, words, found):
    """Sockets among the server's options override them."""
    from flask.cli import ScriptInfo

    from geventuwsgi import flask
    executed = []
    monkeypatch.setattr(flask, "exec_server", executed.extend)
    monkeypatch.setenv("FLASK_RUN_HOST", "0.0.0.0")
    monkeypatch.setenv("FLASK_RUN_PORT", "5001")
    flask.command.main(words, obj=ScriptInfo(), standalone_mode=False)
    assert executed[1:] == found
