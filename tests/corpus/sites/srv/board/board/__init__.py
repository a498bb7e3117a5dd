"""A small Pyramid application, laid out as its cookiecutter does it."""

import logging
import os

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound
from pyramid.response import Response

log = logging.getLogger(__name__)


def home(request):
    log.info("home was asked for")
    return Response("the board", content_type="text/plain")


def where(request):
    return Response(json_body={
        "url": request.url, "script": request.script_name, "path": request.path_info,
        "title": request.registry.settings.get("board.title"), "directory": os.getcwd()})


def away(request):
    return HTTPFound(location=request.route_url("where"), body="moved", content_type="text/plain")


def missing(request):
    return Response("no such thread", status=404, content_type="text/plain")


def main(global_config, **settings):
    """Return the WSGI application."""
    with Configurator(settings=settings) as config:
        for name, pattern, view in (("home", "/", home), ("where", "/where", where),
                                    ("away", "/away", away)):
            config.add_route(name, pattern)
            config.add_view(view, route_name=name)
        config.add_notfound_view(missing)
    return config.make_wsgi_app()
