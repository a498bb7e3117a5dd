"""The rows of uvicorn's options that have no effect here, or are spelled another way.

Those that mean the same are names of other rows.
"""

from dataclasses import replace

from geventuwsgi.config.values.types import Choice, Kind
from geventuwsgi.config.options.option import Option, ignored, refused

_ANY = Kind()
_WATCHED = "the files of all imported modules are watched"
# Names of other rows that are uvicorn's and not gunicorn's, for the reference.
NAMES = frozenset("""
app-dir header limit-max-requests limit-max-requests-jitter no-access-log
timeout-graceful-shutdown timeout-keep-alive timeout-worker-healthcheck
""".split())
ROWS: tuple[Option, ...] = tuple(replace(row, everywhere=False) for row in (
    *ignored("access-log", "requests are logged, unless disable-logging is set"),
    *ignored("use-colors no-use-colors", "only a development run has colours, on a terminal; "
             "NO_COLOR and FORCE_COLOR in the environment decide"),
    *ignored("proxy-headers", "X-Forwarded-For and X-Forwarded-Proto are believed from "
             "forwarded-allow-ips"),
    *ignored("reset-contextvars", "each request has a context of its own"),
    *ignored("h11-max-incomplete-event-size", "a head is limited by limit-request-line, "
             "limit-request-fields and limit-request-field-size", _ANY),
    *ignored("ws", "WebSockets are served where the websockets library is installed",
             Choice("auto", "websockets", "websockets-sansio", "wsproto",
                    none="they are served where the websockets library is installed")),
    *ignored("reload-dir reload-dirs", _WATCHED, _ANY),
    *refused("host port", "host and port are one: write bind = HOST:PORT"),
    *refused("uds", "write bind = unix:PATH"),
    *refused("fd", "write bind = fd://NUMBER"),
    *refused("env-file", "use env for each variable, or EnvironmentFile of the systemd unit"),
    *refused("no-proxy-headers", "write an empty forwarded-allow-ips"),
    *refused("no-server-header", "write server-header = false"),
    *refused("no-date-header", "write date-header = false"),
    *refused("limit-concurrency", "use worker-connections: clients beyond it wait in the "
             "listening queue"),
    *refused("reload-include", "use touch-reload"),
    *refused("reload-exclude", "use py-autoreload-ignore"),
    *refused("reload-delay", "use py-autoreload = SECONDS"),
))
