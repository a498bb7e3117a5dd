"""Applications are loaded from every spelling, and a failure says what to change."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from geventuwsgi.app.applications import Application, Applications, Mounts
from geventuwsgi.app.interface import is_asgi
from geventuwsgi.app.loader import import_source, load
from geventuwsgi.errors import AppLoadError
from tests.app.loading import Write, answer, failure, wsgi

PROJECT = wsgi("application", b"application") + wsgi("app", b"app") + """
class holder:
    inner = staticmethod(app)
    class deep:
        inner = staticmethod(application)

def make(*positional, **named):
    def made(environ, start_response):
        return [repr((positional, sorted(named.items()))).encode()]
    return made
"""


@pytest.mark.parametrize("spelling, expected", [
    ("shop.wsgi", b"application"),
    ("shop.wsgi:app", b"app"),
    ("shop.wsgi:holder.inner", b"app"),
    ("shop.wsgi:holder.deep.inner", b"application"),
    ("shop.wsgi:make()", b"((), [])"),
    ("shop.wsgi:make('x', 1, a=[2], b={'c': None})",
     b"(('x', 1), [('a', [2]), ('b', {'c': None})])"),
    ("shop.wsgi:make(-1, 'a:b')", b"((-1, 'a:b'), [])"),
    ("shop/wsgi.py", b"application"),
    ("./shop/wsgi.py:app", b"app"),
    ("shop/wsgi.py:make(a=True)", b"((), [('a', True)])"),
])
def test_spellings(write: Write, spelling: str, expected: bytes) -> None:
    write("shop/__init__.py")
    write("shop/wsgi.py", PROJECT)
    for arguments in ({"application": spelling}, {"module": spelling},
                      {"mounts": ["=" + spelling]}):
        [app] = load(**arguments)  # type: ignore[arg-type]
        assert answer(app) == expected and app.mountpoint == "" and app.default
    if ".py" in spelling:
        assert answer(load(wsgi_file=spelling).default) == expected


def test_app_is_the_second_default(write: Write) -> None:
    write("one.py", wsgi("app", b"app"))
    assert answer(load(module="one").default) == b"app"
    assert load(module="one").all[0].source == "one:app"


@pytest.mark.parametrize("name, expected", [("app", b"app"), ("make(1)", b"((1,), [])")])
def test_callable_names_the_attribute_where_a_spelling_names_none(
        write: Write, name: str, expected: bytes) -> None:
    write("one.py", PROJECT)
    found = load(module="one", mounts=["/x=one:application", "/y=one.py"], callable=name)
    assert [answer(app) for app in found] == [expected, b"application", expected]


def test_wsgi_file_has_the_name_that_uwsgi_gives_it(write: Write) -> None:
    path = write("conf/my.app.wsgi",
                 "import neighbour\nname = __name__\nfile = __file__\n" + wsgi())
    write("conf/neighbour.py")
    load(wsgi_file="conf/my.app.wsgi")
    module = sys.modules["uwsgi_file_conf_my_app_wsgi"]
    assert module.name == "uwsgi_file_conf_my_app_wsgi" and module.file == str(path)
    load(wsgi_file=str(path))
    assert "uwsgi_file_" + str(path).replace("/", "_").replace(".", "_") in sys.modules
    write("conf/plain.py", wsgi())
    load(wsgi_file="conf/plain.py")  # an ending .py is no part of the name
    assert "uwsgi_file_conf_plain" in sys.modules


def test_a_file_in_place_of_a_module(write: Write) -> None:
    write("site.wsgi", wsgi(text=b"file"))
    assert answer(load(application="site.wsgi").default) == b"file"
    write("site/__init__.py")
    write("site/wsgi.py", wsgi(text=b"module"))
    assert answer(load(wsgi_file="site.wsgi").default) == b"file"


def test_one_file_is_imported_once(write: Write) -> None:
    write("one.py", "import builtins\nbuiltins.loads = getattr(builtins, 'loads', 0) + 1\n"
          + wsgi() + wsgi("app", b"app"))
    found = load(wsgi_file="one.py", mounts=["/app=one.py:app"])
    import builtins
    assert [answer(app) for app in found] == [b"ok", b"app"]
    assert builtins.__dict__.pop("loads") == 1


def test_mounts_and_their_ids(write: Write) -> None:
    for name in "abcd":
        write(f"{name}.py", wsgi(text=name.encode()))
    found = load(module="a", mounts=["/b=b", "/c/d=c.py", "/e/=d:application"])
    assert [(app.id, app.mountpoint, app.script_name, app.default, answer(app))
            for app in found] == [
        (0, "", "", True, b"a"), (1, "/b", "/b", False, b"b"),
        (2, "/c/d", "/c/d", False, b"c"), (3, "/e/", "/e", False, b"d")]
    assert len(found) == 4 and not found.manage_script_name


def test_the_default_is_the_one_without_mountpoint_else_the_first(write: Write) -> None:
    write("a.py", wsgi(text=b"a"))
    write("b.py", wsgi(text=b"b"))
    assert answer(load(mounts=["/x=a", "/=b"]).default) == b"b"
    assert answer(load(mounts=["/x=a", "/y=b"]).default) == b"a"


def test_a_dictionary_of_applications(write: Write) -> None:
    write("many.py", wsgi(text=b"root") + wsgi("app", b"app")
          + "applications = {'/': application, '/x': app, '/y': 'other:app', '/z': 'many'}\n")
    write("other.py", wsgi("app", b"other"))
    found = load(module="many")
    assert [(app.mountpoint, answer(app)) for app in found] == [
        ("/", b"root"), ("/x", b"app"), ("/y", b"other"), ("/z", b"root")]
    assert found.default is found.all[0]
    assert [app.mountpoint for app in load(mounts=["/m=many"])] == ["/m/", "/m/x", "/m/y", "/m/z"]
    assert answer(load(module="many:app").default) == b"app"  # what was asked for, it is


@pytest.mark.parametrize("other", ["{}", "{'shop': 1}", "['/']", "{1: 2}"])
def test_other_things_called_applications(write: Write, other: str) -> None:
    write("one.py", wsgi() + f"applications = {other}\n")
    assert answer(load(module="one").default) == b"ok"


def test_a_mountpoint_taken_is_skipped_as_in_uwsgi(
        write: Write, caplog: pytest.LogCaptureFixture) -> None:
    write("a.py", wsgi(text=b"a"))
    [app] = load(module="a", wsgi_file="not_there.py", mounts=["/=not_there"])
    assert answer(app) == b"a"
    assert [record.getMessage() for record in caplog.records] == [
        "mountpoint '' already configured, not_there.py is skipped",
        "mountpoint '/' already configured, not_there is skipped"]


def test_a_module_without_a_callable_leaves_its_place_to_the_next(
        write: Write, caplog: pytest.LogCaptureFixture) -> None:
    """uWSGI goes on with `wsgi-file`; need-app is satisfied by that."""
    write("settings.py", "DEBUG = True\n")
    write("a.py", wsgi(text=b"a"))
    for callable in (None, "application"):
        [app] = load(module="settings", wsgi_file="a.py", callable=callable)
        assert answer(app) == b"a"
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0].startswith("settings has no 'application' or 'app'")
    assert all(message.endswith("; a.py is loaded instead") for message in messages)
    assert len(messages) == 2
    assert "settings has no" in str(failure(module="settings", mounts=["/x=a"]))
    write("b.py", "1 / 0\n")
    assert "b cannot be imported" in str(failure(module="b", wsgi_file="a.py"))
    assert "b.py" in str(failure(module="settings", wsgi_file="b.py"))


def table(*mountpoints: str) -> Applications:
    """Make applications whose id is the index into `mountpoints`."""
    return Applications([
        Application(number, place, place.rstrip("/"), lambda environ, start_response: [], "", 0)
        for number, place in enumerate(mountpoints)])


def mounts(found: Applications) -> Mounts:
    return Mounts(found.all, found.default)


@pytest.mark.parametrize("mountpoints, script_name, expected", [
    (("", "/a", "/a/b"), "", 0), (("", "/a", "/a/b"), "/a", 1), (("", "/a", "/a/b"), "/a/b", 2),
    (("", "/a"), "/b", 0), (("", "/a"), "/a/", 1), (("", "/a"), "/A", 0), (("", "/a"), "/a/c", 0),
    (("/a", "/"), "", 1), (("/a", "/"), "/", 1), (("/a", "/b"), "", 0), (("/a", "/b"), "/b", 1),
])
def test_find(mountpoints: tuple[str, ...], script_name: str, expected: int) -> None:
    app = mounts(table(*mountpoints)).find(script_name)
    assert app is not None and app.id == expected


@pytest.mark.parametrize("mountpoints, path, expected", [
    (("", "/a", "/a/b"), "/a", (1, "/a", "")),
    (("", "/a", "/a/b"), "/a/", (1, "/a", "/")),
    (("", "/a", "/a/b"), "/a/x", (1, "/a", "/x")),
    (("", "/a", "/a/b"), "/a/b/c", (2, "/a/b", "/c")),
    (("", "/a", "/a/b"), "/a/bc", (1, "/a", "/bc")),
    (("", "/a"), "/ab", (0, "", "/ab")),
    (("", "/a"), "/", (0, "", "/")),
    (("", "/a"), "", (0, "", "")),
    (("", "/a"), "/x/a", (0, "", "/x/a")),
    (("/",), "/", (0, "", "/")),
    (("/a", "/"), "/x", (1, "", "/x")),
    (("/a/",), "/a/x", (0, "/a", "/x")),
    (("/a", "/b"), "/c", (0, "", "/c")),
])
def test_split(mountpoints: tuple[str, ...], path: str, expected: tuple[int, str, str]) -> None:
    app, script_name, path_info = table(*mountpoints).split(path)
    assert app is not None and (app.id, script_name, path_info) == expected


def test_a_mountpoint_beyond_ascii(write: Write) -> None:
    """An environ is latin-1 text of UTF-8 bytes (PEP 3333); configuration is text."""
    write("a.py", wsgi())
    found = load(mounts=["/café=a"])
    assert found.split("/caf\xc3\xa9/x")[1:] == ("/caf\xc3\xa9", "/x")


def test_no_application_at_all() -> None:
    assert "no application is given" in str(failure())
    found = load(need_app=False)
    assert len(found) == 0 and mounts(found).find("") is None
    assert found.split("/x") == (None, "", "/x")


def test_what_loads_is_kept_where_no_application_is_needed(write: Write) -> None:
    write("good.py", wsgi())
    write("bad.py", "1 / 0\n")
    found = load(module="bad", mounts=["/good=good", "/gone=gone"], need_app=False)
    assert [app.mountpoint for app in found] == ["/good"]
    assert found.default is found.all[0]
    assert [type(error) for error in found.failures] == [AppLoadError, AppLoadError]


def test_ready_lines(write: Write) -> None:
    write("a.py", "import time\ntime.sleep(0.02)\n" + wsgi())
    write("b.py", wsgi())
    found = load(module="a", mounts=["/b=b"])
    assert found.all[0].milliseconds >= 20
    assert found.ready_lines(7) == [
        f"WSGI app 0 (mountpoint='') ready in {found.all[0].milliseconds} ms pid: 7 (default app)",
        f"WSGI app 1 (mountpoint='/b') ready in {found.all[1].milliseconds} ms pid: 7"]


ASGI = """
import functools

