"""Options that an ASGI application cannot have: some are refused, others have no effect.

An option that restricts access is refused, since without it the server would serve what it
protects; any other gives a warning. With `interface = auto` this is checked once the application
is loaded.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from geventuwsgi.config.settings import Settings
from geventuwsgi.config.values.origin import Origin
from geventuwsgi.errors import AppLoadError, ConfigError

NO_EFFECT_WITH_ASGI = "has no effect with ASGI: "
REFUSED = ("rules are not run with ASGI, so nothing would protect what they protect: use "
           "middleware in the application, or the web server in front")
_LOOP = "see asgi-loop-timeout, slow-request and --stacks"
_SLOTS = "worker-connections limits an event loop, which has no slots"
_FIELDS = "response headers are removed by the application, or by nginx"
_BUFFERS = "any buffer is accepted, and files are sent with pathsend and zerocopysend"
_HOSTS = "the application is chosen by the path only"
IGNORED = {
    "reaper": "asyncio waits for its own processes",
    "gevent": _SLOTS, "threads": _SLOTS, "queue_limit": _SLOTS,
    "monkey_patch": "an event loop needs the unpatched standard library",
    "post_buffering": "bodies are streamed to the application",
    "harakiri_verbose": _LOOP, "block_warning": _LOOP, "py_tracebacker": _LOOP,
    "cancel_on_disconnect": "the application receives http.disconnect",
    "https_export_cert": "a scope has no certificate", "vhost": _HOSTS, "vhost_host": _HOSTS,
    "del_header": _FIELDS, "collect_header": _FIELDS, "pull_header": _FIELDS,
    "http_auto_gzip": "responses are compressed by the application, or by nginx",
    "wsgi_accept_buffer": _BUFFERS, "wsgi_disable_file_wrapper": _BUFFERS,
    "disable_sendfile": _BUFFERS,
    "offload_threads": _SLOTS, "chunked_input_timeout": "socket-timeout applies",
    "socket_send_timeout": "socket-timeout applies",
    "gevent_wait_for_hub": "a worker always waits for tasks of the application",
    "http_server_name_as_http_host": "a scope has the address that the client connected to"}


def check(values: Mapping[str, Any], origins: Mapping[str, Origin],
          items: Mapping[str, Sequence[Origin]], warnings: list[str]) -> None:
    """Check settings that declare the application to be ASGI.

    Args:
        values, origins: the settings, and where they were set.
        items: for repeatable options, where each item was set.
        warnings: receives a `place: option: message` for each option without effect.
    Raises:
        ConfigError: there is a rule of internal routing.
    """
    if values["interface"] != "asgi":
        return
    if values["route"]:
        raise items["route"][0].error(REFUSED)
    for name, reason in IGNORED.items():
        if name not in origins or not values[name]:
            continue
        warnings += [place.warning(NO_EFFECT_WITH_ASGI + reason)
                     for place in items.get(name) or (origins[name],)]


def found(settings: Settings) -> list[str]:
    """Check the settings of an application that `interface = auto` found to be ASGI.

    Returns:
        The warnings of `check`.
    Raises:
        AppLoadError: there is a rule of internal routing.
    """
    names = ["route", *IGNORED]
    origins = {name: settings.origin(name) for name in names
               if settings.origin(name).kind != "default"}
    values = {"interface": "asgi", **{name: getattr(settings, name) for name in names}}
    warnings: list[str] = []
    try:
        check(values, origins, {"route": [origins.get("route", Origin())]}, warnings)
    except ConfigError as error:
        raise AppLoadError(f"the application is ASGI: {error}") from None
    return warnings
