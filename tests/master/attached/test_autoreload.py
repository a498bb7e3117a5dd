"""Which changes cause a reload, with real files and the time as an argument."""

import os
import socket
import subprocess
import sys
import types

import pytest

from geventuwsgi.ipc import credentials
from geventuwsgi.master.attached import autoreload
from geventuwsgi.master.attached.autoreload import Autoreload, Imported, directories_of, files_of
from geventuwsgi.master.reports import TEMPLATE, Reports


class Clock:
    """An autoreload, and the time that passes for it."""

    def __init__(self, **more):
        self.reloads = 0
        self.autoreload = Autoreload(1.0, self.reload)
        self.autoreload.configure(1.0, **more)
        self.now = 100.0

    def reload(self):
        self.reloads += 1

    def check(self):
        self.now += 1.0
        assert self.autoreload.poll(self.now) == self.now + 1.0
        return self.reloads


def written(path, text="x", seconds=-1000):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (path.stat().st_mtime + seconds,) * 2)
    return path


def test_a_module_that_changes_counts_once(tmp_path):
    path, clock = written(tmp_path / "a.py"), Clock()
    clock.autoreload.add([str(path)])
    assert clock.check() == 0
    written(path, "y", -500)
    assert (clock.check(), clock.check()) == (1, 1)
    os.replace(written(tmp_path / "new", "z", -500), path)  # the same size and time
    assert (clock.check(), clock.check()) == (2, 2)


def test_a_file_that_is_missing_for_a_moment_counts_once(tmp_path):
    path, clock = written(tmp_path / "a.py"), Clock()
    clock.autoreload.add([str(path)])
    path.unlink()
    assert clock.check() == 0
    written(path, "longer")
    assert (clock.check(), clock.check()) == (1, 1)
    path.unlink()
    assert (clock.check(), clock.check(), clock.check()) == (1, 2, 2)
    written(path)
    assert (clock.check(), clock.check()) == (3, 3)


def test_one_that_changed_while_it_was_loaded_counts(tmp_path):
    clock = Clock()
    clock.autoreload.add([str(written(tmp_path / "a.py", seconds=1000))])
    assert (clock.check(), clock.check()) == (1, 1)


def test_a_missing_module_that_appears(tmp_path):
    clock = Clock()
    (tmp_path / "package").mkdir()
    clock.autoreload.add([str(tmp_path) + "/"])
    assert clock.check() == 0
    for name in (".a.py", "a.txt", "__pycache__/a.pyc"):
        written(tmp_path / name)
    assert clock.check() == 0
    written(tmp_path / "a.py")
    assert clock.check() == 1
    written(tmp_path / "b.py")  # nothing is missing any more
    assert clock.check() == 1