async def function(scope, receive, send): ...
async def generator(scope, receive, send): yield

class Class:
    async def __call__(self, scope, receive, send): ...

class Double:
    def __init__(self, scope): ...
    async def __call__(self, receive, send): ...

instance = Class()
partial = functools.partial(function, {})
"""


@pytest.mark.parametrize("name", ["function", "Double", "instance", "partial"])
def test_asgi_is_recognised(write: Write, name: str) -> None:
    write("one.py", ASGI)
    for arguments in ({"module": f"one:{name}"}, {"asgi": f"one:{name}"},
                      {"application": f"one:{name}", "interface": "asgi"}):
        applications = load(**arguments)
        assert applications.asgi and applications.default.asgi
        assert applications.ready_lines(7)[0].startswith("ASGI app 0 (mountpoint='') ready in ")
    assert f"one:{name} is an ASGI application" in str(
        failure(module=f"one:{name}", interface="wsgi"))


def test_a_class_of_asgi_applications_is_none(write: Write) -> None:
    write("one.py", ASGI)
    assert "add () to create an object: one:Class()" in str(failure(module="one:Class"))


def test_the_two_forms_of_asgi_are_called_alike(write: Write) -> None:
    write("one.py", ASGI + """
class Older:
    def __init__(self, scope): self.scope = scope
    async def __call__(self, receive, send): await send(self.scope)
