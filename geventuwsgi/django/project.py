"""A Django project's command line becomes one of the server's.

The rules of this room: words in, words out; of Django only the settings are looked at.
"""

import importlib
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler, StaticFilesHandler
from django.core.servers.basehttp import get_internal_wsgi_application

from ..config.options.option import Entry
from ..config.sources import argv
from ..errors import UsageError

# Where to listen, as `runserver` has it: 8000, 0:8000, 127.0.0.1:8000, [::1]:8000, host:8000.
ADDRESS = re.compile(r"(?:(?P<host>[\w.-]+|\[[0-9a-fA-F:]+\]):)?(?P<port>\d+)")


class Command:
    """What stood on the command line, apart in Django's words and the server's.

    Args:
        words: the command line behind the name of the command.

    Attributes:
        asgi: `--asgi`, without the name of an application.
        reload, static, checks: not `--noreload`, `--nostatic`, `--skip-checks`.
        rest: for the server.

    Raises:
        UsageError: an option that neither has.
    """

    def __init__(self, words: Sequence[str]) -> None:
        left = list(words)
        self.asgi = _taken(left, "--asgi")
        self.reload = not _taken(left, "--noreload")
        self.static = not _taken(left, "--nostatic")
        self.checks = not _taken(left, "--skip-checks")
        alone = _taken(left, "--nothreading")
        for name in ("--settings", "--verbosity", "-v"):
            _drop(left, name)
        for name in ("--traceback", "--no-color", "--force-color"):
            _taken(left, name)
        self.rest = list(_words(left))
        if alone:
            self.rest.append("--gevent=1")


def arguments(command: Command, settings: Any) -> list[str]:
    """Return the server's command line for a project.

    Args:
        command: what stood on the other.
        settings: `django.conf.settings`.
    """
    found = [f"--pythonpath={path}" for path in (directory(settings),) if path != os.getcwd()]
    kind = "asgi" if command.asgi else "wsgi"
    path = dotted(settings, f"{kind.upper()}_APPLICATION")
    if settings.DEBUG:
        found += ["--dev"] if command.reload else ["--dev", "--no-reload"]
    if settings.DEBUG and command.static and \
            "django.contrib.staticfiles" in settings.INSTALLED_APPS:
        application = f"geventuwsgi.django.project:{kind}()"
    elif path:
        module, _, name = path.rpartition(".")
        application = f"{module}:{name}"
    else:
        application = f"django.core.{kind}:get_{kind}_application()"
    return [*found, f"--{'asgi' if command.asgi else 'module'}={application}", *command.rest]


def directory(settings: Any) -> str:
    """Return the directory that the project is imported from: where its settings' package is."""
    name = os.environ["DJANGO_SETTINGS_MODULE"]
    module = importlib.import_module(name)
    path = os.path.abspath(module.__file__ or "")
    if os.path.basename(path) == "__init__.py":
        path = os.path.dirname(path)
    for _ in name.split("."):
        path = os.path.dirname(path)
    return path


def dotted(settings: Any, name: str) -> str:
    """Return the dotted path of the project's application, "" if the settings have none."""
    return str(getattr(settings, name, None) or "")


def _words(words: Sequence[str]) -> Iterator[str]:
    """Yield the server's options, an address that stands alone as `--bind`."""
    for item in argv.parse(words):
        if not isinstance(item, Entry):
            yield f"--{item.name}" + ("" if item.about is None else f"={item.about}")
        elif item.key == "application":
            yield f"--bind={address(item.text or '')}"
        else:
            yield f"--{item.key}" + ("" if item.text is None else f"={item.text}")


def address(text: str) -> str:
    """Return the address of `runserver`'s argument.

    Raises:
        UsageError: it is none.
    """
    match = ADDRESS.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is no port and no address:port; the application is the "
                         "project's (WSGI_APPLICATION, or with --asgi ASGI_APPLICATION)")
    host = {None: "127.0.0.1", "0": "0.0.0.0"}.get(match["host"], match["host"])
    return f"{host}:{match['port']}"


def _taken(words: list[str], name: str) -> bool:
    """Take a flag out of the words; tell whether it was there."""
    found = name in words
    words[:] = [word for word in words if word != name]
    return found


def _drop(words: list[str], name: str) -> None:
    """Take an option of Django's out of the words, `name=value` or with the value behind it."""
    for index in reversed(range(len(words))):
        if words[index] == name:
            del words[index:index + 2]
        elif words[index].startswith(f"{name}="):
            del words[index]


# The applications of a development run: the project's, with its static files in front.
#
# What `runserver` does; anywhere else these files are nginx's, or `static-map`'s.

def wsgi() -> Any:
    """Return the project's WSGI application behind its static files."""
    return StaticFilesHandler(get_internal_wsgi_application())


def asgi() -> Any:
    """Return the project's ASGI application behind its static files."""
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.utils.module_loading import import_string

    path = dotted(settings, "ASGI_APPLICATION")
    return ASGIStaticFilesHandler(import_string(path) if path else get_asgi_application())
