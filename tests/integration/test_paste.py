"""PasteDeploy: composites, pipelines and filters of a real INI file, and a Pyramid application."""

import subprocess
import sys

import pytest

from geventuwsgi.errors import ConfigError
from geventuwsgi.paste import arguments_of
from tests.harness import ROOT, Program, Server, wait_until

pytest.importorskip("paste.deploy")

APP = """
import logging

def hello(global_conf, **local):
    logging.getLogger("shop").warning("built with %s", local)
    def application(environ, start_response):
        body = f"{local.get('text')} {environ['SCRIPT_NAME']} {environ.get('X')}".encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
    return application

def marked(app, global_conf, mark):
    def application(environ, start_response):
        environ["X"] = mark
        return app(environ, start_response)
    return application

def broken(global_conf):
    raise ValueError("no such shop")
"""
INI = """
[uwsgi]
http-socket = 127.0.0.1:0
processes = 2

[composite:main]
use = egg:Paste#urlmap

[pipeline:front]
pipeline = mark shop

[filter:mark]
paste.filter_app_factory = app:marked
mark = filtered in %(here)s

[app:shop]
paste.app_factory = app:hello
text = shop

[app:broken]
paste.app_factory = app:broken

[server:main]
use = egg:geventuwsgi#main
host = 127.0.0.1
port = 0

[loggers]
keys = root

[handlers]
keys = console

[formatters]
keys = plain

[logger_root]
level = INFO
handlers = console

[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = plain

[formatter_plain]
format = FROM THE INI %(message)s
"""
PYRAMID = """
from pyramid.config import Configurator
from pyramid.response import Response

def main(global_config, **settings):
    with Configurator(settings=settings) as config:
        config.add_route("home", "/")
        config.add_view(lambda request: Response("pyramid " + settings["shop"]), route_name="home")
        return config.make_wsgi_app()
"""
PRODUCTION = """
[app:main]
paste.app_factory = site_of_shop:main
pyramid.reload_templates = false
shop = %(here)s

[server:main]
use = egg:geventuwsgi#main
listen = 127.0.0.1:0
workers = 2
"""


@pytest.fixture
def site(tmp_path):
    (tmp_path / "production.ini").write_text(INI)
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.mark.parametrize("scheme", ["config:", ""])
def test_a_pipeline(site, scheme):
    with Server(site, "--paste", f"{scheme}production.ini#front", "--paste-logger",
                "--http-socket", "127.0.0.1:0", app=APP) as server:
        assert server.body("/").decode() == f"shop  filtered in {site}"
        server.wait_for("FROM THE INI built with")


def test_paste_logger_without_paste_does_not_end_the_start(tmp_path):
    """As in uWSGI; `paste-logger = %p` stands in many files that now have `module`."""
    ini = "[uwsgi]\nhttp-socket = 127.0.0.1:0\nwsgi-file = app.py\npaste-logger = %p\n"
    app = "def application(environ, start_response):\n    start_response('200 OK', [])\n" \
          "    return [b'ok']\n"
    with Server(tmp_path, ini=ini, app=app) as server:
        assert server.body("/") == b"ok"
        server.wait_for("app.ini:4: paste-logger: has no effect without paste")


@pytest.mark.parametrize("option", ["ini-paste", "ini-paste-logged"])
def test_a_file_with_server_and_application(site, option):
    text = INI.replace("[composite:main]\nuse = egg:Paste#urlmap", "[app:main]\nuse = shop")
    (site / "production.ini").write_text(text)
    with Server(site, f"--{option}", "production.ini", app=APP) as server:
        assert server.body("/").decode() == "shop  None"
        assert len(server.workers()) == 2
        assert bool(server.find("FROM THE INI")) == (option == "ini-paste-logged")


def test_a_mounted_file(site):
    with Server(site, "--mount", "/shop=production.ini#front", "--manage-script-name",
                "--http-socket", "127.0.0.1:0", app=APP) as server:
        assert server.body("/shop/x").decode() == f"shop /shop filtered in {site}"


