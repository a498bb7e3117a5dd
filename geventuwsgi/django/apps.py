"""What Django calls this application; a project may have one named `django`.

A project that does not load ends any command before it begins. In a development run the
server is to show what is wrong and to wait for the mend, so it is begun from here then.
"""

import sys
from types import TracebackType
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings

from geventuwsgi.django import project
from geventuwsgi.errors import UsageError
from geventuwsgi.paste import become

_QUESTIONS = {"-h", "--help", "--version"}


class GeventuwsgiConfig(AppConfig):
    """The application that holds the command, without models."""

    name = "geventuwsgi.django"
    label = "geventuwsgi"
    verbose_name = "geventuwsgi"

    def __init__(self, *names: Any) -> None:
        super().__init__(*names)
        # Models are imported when all of INSTALLED_APPS have been made.
        if sys.argv[1:2] == ["rungeventuwsgi"] and not _QUESTIONS.intersection(sys.argv[2:3]):
            sys.excepthook = begin_all_the_same


def begin_all_the_same(kind: type[BaseException], error: BaseException,
                       trace: TracebackType | None) -> None:
    """Become the server although the project does not load (`sys.excepthook`).

    The server loads it anew and tells what is wrong; anything but a development run that
    reloads ends with the traceback, as without us.
    """
    sys.excepthook = sys.__excepthook__
    if not apps.ready and issubclass(kind, Exception) and settings.DEBUG:
        try:
            command = project.Command(sys.argv[2:])
        except UsageError as mistake:
            sys.exit(f"CommandError: {mistake}")
        if command.reload:
            become(project.arguments(command, settings))
    sys.__excepthook__(kind, error, trace)
