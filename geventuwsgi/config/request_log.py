"""The settings of the logs as plain values: the request log, and the log collector's plan."""

import json
import os
from collections.abc import Callable
from typing import Any

from geventuwsgi.config.settings import Settings
from geventuwsgi.errors import ConfigError
from geventuwsgi.log.access import AccessLog, SelectiveLog, Wanted, selection
from geventuwsgi.log.format import Formatter, colours, compile_format, short_line
from geventuwsgi.log.sinks import STANDARD, Sink
from geventuwsgi.rights import User

_SELECTION = ("log_4xx", "log_5xx", "log_slow", "log_big", "log_zero", "log_sendfile",
              "log_ioerror")
_REQUESTS = ("req_logger", "log_req_route", "log_req_encoder")
_LINES = ("logger", "log_route", "log_encoder", "log_filter", "log_drain")


def requests_logged(settings: Settings) -> bool:
    """Whether any requests are logged."""
    return not settings.disable_logging or any(getattr(settings, name) for name in _SELECTION)


def access_log(settings: Settings, sink: Sink, schedule: Callable[[Any], object],
               memory: Callable[[], tuple[int, int]]) -> AccessLog:
    """Make the request log of a worker.

    Args:
        settings: its settings.
        sink: where the lines go.
        schedule: see `AccessLog`.
        memory: returns virtual and resident bytes (`memory-report`).

    Raises:
        ConfigError: the format has an error.
    """
    line = _line(settings, memory)
    if not settings.disable_logging:
        return AccessLog(line, sink, schedule)
    return SelectiveLog(line, sink, schedule, wanted=_wanted(settings))


def _line(settings: Settings, memory: Callable[[], tuple[int, int]]) -> Formatter:
    if settings.dev and not settings.log_format:
        return short_line(colours(settings.access_logfile, os.environ))
    try:
        return compile_format(
            settings.log_format, micros=settings.log_micros,
            x_forwarded_for=settings.log_x_forwarded_for,
            memory=memory if settings.memory_report else None,
            strftime=settings.log_format_strftime, date=settings.log_date)
    except ValueError as error:
        raise ConfigError(str(error), option="log-format") from error


def _wanted(settings: Settings) -> Wanted:
    return selection(
        client_errors=settings.log_4xx, server_errors=settings.log_5xx,
        slow=settings.log_slow / 1000, big=settings.log_big, empty=settings.log_zero,
        sendfile=settings.log_sendfile, broken=settings.log_ioerror)


def is_address(path: str | None) -> bool:
    """Whether `logto` is a UDP socket, as in uWSGI: host:port."""
    host, colon, port = (path or "").rpartition(":")
    return bool(colon and host and "/" not in host and port.isascii() and port.isdigit())


def uses_collector(settings: Settings) -> bool:
    """Whether all lines go to the log collector, which distributes them."""
    return (any(getattr(settings, name) for name in (*_REQUESTS, *_LINES))
            or is_address(settings.logto) or bool(settings.log_maxsize and settings.logto))


def separates_requests(settings: Settings) -> bool:
    """Whether request lines go to the log collector by a pipe of their own."""
    path = settings.access_logfile
    return (any(getattr(settings, name) for name in _REQUESTS)
            and (not path or STANDARD.get(path) is not None))


def plan_of(settings: Settings, owner: tuple[int, int], logger_owner: tuple[int, int],
            user: User | None, title: str) -> str:
    """Return the plan of the log collector (`log.collector`) as JSON.

    Args:
        settings: the settings.
        owner: user and group to give the file of `logto` to, -1 = as it is.
        logger_owner: those of the files of `logger` and `req-logger`.
        user: the one of `uid`, see `rights`.
        title: its process title; "" = none.
    """
    file = settings.logto if uses_collector(settings) else None
    datagrams = is_address(file)
    if file in STANDARD:
        file = None
    backup = settings.log_backupname
    return json.dumps({
        "log": settings.logger, "log_routes": settings.log_route,
        "log_encoders": settings.log_encoder, "requests": settings.req_logger,
        "request_routes": settings.log_req_route, "request_encoders": settings.log_req_encoder,
        "title": title, "drains": settings.log_drain, "filters": settings.log_filter,
        "file": file if datagrams or file is None else os.path.abspath(file),
        "datagrams": datagrams, "maxsize": settings.log_maxsize,
        "backup": backup and os.path.abspath(backup) or "",
        "mode": settings.logfile_chmod, "owner": owner, "logger_owner": logger_owner, "user": user,
        "packet": settings.rsyslog_packet_size, "split": settings.rsyslog_split_messages})
