"""A `[server:NAME]` section of PasteDeploy as a command line.

Errors are reported here, where file, section and key are known. Keys are any names of options, or
waitress's, so that only the `use` line of a section has to change; keys without a counterpart are
reported and left out.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from geventuwsgi.config.options.aliases import GUNICORN_SETTINGS
from geventuwsgi.config.options.option import Entry
from geventuwsgi.config.options.table import NO_SUCH_OPTION, nearest, row
from geventuwsgi.config.resolve.resolve import COMMAND, resolve
from geventuwsgi.config.resolve.sockets import SOCKETS
from geventuwsgi.config.sources.lines import Reading
from geventuwsgi.config.values.origin import CastContext, Origin

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", "8080"    # the defaults of other PasteDeploy servers

# waitress's keys that are options by another name.
RENAMED = {"unix_socket_perms": "chmod-socket", "trusted_proxy": "forwarded-allow-ips",
           "connection_limit": "worker-connections", "max_request_body_size": "limit-post"}
_ADDRESSES = "the addresses are set by host, port and listen"
_BUFFERS = "there are no buffers of a configurable size"
_SELECT = "the event loop is gevent's"
_PROXY = "only X-Forwarded-Proto is trusted from trusted_proxy, and no other header"
# waitress's keys without a counterpart, and why they are left out.
LEFT_OUT = {
    "ipv4": _ADDRESSES, "ipv6": _ADDRESSES,
    "url_prefix": "to remove a path use mount = /PREFIX=FILE.ini#NAME with manage_script_name = "
                  "true, or a filter of the application",
    "ident": "the Server header names this server, and server_header = false removes it",
    **dict.fromkeys(("trusted_proxy_count", "trusted_proxy_headers",
                     "log_untrusted_proxy_headers", "clear_untrusted_proxy_headers"), _PROXY),
    **dict.fromkeys(("recv_bytes", "send_bytes", "outbuf_overflow", "outbuf_high_watermark",
                     "inbuf_overflow", "channel_request_lookahead"), _BUFFERS),
    **dict.fromkeys(("asyncore_loop_timeout", "asyncore_use_poll"), _SELECT),
    "cleanup_interval": "idle connections are closed when their timeout expires",
    "channel_timeout": "http_timeout, socket_timeout and keepalive limit how long a client may "
                       "be silent",
    "max_request_header_size": "buffer_size and limit_request_line limit the head of a request",
    "log_socket_errors": "a client that disconnects is not an error",
    "expose_tracebacks": "tracebacks are in the log, and on a page in development runs (--dev)",
    "server_name": "SERVER_NAME is taken from the request",
}


class Section(NamedTuple):
    """The result of a section: arguments of the server, and warnings."""

    arguments: list[str]
    warnings: list[str]


def read(file: str, name: str, given: Mapping[str, str]) -> Section:
    """Convert a section to a command line.

    Args:
        file: the path of the INI file.
        name: the section's name after `server:`.
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
                NO_SUCH_OPTION
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
    """Yield the options of a section, each with its key as its place."""
    def origin(key: str) -> Origin:
        return Origin("file", place, option=key, section="geventuwsgi")

    options = dict(given)
    host, port = options.pop("host", ""), options.pop("port", "")
    if host or port:
        host = host or DEFAULT_HOST
        yield Entry("bind", f"{f'[{host}]' if ':' in host else host}:{port or DEFAULT_PORT}",
                    origin("port" if port else "host"))
    for key, text in options.items():
        if key == "listen" and ":" in text:     # waitress's addresses, not a queue length
            for one in text.split():
                yield Entry("bind", one.replace("*:", "0.0.0.0:"), origin(key))
        elif key == "unix_socket":
            yield Entry("bind", f"unix:{text}", origin(key))
        elif key == "url_scheme":
            yield Entry("route-run", f"setscheme:{text}", origin(key))
        elif key == "ident" and not text:
            yield Entry("server-header", "false", origin(key))
        elif key in LEFT_OUT:
            CastContext(origin(key), warnings).warn(f"ignored: {LEFT_OUT[key]}")
        else:
            yield Entry(RENAMED.get(key) or GUNICORN_SETTINGS.get(key) or key.replace("_", "-"),
                        text, origin(key))
