"""An application that does not load: the message, and the frames in the traceback."""

import sys
from pathlib import Path

import pytest

from geventuwsgi.app import paste
from geventuwsgi.app.loader import load
from geventuwsgi.errors import AppLoadError
from tests.app.loading import Write, answer, failure, wsgi


def test_a_traceback_shows_the_application_only(write: Write) -> None:
    write("shop/__init__.py")
    inner = write("shop/inner.py", "def fail():\n    raise ValueError('inside')\n\nfail()\n")
    outer = write("shop/outer.py", "from shop import inner\n")
    error = failure(module="shop.outer")
    assert str(error) == "shop.outer cannot be imported: ValueError: inside"
    lines = [line for line in error.traceback.splitlines() if line.startswith("  File")]
    assert lines == [f'  File "{outer}", line 1, in <module>',
                     f'  File "{inner}", line 4, in <module>',
                     f'  File "{inner}", line 2, in fail']
    assert error.traceback.startswith("Traceback (most recent call last):\n")
    assert error.traceback.endswith("ValueError: inside\n")
    assert failure(wsgi_file="shop/outer.py").traceback.count("  File") == 3


def test_chained_errors_are_cut_too(write: Write) -> None:
    write("one.py", "import importlib\ntry:\n    importlib.import_module('not_there')\n"
          "except ImportError as error:\n    raise RuntimeError('no') from error\n")
    text = failure(module="one").traceback
    assert "direct cause" in text and "ModuleNotFoundError" in text
    assert "importlib" not in "".join(line for line in text.splitlines() if "File" in line)


def test_a_syntax_error(write: Write) -> None:
    path = write("one.py", "x = 1\ndef broken(:\n    pass\n")
    for arguments in ({"module": "one"}, {"wsgi_file": "one.py"}):
        error = failure(**arguments)
        assert f"({path}, line 2)" in str(error) and "invalid syntax" in str(error)
        assert "def broken(:" in error.traceback and "^" in error.traceback
        assert "Traceback" not in error.traceback


def test_a_file_that_failed_is_not_left_half_imported(write: Write) -> None:
    path = write("one.py", "1 / 0\n")
    assert "ZeroDivisionError" in str(failure(wsgi_file="one.py"))
    path.write_text(wsgi())
    assert answer(load(wsgi_file="one.py").default) == b"ok"


def test_sys_exit_while_importing(write: Write) -> None:
    write("one.py", "import sys\nsys.exit(3)\n")
    assert str(failure(module="one")) == "one called sys.exit(3) while it was imported"


@pytest.mark.parametrize("arguments, words", [
    ({"module": "shopp"}, ["no module named 'shopp'", "`pythonpath`", "did you mean 'shop'?"]),
    ({"module": "shop.wsgy"}, ["no module named 'shop.wsgy'"]),
    ({"module": "needs"}, ["needs cannot be imported", "No module named 'not_there_at_all'"]),
    ({"wsgi_file": "need.py"}, ["need.py: no such file", "did you mean 'needs.py'?"]),
    ({"application": "shop/"}, ["shop/: is a directory"]),
    ({"application": "."}, [".: is a directory"]),
    ({"application": ":app"}, ["names no module"]),
    ({"module": "shop"}, ["shop has no 'application' or 'app'", "'create_app()'"]),
    ({"module": "shop:aplication"}, ["shop has no attribute 'aplication'"]),
    ({"module": "shop:creat_app"}, ["did you mean 'create_app()'?"]),
    ({"module": "shop:Settings.debgu"}, ["shop:Settings has no attribute 'debgu'", "'debug'"]),
    ({"module": "shop:create_app"}, ["takes 0 arguments", "shop:create_app()"]),
    ({"module": "shop:one_argument"}, ["takes 1 argument where a WSGI application takes 2",
                                       "add () if it is a factory: shop:one_argument(...)"]),
    ({"module": "shop:optional"}, ["takes 1 argument ", "shop:optional()"]),
    ({"module": "shop:coroutine"}, ["takes 2 arguments where an ASGI application takes 3"]),
    ({"module": "shop:Settings.debug"}, ["not callable, but of type bool"]),
    ({"module": "shop:json"}, ["is a module, not an application; did you mean 'json'?"]),
    ({"module": "shop:create_app(x)"}, ["cannot understand 'create_app(x)'"]),
    ({"module": "shop:create_app(**{})"}, ["cannot understand"]),
    ({"module": "shop:create_app()()"}, ["cannot understand"]),
    ({"module": "shop:create_app(__import__('os'))"}, ["cannot understand"]),
    ({"module": "shop:a-b"}, ["cannot understand 'a-b'"]),
    ({"module": "shop:[1][0]"}, ["cannot understand"]),
    ({"module": "shop:create_app("}, ["cannot understand"]),
    ({"module": "shop:create_app(1)"}, ["shop:create_app(1) failed: TypeError", "takes 0 pos"]),
    ({"module": "shop:fails()"}, ["shop:fails() failed: KeyError: 'SECRET'"]),
])
def test_failures_say_what_to_change(
        write: Write, arguments: dict[str, str], words: list[str]) -> None:
    write("needs.py", "import not_there_at_all\n")
    write("shop/__init__.py", "import json\n\nclass Settings:\n    debug = True\n\n"
          "def create_app():\n    return None\n\ndef one_argument(request):\n    pass\n\n"
          "def optional(config=None): ...\n\nasync def coroutine(scope, send): ...\n\n"
          "def fails():\n    raise KeyError('SECRET')\n")
    error = failure(**arguments)
    for word in words:
        assert word in str(error)
    assert "loader.py" not in error.traceback and "importlib" not in error.traceback
    assert error.exit_status == 4


