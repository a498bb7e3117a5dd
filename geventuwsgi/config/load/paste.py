"""A `[server:NAME]` section of PasteDeploy as a command line.

The rules of this room: what is wrong is told here, while file, section and key are known, in
these words and not in flags that nobody wrote. Keys are options by any name, or waitress's,
so that a section may be switched over by its `use` line: what has no counterpart is told and
left out.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from geventuwsgi.config.options.aliases import GUNICORN_SETTINGS
from geventuwsgi.config.options.option import Entry
from geventuwsgi.config.options.table import nearest, row
from geventuwsgi.config.resolve.resolve import COMMAND, SOCKETS, resolve
from geventuwsgi.config.sources.lines import Reading
from geventuwsgi.config.values.origin import CastContext, Origin

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", "8080"    # what runners of PasteDeploy have

# waitress's keys that are options by another name.
RENAMED = {"unix_socket_perms": "chmod-socket", "trusted_proxy": "forwarded-allow-ips",
           "connection_limit": "worker-connections", "max_request_body_size": "limit-post"}
_ADDRESSES = "host, port and listen say which addresses it is"
_BUFFERS = "what is sent and received is not held in buffers of a size to be set"
_SELECT = "waiting is gevent's"
_PROXY = "X-Forwarded-Proto of trusted_proxy is believed, and no other header"
# waitress's keys without a counterpart: why they are left out.
LEFT_OUT = {
    "ipv4": _ADDRESSES, "ipv6": _ADDRESSES,
    "url_prefix": "a path is cut off by mount = /PREFIX=FILE.ini#NAME with manage_script_name = "
                  "true, or by a filter of the application",
    "ident": "the Server header names this server, or with server_header = false nobody",
    **dict.fromkeys(("trusted_proxy_count", "trusted_proxy_headers",
                     "log_untrusted_proxy_headers", "clear_untrusted_proxy_headers"), _PROXY),
    **dict.fromkeys(("recv_bytes", "send_bytes", "outbuf_overflow", "outbuf_high_watermark",
                     "inbuf_overflow", "channel_request_lookahead"), _BUFFERS),
    **dict.fromkeys(("asyncore_loop_timeout", "asyncore_use_poll"), _SELECT),
    "cleanup_interval": "idle connections are closed when their time is over",
    "channel_timeout": "http_timeout, socket_timeout and keepalive bound how long a client may "
                       "be silent",
    "max_request_header_size": "buffer_size and limit_request_line bound the head of a request",
    "log_socket_errors": "clients that go away are no errors",
    "expose_tracebacks": "tracebacks are in the log, and on a page in development runs (--dev)",
    "server_name": "SERVER_NAME is what the request asks for",
}


class Section(NamedTuple):
    """What a section makes: the server's arguments, and what the operator should know."""

    arguments: list[str]
    warnings: list[str]


def read(file: str, name: str, given: Mapping[str, str]) -> Section:
    """Make a command line of a section.

    Args:
        file: the path of the INI file.
        name: the section's name behind `server:`.
        given: its keys without `use`, interpolated.

    Raises:
        ConfigError: naming file, section and key.
    """
    place = f"{file}: [server:{name}]"
    warnings: list[str] = []
    lines = list(_entries(place, given, warnings))
    reading = Reading({})
    for entry in lines:
        option = row(entry.key)
        if option is None:
            close = nearest(entry.key)
            raise entry.origin.error(
                "there is no such option"
                + (f"; did you mean {close.replace('-', '_')}?" if close else ""))
        if option.status == "command":
            raise entry.origin.error(COMMAND)
        reading.add(entry.key, entry.text, entry.origin)
    reading.finish()
    settings = resolve(reading)
    arguments = [f"--{entry.key}={entry.text}" for entry in lines]
    if all(settings.origin(one).kind == "default" for one in SOCKETS):
        arguments.insert(0, f"--bind={DEFAULT_HOST}:{DEFAULT_PORT}")
    return Section(arguments, warnings)


def _entries(place: str, given: Mapping[str, str], warnings: list[str]) -> Iterator[Entry]:
    """Yield the options that a section stands for, each with its own key as its place."""
    def origin(key: str) -> Origin:
        return Origin("file", place, option=key, section="geventuwsgi")

    options = dict(given)
    host, port = options.pop("host", ""), options.pop("port", "")
    if host or port:
        host = host or DEFAULT_HOST
        yield Entry("bind", f"{f'[{host}]' if ':' in host else host}:{port or DEFAULT_PORT}",
                    origin("port" if port else "host"))
    for key, text in options.items():
        if key == "listen" and ":" in text:     # waitress's: addresses, no length of a queue
            for one in text.split():
                yield Entry("bind", one.replace("*:", "0.0.0.0:"), origin(key))
        elif key == "unix_socket":
            yield Entry("bind", f"unix:{text}", origin(key))
        elif key == "url_scheme":
            yield Entry("route-run", f"setscheme:{text}", origin(key))
        elif key == "ident" and not text:
            yield Entry("server-header", "false", origin(key))
        elif key in LEFT_OUT:
            CastContext(origin(key), warnings).warn(f"ignored, because {LEFT_OUT[key]}")
        else:
            yield Entry(RENAMED.get(key) or GUNICORN_SETTINGS.get(key) or key.replace("_", "-"),
                        text, origin(key))