def test_files_and_directories_of_an_error(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    written(tmp_path / "broken_shop" / "__init__.py", "from . import missing_one")
    with pytest.raises(ImportError) as caught:
        __import__("broken_shop")
    files = files_of(caught.value)
    assert str(tmp_path / "broken_shop" / "__init__.py") in files
    directories = directories_of(files)
    assert {f"{tmp_path}/", f"{tmp_path}/broken_shop/"} <= set(directories)
    assert not [one for one in directories if "-packages" in one or "/lib/python" in one]


def test_lazy_modules_are_not_loaded(tmp_path, monkeypatch):
    class Lazy(types.ModuleType):
        def __getattribute__(self, name):
            raise RuntimeError(f"loaded for {name}")

    lazy = Lazy("lazy_one")
    object.__getattribute__(lazy, "__dict__")["__file__"] = f"{tmp_path}/lazy_one.py"
    monkeypatch.setitem(sys.modules, "lazy_one", lazy)
    monkeypatch.setitem(sys.modules, "lazy_two", object())
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setblocking(False)
        Imported(ignore=[name for name in sys.modules if name != "lazy_one"]).report(ours)
        assert theirs.recv(9999).endswith(f"{tmp_path}/lazy_one.py".encode())


def test_patterns_and_templates_of_a_new_configuration(tmp_path):
    module = written(tmp_path / "shop" / "app.py")
    clock = Clock(patterns=[str(tmp_path / "*.env"), str(tmp_path / "later.ini")], templates=True)
    clock.autoreload.add([str(module)])
    assert clock.check() == 0
    count = 0
    for name in ("a.env", "later.ini", "shop/page.html", "shop/templates/a/b.jinja2",
                 "shop/views/c.tpl", "shop/jinja2/d.j2", "shop/templates/mail.txt"):
        for text in ("one", "three"):
            written(tmp_path / name, text)
            count += 1
            assert clock.check() == count, name
    for name in ("shop/templates/.b.html", "shop/templates/b.html~", "shop/other/b.html",
                 "elsewhere/templates/b.html", "b.conf", "shop/hits.txt", "shop/feed.xml",
                 "shop/data.json", "shop/app.log", "shop/db.sqlite3"):
        written(tmp_path / name)
        assert clock.check() == count, name
    (tmp_path / "shop" / "templates" / "a" / "b.jinja2").unlink()
    assert clock.check() == count + 1
    clock.autoreload.configure(1.0)
    for name in ("a.env", "shop/page.html"):
        written(tmp_path / name, "longer than before")
    assert clock.check() == count + 1


def test_our_own_output_never_counts(tmp_path, monkeypatch):
    """Each reload would write, and so cause the next one."""
    module = written(tmp_path / "app.py")
    out = written(tmp_path / "templates" / "out.html")
    monkeypatch.setattr(autoreload, "own_output", lambda: {out.stat().st_ino})
    clock = Clock(patterns=[str(tmp_path / "templates" / "*.html")], templates=True)
    clock.autoreload.add([str(module)])
    assert clock.check() == 0
    with out.open("a") as file:
        file.write("a line of the log")
    assert clock.check() == 0
    program = "from geventuwsgi.master.attached import autoreload; print(autoreload.own_output())"
    with out.open("w") as file:
        subprocess.run([sys.executable, "-c", program], stdout=file, check=True)
    assert str(out.stat().st_ino) in out.read_text()


def test_templates_of_installed_packages_and_too_many(tmp_path, monkeypatch, log_lines):
    monkeypatch.setattr(autoreload, "MAX_FILES", 3)
    installed = tmp_path / "site-packages" / "shop"
    found = autoreload.Templates()
    found.add([str(installed / "a.py"), str(tmp_path / "gone" / "a.py")])
    assert found.changed() is None
    written(installed / "page.html")
    assert found.changed() is None
    found.add([str(tmp_path / "app.py")])
    for number in range(9):
        written(tmp_path / "templates" / f"{number}.html")
    assert found.changed() is None and found.changed() is None
    assert log_lines == ["there are more than 3 templates: the rest is not checked for changes"]


@pytest.mark.parametrize("paths", [
    ["/" + "\u8def" * 900 + f"/{number}.py" for number in range(20)],  # three octets a letter
    ["/" + "a" * 2000 + ".py", "/" + "\u8def" * 1300 + ".py", "/b.py"],
    ["/" + "/".join(["a" * 251] * 16)[:4091] + ".py"],                   # PATH_MAX
    [f"/srv/{'x' * 100}/{number}.py" for number in range(10_000)],
], ids=["letters", "large", "longest", "many"])
def test_all_files_arrive(paths):
    """However long the paths, and however many fit into the socket at a time."""
    imported = Imported(ignore=list(sys.modules))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    found, more = [], paths
    with ours, theirs:
        ours.setblocking(False)
        credentials.require(theirs)
        reports = Reports(theirs, TEMPLATE, os.getpid())
        while len(found) < len(paths):
            imported.report(ours, more)
            more = ()   # those of a failed import are given once
            before = len(found)
            for report in reports.read():
                found += report.value
            assert len(found) > before, "the rest was not reported again"
    assert found == paths
