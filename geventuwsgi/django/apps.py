"""The Django application, labelled `geventuwsgi`.

A project that does not load ends every command before it begins. In a development run the server
should start all the same, show the error and wait for the fix, so it is started from here then.
"""

import sys
from types import TracebackType
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings

from geventuwsgi.django import project
from geventuwsgi.errors import UsageError
from geventuwsgi.paste import exec_server

_HELP_OPTIONS = {"-h", "--help", "--version"}


class GeventuwsgiConfig(AppConfig):
    """The application with the command; it has no models."""

    name = "geventuwsgi.django"
    label = "geventuwsgi"
    verbose_name = "geventuwsgi"

    def __init__(self, *names: Any) -> None:
        super().__init__(*names)
        # Django imports the models after it has created all of INSTALLED_APPS.
        if sys.argv[1:2] == ["rungeventuwsgi"] and not _HELP_OPTIONS.intersection(sys.argv[2:3]):
            sys.excepthook = start_despite_error


def start_despite_error(kind: type[BaseException], error: BaseException,
                        trace: TracebackType | None) -> None:
    """Start the server although the project does not load (`sys.excepthook`).

    The server loads it again and shows the error. Anything but a development run that reloads
    ends with the traceback, as it would without this hook.
    """
    sys.excepthook = sys.__excepthook__
    if not apps.ready and issubclass(kind, Exception) and settings.DEBUG:
        try:
            command = project.Command(sys.argv[2:])
        except UsageError as usage:
            sys.exit(f"CommandError: {usage}")
        if command.reload:
            exec_server(project.arguments(command, settings))
    sys.__excepthook__(kind, error, trace)
