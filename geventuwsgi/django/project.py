"""Translate the command line of `manage.py rungeventuwsgi` to the server's.

Only the settings of the project are read. The functions at the end are the applications of a
development run: the project's own with its static files in front, as with `runserver`. In
production these files are served by nginx or `static-map`.
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

# An address as of `runserver`: 8000, 0:8000, 127.0.0.1:8000, [::1]:8000, host:8000.
ADDRESS = re.compile(r"(?:(?P<host>[\w.-]+|\[[0-9a-fA-F:]+\]):)?(?P<port>\d+)")


class Command:
    """A command line, split into Django's options and the server's.

    Args:
        words: the command line after the name of the command.

    Attributes:
        asgi: `--asgi`, without the name of an application.
        reload, static, checks: False with `--noreload`, `--nostatic`, `--skip-checks`.
        rest: the server's options.

    Raises:
        UsageError: neither has such an option.
    """

    def __init__(self, words: Sequence[str]) -> None:
        left = list(words)
        self.asgi = _pop_flag(left, "--asgi")
        self.reload = not _pop_flag(left, "--noreload")
        self.static = not _pop_flag(left, "--nostatic")
        self.checks = not _pop_flag(left, "--skip-checks")
        single = _pop_flag(left, "--nothreading")
        for name in ("--settings", "--verbosity", "-v"):
            _remove_option(left, name)
        for name in ("--traceback", "--no-color", "--force-color"):
            _pop_flag(left, name)
        self.rest = list(_words(left))
        if single:
            self.rest.append("--threads=1")


def arguments(command: Command, settings: Any) -> list[str]:
    """Return the server's command line for a project.

    Args:
        command: the options that were given.
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
    """Return the directory that holds the package of the settings, which the server imports."""
    name = os.environ["DJANGO_SETTINGS_MODULE"]
    module = importlib.import_module(name)
    path = os.path.abspath(module.__file__ or "")
    if os.path.basename(path) == "__init__.py":
        path = os.path.dirname(path)
    for _ in name.split("."):
        path = os.path.dirname(path)
    return path


def dotted(settings: Any, name: str) -> str:
    """Return the dotted path of the project's application, or ""."""
    return str(getattr(settings, name, None) or "")


def _words(words: Sequence[str]) -> Iterator[str]:
    """Yield the server's options, with an address as `--bind`."""
    for item in argv.parse(words):
        if not isinstance(item, Entry):
            yield f"--{item.name}" + ("" if item.about is None else f"={item.about}")
        elif item.key == "application":
            yield f"--bind={address(item.text or '')}"
        else:
            yield f"--{item.key}" + ("" if item.text is None else f"={item.text}")


def address(text: str) -> str:
    """Return the address to bind for an argument as of `runserver`.

    Raises:
        UsageError: it is not an address.
    """
    match = ADDRESS.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is neither a port nor address:port; the application is the "
                         "project's (WSGI_APPLICATION, or with --asgi ASGI_APPLICATION)")
    host = {None: "127.0.0.1", "0": "0.0.0.0"}.get(match["host"], match["host"])
    return f"{host}:{match['port']}"


def _pop_flag(words: list[str], name: str) -> bool:
    """Remove a flag from the words; return whether it was there."""
    found = name in words
    words[:] = [word for word in words if word != name]
    return found


def _remove_option(words: list[str], name: str) -> None:
    """Remove an option and its value from the words, `name=value` or `name value`."""
    for index in reversed(range(len(words))):
        if words[index] == name:
            del words[index:index + 2]
        elif words[index].startswith(f"{name}="):
            del words[index]


def wsgi() -> Any:
    """Return the project's WSGI application with its static files in front."""
    return StaticFilesHandler(get_internal_wsgi_application())


def asgi() -> Any:
    """Return the project's ASGI application with its static files in front."""
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.utils.module_loading import import_string

    path = dotted(settings, "ASGI_APPLICATION")
    return ASGIStaticFilesHandler(import_string(path) if path else get_asgi_application())