def test_an_edit_reloads_a_development_run(site):
    with Server(site, "--dev", "--py-autoreload", "0.1", "--paste", "config:production.ini#shop",
                "--http-socket", "127.0.0.1:0", app=APP) as server:
        assert server.body("/").decode() == "shop  None"
        (site / "production.ini").write_text(INI.replace("text = shop", "text = other"))
        wait_until(lambda: server.body("/").decode() == "other  None", lambda: server.log)


@pytest.mark.parametrize("uri, reason", [
    ("config:production.ini#broken", "ValueError: no such shop"),
    ("config:production.ini#none", "'none'"),
    ("config:none.ini", "none.ini: no such file"),
    ("egg:NoSuchPackage#main", "NoSuchPackage"),
])
def test_an_application_that_does_not_load(site, uri, reason):
    with Program(sys.executable, "-c", "from geventuwsgi.cli import main; exit(main())", "--paste",
                 uri, "--http-socket", "127.0.0.1:0", cwd=site,
                 env={"PYTHONPATH": str(ROOT)}) as program:
        assert program.wait() == 4
        assert reason in program.log


def test_a_pyramid_application_from_its_production_ini(tmp_path):
    pytest.importorskip("pyramid")
    (tmp_path / "production.ini").write_text(PRODUCTION)
    (tmp_path / "site_of_shop.py").write_text(PYRAMID)
    with Server(tmp_path, "--paste", "config:production.ini", "--http-socket",
                "127.0.0.1:0") as server:
        assert server.body("/").decode() == f"pyramid {tmp_path}"


def test_the_runner_of_pserve(site):
    """Called as pserve does, it replaces its process by the server."""
    code = ("from geventuwsgi.paste import main; main(None, {'__file__': 'production.ini'},"
            " app_name='front', listen='127.0.0.1:0', workers='1')")
    with Program(sys.executable, "-c", code, cwd=site,
                 env={"PYTHONPATH": str(ROOT)}) as program:
        line = program.wait_for("Listening at: http://127.0.0.1:")
        port = int(line.rpartition("127.0.0.1:")[2].split()[0])
        program.wait_for("ready: 1 worker")
        body = subprocess.run(["curl", "-fs", f"http://127.0.0.1:{port}/"], check=True,
                              capture_output=True, text=True).stdout
        assert body.startswith("shop  filtered")
        assert program.stop() == 0
    wait_until(lambda: "goodbye" in program.log, "the end of the log")


PSERVE = """
[app:main]
paste.app_factory = site:none

[app:other]
paste.app_factory = app:hello
text = %(who)s

[server:main]
use = egg:geventuwsgi#main
port = %(http_port)s
"""


def test_pserve_with_a_name_variables_and_its_reloader(site):
    """The named application is served, again after an edit, and not after pserve has ended."""
    pytest.importorskip("pyramid")
    (site / "development.ini").write_text(PSERVE)
    package = site / "geventuwsgi-0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: geventuwsgi\nVersion: 0\n")
    (package / "entry_points.txt").write_text(
        "[paste.server_runner]\nmain = geventuwsgi.paste:main\n")

    def body():
        """Ask the latest server: the reloader may have started another, on another port."""
        address = program.log.rpartition("Listening at: ")[2].split()[0]
        return subprocess.run(["curl", "-s", address], capture_output=True, text=True).stdout

    with Program(sys.executable, "-m", "pyramid.scripts.pserve", "--reload", "-n", "other",
                 "development.ini", "who=Anna", "http_port=0", cwd=site,
                 env={"PYTHONPATH": f"{ROOT}:{site}"}) as program:
        program.wait_for("ready: 1 worker")
        wait_until(lambda: body().startswith("Anna "), "the application")
        (site / "app.py").write_text(APP.replace("{local.get('text')}", "edited"))
        wait_until(lambda: body().startswith("edited"), "the edited application")
        program.process.kill()
        wait_until(lambda: not body(), "the end of the server")


