"""Settings to the plain values that both kinds of worker use."""

import os
import re

from ..app.exceptions import ExceptionPolicy
from ..app.response_defaults import defaults_of
from ..app.rules.rules import PHASES
from ..app.static.files import Gzipped, StaticFiles, expiries, pair
from ..app.wsgi import FileWrapper, ReadWrapper
from ..config.resolve.conflicts import harakiri_paths
from ..config.settings import Settings
from ..ipc.commands import Child
from ..net.allowlist import AllowList
from ..net.arrival import ArrivalLimits
from ..net.deadlines import NEVER
from ..protocol.message import Limits
from .limits import ConnectionLimits, RequestTimeouts
from .service import ServiceValues


def values_of(settings: Settings, child: Child) -> ServiceValues:
    """Return the configuration of a worker's connections."""
    return ServiceValues(
        limits=ConnectionLimits(
            head_timeout=min(settings.http_headers_timeout or NEVER,
                             settings.request_timeout or NEVER), keepalive=settings.keepalive,
            io_timeout=settings.socket_timeout or NEVER, limit_post=settings.limit_post,
            post_buffering=settings.post_buffering,
            chunk_timeout=_or_never(settings.chunked_input_timeout, settings.socket_timeout),
            send_timeout=_or_never(settings.socket_send_timeout, settings.socket_timeout),
            arrival=ArrivalLimits(settings.request_timeout or NEVER, settings.request_min_rate)),
        head_limits=Limits(settings.limit_request_line, settings.limit_request_field_size,
                           settings.limit_request_fields, settings.head_limit),
        buffer_size=settings.buffer_size,
        max_connections=settings.worker_connections,
        timeouts=RequestTimeouts(
            harakiri=settings.harakiri, paths=harakiri_paths(settings.harakiri_path),
            slow=settings.slow_request, grace=settings.harakiri_graceful_timeout,
            cancel=settings.cancel_on_disconnect, verbose=settings.harakiri_verbose),
        response_defaults=defaults_of(
            server=settings.server_header, date=settings.date_header, added=settings.add_header,
            removed=settings.del_header, pages=settings.error_page),
        uwsgi_peers=AllowList(settings.uwsgi_allow_from, "uwsgi-allow-from"),
        forwarders=AllowList(settings.forwarded_allow_ips, "forwarded-allow-ips"),
        proxies=AllowList(settings.proxy_allow_ips, "proxy-allow-from"),
        exceptions=ExceptionPolicy(
            child.due_for_replacement, expose=settings.catch_exceptions, as_page=settings.dev,
            reload=settings.reload_on_exception,
            types=settings.reload_on_exception_type, values=settings.reload_on_exception_value,
            reprs=settings.reload_on_exception_repr),
        worker=child.id, pid=os.getpid(), static=static_of(settings),
        max_per_address=settings.limit_connections_per_address)


def static_of(settings: Settings) -> StaticFiles | None:
    """Return the files served without the application, None if no option names any."""
    if not (settings.static_map or settings.static_map2 or settings.check_static
            or settings.check_static_docroot):
        return None
    mode = settings.file_serve_mode or ""
    return StaticFiles(
        maps=[pair(text) for text in settings.static_map],
        whole_maps=[pair(text) for text in settings.static_map2],
        roots=settings.check_static, docroot=settings.check_static_docroot,
        index=settings.static_index, skip=settings.static_skip_ext, safe=settings.static_safe,
        expiries=[
            rule for subject, name in (("type", "static_expires_type"), ("name", "static_expires"),
                                       ("uri", "static_expires_uri"),
                                       ("path", "static_expires_path_info"))
            for suffix in ("", "_mtime")
            for rule in expiries(subject, getattr(settings, name + suffix), suffix != "")],
        gzipped=Gzipped(settings.static_gzip_all, tuple(map(re.compile, settings.static_gzip)),
                        settings.static_gzip_dir, settings.static_gzip_ext),
        mime_files=settings.mimefile, ranges=settings.honour_range,
        wrapper=ReadWrapper if settings.disable_sendfile else FileWrapper,
        guarded=any(not text.startswith(PHASES) for text in settings.route),
        offload="X-Sendfile" if mode == "x-sendfile" else "X-Accel-Redirect" if mode else "")


def _or_never(seconds: float | None, otherwise: float) -> float:
    """Return `seconds`, or `otherwise` if unset; 0 means no limit."""
    return (otherwise if seconds is None else seconds) or NEVER
