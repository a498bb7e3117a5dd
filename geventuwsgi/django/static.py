"""The applications of a development run: the project's, with its static files in front.

What `runserver` does; anywhere else these files are nginx's, or `static-map`'s.
"""

from typing import Any

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler, StaticFilesHandler
from django.core.servers.basehttp import get_internal_wsgi_application

from .project import dotted


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