@pytest.mark.parametrize("section, arguments", [
    ({}, ["--bind=127.0.0.1:8080"]),
    ({"port": "80", "host": "::1"}, ["--bind=[::1]:80"]),
    ({"listen": "*:6543 [::1]:6543"}, ["--bind=0.0.0.0:6543", "--bind=[::1]:6543"]),
    ({"listen": "512", "bind": "unix:/x"}, ["--listen=512", "--bind=unix:/x"]),
    ({"http_socket": ":80"}, ["--http-socket=:80"]),
    ({"workers": "2", "port": "1", "max_requests": "5"},
     ["--bind=127.0.0.1:1", "--workers=2", "--max-requests=5"]),
    ({"unix_socket": "/x", "unix_socket_perms": "600", "url_scheme": "https", "ident": "",
      "trusted_proxy": "10.0.0.1", "threads": "4"},
     ["--bind=unix:/x", "--chmod-socket=600", "--route-run=setscheme:https",
      "--server-header=false", "--forwarded-allow-ips=10.0.0.1", "--threads=4"]),
])
def test_sections_as_command_lines(section, arguments):
    assert arguments_of({"__file__": "/x.ini"}, section, {}, []) == (
        ["--paste=config:/x.ini#main", "--paste-logger", *arguments], [])


@pytest.mark.parametrize("section, message", [
    ({"harakirri": "3"}, "harakirri: there is no such option; did you mean harakiri?"),
    ({"harakiri": "3x"}, "harakiri: '3x' is not a number of seconds"),
    ({"port": "x"}, "port: "),
    ({"stop": "x.pid"}, "stop: it is only valid on the command line"),
])
def test_errors_in_a_section(section, message):
    with pytest.raises(ConfigError) as caught:
        arguments_of({"__file__": "/x.ini"}, section, {"app_name": None, "server_name": "web"}, [])
    assert str(caught.value).startswith(f"/x.ini: [server:web]: {message}")


def test_keys_of_waitress_without_a_counterpart():
    arguments, warnings = arguments_of(
        {"__file__": "/x.ini"}, {"port": "1", "ipv6": "false", "ident": "shop"}, {}, [])
    assert arguments[2:] == ["--bind=127.0.0.1:1"]
    assert [line.partition(": ignored: ")[0] for line in warnings] == [
        "/x.ini: [server:main]: ipv6", "/x.ini: [server:main]: ident"]


@pytest.mark.parametrize("caller, argv, name", [
    ({"app_name": "other"}, [], "other"), ({"app_name": None}, ["-n", "x"], "front"),
    ({}, [], "front"),
])
def test_name_of_the_application(caller, argv, name):
    found, _ = arguments_of({"__file__": "/x.ini"}, {"app_name": "front"}, caller, argv)
    assert found[0] == f"--paste=config:/x.ini#{name}"


def test_a_name_that_is_unknown():
    message = "x.ini: .server:main.: the application that the command line names is unknown"
    with pytest.raises(ConfigError, match=message):
        arguments_of({"__file__": "/x.ini"}, {}, {}, ["-n", "other"])


def test_variables_of_the_command_line(tmp_path):
    path = tmp_path / "x.ini"
    path.write_text("[DEFAULT]\nhome = %(here)s/%(who)s\nkind = plain\n")
    found, _ = arguments_of(
        {"__file__": str(path), "here": str(tmp_path), "home": f"{tmp_path}/Anna", "who": "Anna",
         "kind": "own"}, {"port": "1"}, {}, [])
    assert found[2:] == ["--paste-global=who=Anna", "--paste-global=kind=own",
                         "--bind=127.0.0.1:1"]


def test_a_section_without_a_file():
    with pytest.raises(ConfigError, match="no __file__"):
        arguments_of({}, {}, {}, [])