def test_a_missing_module_names_the_environment_that_is_not_used(
        write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell has activated one, and the server of another was started."""
    write("needs.py", "import not_there_at_all\n")
    hint = "VIRTUAL_ENV is /srv/venv, whose packages are not used: add --virtualenv /srv/venv"
    monkeypatch.setenv("VIRTUAL_ENV", "/srv/venv")
    assert hint in str(failure(module="shop")) and hint in str(failure(module="needs"))
    for used in (sys.prefix, ""):
        monkeypatch.setenv("VIRTUAL_ENV", used)
        assert "VIRTUAL_ENV" not in str(failure(module="shop"))
    monkeypatch.setenv("VIRTUAL_ENV", "/srv/venv")
    monkeypatch.setattr(sys, "path", [*sys.path, "/srv/venv/lib/python3/site-packages"])
    assert "VIRTUAL_ENV" not in str(failure(module="shop"))


def test_a_failing_factory_shows_its_own_frames(write: Write) -> None:
    path = write("one.py", "def make():\n    return {}['SECRET']\n")
    text = failure(module="one:make()").traceback
    assert [line for line in text.splitlines() if line.startswith("  File")] == [
        f'  File "{path}", line 2, in make']


def test_errors_of_paste_deploy_have_none_of_its_frames(write: Write) -> None:
    pytest.importorskip("paste.deploy")
    write("shop_of_paste.py", "def main(config): raise ValueError('no such shop')")
    write("shop.ini", "[app:main]\npaste.app_factory = shop_of_paste:main\n"
                      "[app:other]\nuse = config:other.ini#x\n"
                      "[app:missing]\npaste.app_factory = not_there:main\n"
                      "[composite:all]\nuse = egg:NoSuchPackage#urlmap\n")
    for name, words, frames in (("main", "ValueError: no such shop", 1), ("none", "'none'", 0),
                                ("missing", "No module named 'not_there'", 0),
                                ("all", "NoSuchPackage", 0)):
        with pytest.raises(AppLoadError) as caught:
            load(paste=f"config:shop.ini#{name}")
        assert words in str(caught.value)
        assert caught.value.traceback.count('  File "') == frames, caught.value.traceback
    assert paste.files_of(["shop.ini#main", "egg:Shop", "shop:app", None]) == [
        str(Path("shop.ini").resolve()), str(Path("other.ini").resolve())]


@pytest.mark.parametrize("text, subject, frames", [
    ("import nothere", "cannot be imported: ModuleNotFoundError: No module named 'nothere'", 1),
    ("import (", ": invalid syntax", 1),
    ("x = 1", "Failed to find Flask application", 0), (None, "Could not import", 0)])
def test_errors_under_flask_are_reported_once(write: Write, monkeypatch: pytest.MonkeyPatch,
                                              text: str | None, subject: str,
                                              frames: int) -> None:
    pytest.importorskip("flask")
    if text is not None:
        write("shop_of_flask.py", text)
    monkeypatch.setenv("FLASK_APP", "shop_of_flask")
    with pytest.raises(AppLoadError, match="shop_of_flask") as caught:
        load(module="geventuwsgi.flask:application()")
    assert subject in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.traceback.count('  File "') == frames, caught.value.traceback