""")
    sent = []

    async def send(message: object) -> None:
        sent.append(message)

    asyncio.run(load(asgi="one:Older").default.callable({"type": "http"}, None, send))
    assert sent == [{"type": "http"}]


def test_a_factory_without_parentheses(write: Write) -> None:
    write("one.py", ASGI + "def make(): return instance\n")
    assert load(application="one:make", factory=True).asgi
    assert load(application="one:make()", factory=True).asgi
    assert "takes 0 arguments" in str(failure(application="one:make", interface="asgi"))


def test_a_server_has_one_kind_of_application(write: Write) -> None:
    write("one.py", ASGI + "def wsgi(environ, start_response): return []\n")
    assert "beside WSGI ones" in str(failure(module="one:wsgi", mounts=["/a=one:instance"]))
    assert "beside ASGI ones" in str(failure(asgi="one:instance", mounts=["/a=one:wsgi"],
                                             interface="auto"))
    assert "set `interface = wsgi` if it is a WSGI" in str(
        failure(application="one:wsgi", interface="asgi"))


def test_wsgi_callables_of_every_kind(write: Write) -> None:
    write("one.py", """
import functools

def function(environ, start_response, extra=None): return [b'']
def wide(*arguments): return [b'']
def decorated(request): return [b'']
def wrapper(*arguments): return decorated(arguments)
wrapped = functools.update_wrapper(wrapper, decorated)
generator = lambda environ, start_response: (yield b'')

class Class:
    def __init__(self, environ, start_response): ...
    def __iter__(self): return iter([b''])

class Callable:
    def __call__(self, environ, start_response): return [b'']
    def method(self, environ, start_response): return [b'']

instance = Callable()
method = instance.method
partial = functools.partial(function, extra=1)
""")
    for name in ("function", "wide", "wrapped", "generator", "Class", "instance", "method",
                 "instance.method", "partial"):
        [app] = load(module=f"one:{name}")
        assert not is_asgi(app.callable)


def test_import_source(write: Write) -> None:
    write("one.py", "value = 1\n")
    assert import_source("one").value == import_source("one.py").value == 1
    with pytest.raises(AppLoadError):
        import_source("two")


def test_the_loader_needs_no_gevent() -> None:
    script = ("import sys; sys.modules['gevent'] = sys.modules['greenlet'] = None\n"
              "import geventuwsgi.app.loader as loader\n"
              "assert not any(name.startswith('geventuwsgi.config') for name in sys.modules)\n")
    assert subprocess.run([sys.executable, "-c", script],
                          cwd=Path(__file__).parent.parent.parent).returncode == 0
