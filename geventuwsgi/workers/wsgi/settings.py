"""Settings to the plain values and the service of a WSGI worker."""

import socket
import sys
from collections.abc import Sequence
from time import time
from typing import Any

from ... import __version__
from ...app import environ as environs
from ...app.applications import Applications
from ...app.middleware import buffers
from ...app.rules.rules import Filters, Routes
from ...app.wsgi import FileWrapper, OffloadedWrapper, ReadWrapper
from ...config.settings import Settings
from ...ipc.commands import Child
from ...log.access import AccessLog
from ...net.listener import Listener
from ..settings import values_of
from .service import WsgiService
from .slots import Slots, ThreadSlots
from .threads import ThreadPool


def service_of(settings: Settings, listeners: Sequence[Listener], applications: Applications,
               child: Child, hub: Any, access: AccessLog | None,
               pool: ThreadPool | None) -> WsgiService:
    """Return what the connections of a worker share."""
    if settings.wsgi_accept_buffer:
        applications = applications.wrapped(buffers)
    values = values_of(settings, child)
    values.response_defaults.tick(time())
    slots_type = Slots if pool is None else ThreadSlots
    service = WsgiService(
        values, applications, hub=hub, pool=pool,
        slots=slots_type(settings.slots, lambda: service.resume(), settings.queue_limit),
        access=access,
        templates={listener.url: template_of(settings, listener) for listener in listeners},
        export_cert=settings.https_export_cert, routes=routes_of(settings, child.id))
    if pool is not None and settings.processes == 1 and not settings.queue_limit:
        service.alone = True
    return service


def routes_of(settings: Settings, worker: int) -> Routes | None:
    """Return the rules and filters for requests and responses, None if there are none."""
    pulled = [line.split() for line in settings.pull_header]
    filters = Filters(
        frozenset(name.lower() for name in (*settings.del_header, *(words[0] for words in pulled))),
        tuple((name.lower(), variable)
              for name, variable in (*(line.split() for line in settings.collect_header), *pulled)),
        settings.http_auto_gzip, settings.http_server_name_as_http_host)
    if not settings.route and filters == Filters():
        return None
    return Routes(settings.route, filters, worker)


def template_of(settings: Settings, listener: Listener) -> environs.Environ:
    """Return the environ template of a listener."""
    name, port = socket.gethostname(), "80"
    address = listener.address
    if not listener.is_unix:
        port = str(address.port)
        if address.host and address.host not in ("0.0.0.0", "::"):
            name = address.host
    scheme = "https" if listener.protocol == "https" else "http"
    wrapper: type[FileWrapper] = OffloadedWrapper if settings.offload_threads else FileWrapper
    if settings.disable_sendfile:
        wrapper = ReadWrapper
    template = environs.template(
        errors=sys.stderr, file_wrapper=None if settings.wsgi_disable_file_wrapper else wrapper,
        multithread=settings.slots > 1,
        multiprocess=settings.processes > 1, server_name=name, server_port=port,
        scheme=scheme, software=f"geventuwsgi/{__version__}",
        version=__version__.encode(), node=socket.gethostname().encode())
    if scheme == "https":
        template["HTTPS"] = "on"
    return template
