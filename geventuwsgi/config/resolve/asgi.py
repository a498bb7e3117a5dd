"""What an ASGI application cannot have: options that are refused, and those without effect.

The rules of this room: a line that guards something is refused, since a server that starts
without the guard serves what it is to keep; any other is told, and ignored. Where the
application itself shows what it is (`interface = auto`) the same is said then.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from geventuwsgi.config.settings import Settings
from geventuwsgi.config.values.origin import Origin
from geventuwsgi.errors import AppLoadError, ConfigError

NO_EFFECT = "has no effect with ASGI: "
REFUSED = ("rules are not followed with ASGI, and nothing would guard what they guard: use "
           "middleware of the application, or the web server in front")
_LOOP = "see asgi-loop-timeout, slow-request and --stacks"
_SLOTS = "worker-connections bounds an event loop, which has no slots"
_FILES = "files are the application's, or nginx's"
_FIELDS = "fields of a response are the application's, or nginx's, to leave out"
_BUFFERS = "any buffer is taken, and files go as pathsend and zerocopysend say"
_HOSTS = "the path alone chooses the application"
WITHOUT_EFFECT = {
    "reaper": "asyncio waits for its own",
    "gevent": _SLOTS, "threads": _SLOTS, "queue_limit": _SLOTS,
    "post_buffering": "bodies are streamed to the application as it receives them",
    "harakiri_verbose": _LOOP, "block_warning": _LOOP, "py_tracebacker": _LOOP,
    "cancel_on_disconnect": "the application is told by http.disconnect",
    **dict.fromkeys((
        "static_map", "static_map2", "check_static", "check_static_docroot", "static_index",
        "static_skip_ext", "static_safe", "static_expires", "static_expires_mtime",
        "static_expires_uri", "static_expires_uri_mtime", "static_expires_path_info",
        "static_expires_path_info_mtime", "static_expires_type", "static_expires_type_mtime",
        "static_gzip", "static_gzip_all", "static_gzip_dir", "static_gzip_ext", "mimefile",
        "file_serve_mode", "honour_range"), _FILES),
    "https_export_cert": "a scope holds no certificate", "vhost": _HOSTS, "vhost_host": _HOSTS,
    "del_header": _FIELDS, "collect_header": _FIELDS, "pull_header": _FIELDS,
    "http_auto_gzip": "compression is the application's, or nginx's",
    "wsgi_accept_buffer": _BUFFERS, "wsgi_disable_file_wrapper": _BUFFERS,
    "disable_sendfile": _BUFFERS,
    "offload_threads": _SLOTS, "chunked_input_timeout": "socket-timeout holds",
    "socket_send_timeout": "socket-timeout holds",
    "gevent_wait_for_hub": "tasks of the application are waited for anyway",
    "http_server_name_as_http_host": "a scope tells the address that was connected to"}


def check(values: Mapping[str, Any], origins: Mapping[str, Origin],
          items: Mapping[str, Sequence[Origin]], warnings: list[str]) -> None:
    """Look at settings that say that the application is ASGI.

    Args:
        values, origins: the settings, and where they came from.
        items: of repeated rows, where each item came from.
        warnings: takes what is ignored, each `place: option: message`.
    Raises:
        ConfigError: there is a rule of internal routing, named by its place.
    """
    if values["interface"] != "asgi":
        return
    if values["route"]:
        raise items["route"][0].error(REFUSED)
    for name, reason in WITHOUT_EFFECT.items():
        if name not in origins or not values[name]:
            continue
        if name == "gevent" and origins[name] is origins.get("threads"):
            continue  # it was threads that was written
        places = items.get(name) or (origins[name],)
        warnings += _told(places, reason)


def _told(places: Iterable[Origin], reason: str) -> list[str]:
    return [f"{place.place}: {place.option}: {NO_EFFECT}{reason}" for place in places]


def found(settings: Settings) -> list[str]:
    """Look at the settings of an application that `interface = auto` found to be ASGI.

    Returns:
        What is ignored, as `check` tells it.
    Raises:
        AppLoadError: there is a rule of internal routing.
    """
    names = ["route", *WITHOUT_EFFECT]
    origins = {name: settings.origin(name) for name in names
               if settings.origin(name).kind != "default"}
    values = {"interface": "asgi", **{name: getattr(settings, name) for name in names}}
    if "gevent" in origins and origins["gevent"] == origins.get("threads"):
        del origins["gevent"]
    warnings: list[str] = []
    try:
        check(values, origins, {"route": [origins.get("route", Origin())]}, warnings)
    except ConfigError as error:
        raise AppLoadError(f"the application is ASGI: {error}") from None
    return warnings
