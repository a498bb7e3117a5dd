"""Lines become `Settings`: each is cast by its option, the last one wins, the rest get defaults.

Some defaults depend on where the other values came from: concurrency is never raised and a socket
never opened without the operator's knowledge.
"""

import os
import re
from typing import Any

from geventuwsgi.config.options import rules
from geventuwsgi.config.options.application import UVICORN_WORKERS
from geventuwsgi.config.options.option import Entry, Option
from geventuwsgi.config.options.requests import LOOPBACK, PRIVATE
from geventuwsgi.config.options.table import NO_SUCH_OPTION, OPTIONS, nearest, row, suggest
from geventuwsgi.config.resolve import asgi, conflicts, development, hooks, paths, sockets
from geventuwsgi.config.resolve.concurrency import Concurrency
from geventuwsgi.config.settings import Settings
from geventuwsgi.config.sources.directives import variables, variables_of_file
from geventuwsgi.config.sources.lines import Reading
from geventuwsgi.config.values.numbers import Number
from geventuwsgi.config.values.origin import CastContext, Origin, places
from geventuwsgi.config.values.router import RouterOptions
from geventuwsgi.config.values.tls import TlsOptions
from geventuwsgi.errors import ConfigError, written
from geventuwsgi.net.address import beyond_loopback, parse

# What gunicorn reads where limit_request_line is 0.
UNLIMITED_HEAD = 1 << 20
MOST_FIELDS = 32768  # gunicorn's MAX_HEADERS
WORKER_TIMEOUT = 30   # seconds, gunicorn's timeout
DEFAULT_BIND = "127.0.0.1:8000"  # gunicorn's
COMMAND = "it is only valid on the command line, and has no effect here"


def resolve(reading: Reading, *, dev: bool = False) -> Settings:
    """Cast the lines, and add the defaults.

    Args:
        reading: all lines, after `finish`.
        dev: whether this is a development run, unless a line says so.

    Raises:
        ConfigError: for the first line that is wrong, with the others.
    """
    entries = reading.ordered()
    omissions = None
    try:
        if development.is_on(entries, dev):
            omissions = development.Omissions(entries)
    except ConfigError:
        pass    # of the line with `dev`, which _gather reports with all others
    return _Defaults(_gather(reading, omissions), reading, omissions).settings()


def overridden(reading: Reading) -> list[tuple[Origin, Origin]]:
    """Return the lines that have no effect, each with the line that replaces it.

    Args:
        reading: lines that `resolve` accepts.
    """
    known = len(reading.warnings)
    gathered = _gather(reading)
    del reading.warnings[known:]
    return gathered.lost


def _gather(reading: Reading, omissions: development.Omissions | None = None) -> "_Gathered":
    gathered = _Gathered(reading, omissions)
    errors: list[ConfigError] = []
    for entry in reading.ordered():
        try:
            gathered.add(entry)
        except ConfigError as error:
            errors.append(error)
    if errors:
        errors[0].others = tuple(errors[1:])
        raise errors[0]
    return gathered


class _Gathered:
    """The values that were set, the last one of each option, with their origins."""

    def __init__(self, reading: Reading, omissions: development.Omissions | None) -> None:
        self.reading = reading
        self.omissions = omissions
        self.stream = reading.reads_uwsgi
        self.values: dict[str, Any] = {}
        self.origins: dict[str, Origin] = {}
        # For repeatable options: the position of each item's line, and its origin.
        self.positions: dict[str, list[int]] = {}
        self.items: dict[str, list[Origin]] = {}
        self.count = 0
        self.lost: list[tuple[Origin, Origin]] = []  # a line, and the later one that replaces it

    def add(self, entry: Entry) -> None:
        """Cast a line according to its option."""
        option = row(entry.key, entry.origin.uwsgi)
        if option is None:
            if entry.key not in self.reading.declared:
                self.unknown(entry)
        elif option.status == "refused":
            raise entry.origin.error(option.reason)
        elif option.status == "command":
            CastContext(entry.origin, self.reading.warnings).warn(COMMAND)
        elif option.status == "taken" and self.omissions is not None \
                and self.omissions.include(option, entry):
            pass
        elif option.status in ("taken", "ignored"):
            context = CastContext(entry.origin, self.reading.warnings)
            value = option.value_type.cast(entry.text, context)
            if option.status == "taken":
                self.set(option, value, entry.origin)

    def set(self, option: Option, value: Any, origin: Origin) -> None:
        """Set a value, or append it if the option is repeatable."""
        name = option.attribute
        before = self.origins.get(name)
        if option.value_type.repeats:
            self.count += 1
            positions, items = [self.count] * len(value), [origin] * len(value)
            if before and (option.merge or self.source(before) == self.source(origin)):
                value = self.values[name] + value
                positions = self.positions[name] + positions
                items = self.items[name] + items
            else:
                self.lost += [(one, origin) for one in self.items.get(name, ())]
            self.positions[name], self.items[name] = positions, items
        elif before and before.kind == "argv" and origin.kind == "file":
            self.reading.warnings.append(origin.warning(
                f"the file is named after {written(before.option)} on the command line and wins, "
                "as in uWSGI; name the file first"))
        if before and not option.value_type.repeats:
            self.lost.append((before, origin))
        self.values[name] = value
        self.origins[name] = origin

    def source(self, origin: Origin) -> str:
        """Name the source of a line; items of one source are added, others replaced."""
        # uWSGI has no levels: its variables, files and arguments are one list.
        own = origin.kind == "environment" and not origin.uwsgi
        return "stream" if self.stream and not own else origin.kind + str(own)

    def unknown(self, entry: Entry) -> None:
        """Report an unknown name: a placeholder in uWSGI's dialect, otherwise an error."""
        key, origin, reading = entry.key, entry.origin, self.reading
        if key in reading.placeholders:
            return
        hint = suggest(key, entry.text, origin.uwsgi)
        hint = f"; {hint}" if hint else ""
        context = CastContext(origin, reading.warnings)
        if origin.kind == "environment":
            # Other programs' variables may begin with our names; only likely options are reported.
            if nearest(key, origin.uwsgi):
                context.warn(f"{NO_SUCH_OPTION}{hint}")
        elif reading.strict or not origin.uwsgi:
            context.fail(f"{NO_SUCH_OPTION}{hint}")
        elif key not in reading.references:
            context.warn(f"{NO_SUCH_OPTION}, it is a placeholder that nothing refers to{hint}")


class _Defaults:
    """The values that were not set, and those that follow from others."""

    def __init__(self, gathered: _Gathered, reading: Reading,
                 omissions: development.Omissions | None) -> None:
        self.written = gathered.values
        self.origins = gathered.origins
        self.positions = gathered.positions
        self.items = gathered.items
        self.reading = reading
        self.environ = reading.environ
        self.warnings = reading.warnings
        self.notes: list[str] = []
        self.dev = omissions is not None
        self.removed = omissions.lines if omissions is not None else []
        self.dialect = reading.dialect
        self.uwsgi = self.dialect == "uwsgi"
        self.values: dict[str, Any] = {
            option.attribute: option.default_for(self.dialect)
            for option in OPTIONS if option.status == "taken" and not option.to}
        self.values.update(self.written, dev=self.dev)
        if self.dev:
            development.fill_in(self.written, self.values)

    def settings(self) -> Settings:
        """Derive the values that depend on others, and return all of them."""
        self.processes()
        self.interface()
        self.concurrency()
        paths.normalize(self.values, self.origins, self.items, self.uwsgi)
        self.sockets()
        self.trust()
        self.worker_timeout()
        self.limits()
        if self.values["reload"] and "py_autoreload" not in self.written and not self.dev:
            self.values["py_autoreload"] = 1
        conflicts.check(self.values, self.origins, self.items)
        asgi.check(self.values, self.origins, self.items, self.warnings)
        rules.check_labels(self.values["route"], self.items.get("route", ()))
        conflicts.WorkerConflicts(self.values, self.origins, self.warnings).check()
        self.background()
        self.variables()
        conflicts.resolve_logs(self.values, self.origins, self.warnings)
        self.values.update(hooks.derive(self.values, self.items))
        if any(self.values[name] for name in self.values if name.startswith("procname")):
            self.values["auto_procname"] = True  # any of them implies it, as in uWSGI
        if self.dev:
            self.notes[:0] = development.notes(self.removed, self.values)
        self.values.update(
            strict=self.reading.strict, files=tuple(self.reading.files), dialect=self.dialect,
            inherits=bool(self.environ.get("LISTEN_FDS")),
            warnings=tuple(dict.fromkeys(self.warnings)), notes=tuple(self.notes), refusals=(),
            given=tuple((entry.key, entry.text) for entry in self.reading.entries))
        return Settings(self.values, self.origins)

    def platform(self, variable: str, name: str, value: object) -> None:
        """Set a default from an environment variable of the platform."""
        self.values[name] = value
        self.origins[name] = Origin("environment", option=variable)

    def processes(self) -> None:
        count = self.environ.get("WEB_CONCURRENCY", "").strip()
        # A [uwsgi] file sets the number: the database was sized for it.
        if count and "processes" not in self.written and not self.uwsgi and not self.dev:
            context = CastContext(Origin("environment", option="WEB_CONCURRENCY"), self.warnings)
            self.platform("WEB_CONCURRENCY", "processes",
                          Number(minimum=1, auto=True).cast(count, context))

    def sockets(self) -> None:
        chosen = self.values["protocol"]
        named = [name for name in sockets.SOCKETS if self.written.get(name)]
        if all(sockets.SOCKETS[name][0] in sockets.WITHOUT_APPLICATION for name in named):
            self.unnamed_socket()   # these do not serve the application
        elif self.dev and not any((sockets.SOCKETS[name][0] or chosen or sockets.SOCKETS[name][1])
                                  in development.HTTP for name in named):
            self.values["http_socket"] = (DEFAULT_BIND,)
        tls_options = TlsOptions(self.values, self.origins, self.warnings)
        router = RouterOptions(self.values, self.origins)
        self.values.update(router=router.wanted, standalone=router.standalone,
                           redirect_port=router.redirect_port())
        found: list[sockets.Socket] = []
        for name, (fixed, default) in sockets.SOCKETS.items():
            addresses = places(name, self.values, self.origins, self.items)
            positions = self.positions.get(name) or [0] * len(addresses)  # `bind =` has none
            owner = "monitor" if name in sockets.OF_MONITOR else router.owner(name)
            proxied = self.values["http_enable_proxy_protocol"] and name in router.OWN
            for position, (address, place) in zip(positions, addresses, strict=True):
                protocol, tls = fixed or chosen or default, None
                address = sockets.canonical(address, self.values, place)
                if protocol == "https":
                    address, tls = tls_options.endpoint(address, name.replace("_", "-"))
                    address = sockets.canonical(address, self.values, place)  # addr=
                elif name == "bind" and tls_options.bind is not None:
                    if protocol != "http":
                        raise self.origins["certfile"].error(
                            f"{address}: there is no TLS for the uwsgi protocol: use a unix "
                            "socket")
                    protocol, tls = "https", tls_options.bind
                elif protocol == "redirect":
                    address = address.partition(",")[0].strip()
                elif protocol == "statistics" and owner != "router":
                    self.warnings.append(place.warning("has no effect without a router"))
                    continue
                found.append((position, address, protocol, tls, owner, proxied))
        found = sockets.unique(found)
        self.values["listeners"] = tuple((address, protocol) for _, address, protocol, *_ in found)
        self.values["tls"] = tuple(tls for *_, tls, _, _ in found)
        self.values["owners"] = tuple(owner for *_, owner, _ in found)
        self.values["proxied"] = proxied = tuple(proxied for *_, proxied in found)
        if self.values["http_enable_proxy_protocol"] and not any(proxied):
            self.warnings.append(self.origins["http_enable_proxy_protocol"].warning(
                "has no effect without http or https; for other sockets there is "
                "enable-proxy-protocol"))
        self.values["tls_bind"] = tls_options.bind
        sockets.check(self.values, self.origins, self.items, self.warnings)
        tls_options.warn_unused(tls_options.bind in self.values["tls"]
                                or bool(self.environ.get("LISTEN_FDS")))

    def unnamed_socket(self) -> None:
        """Choose a socket if none is set: PORT, then inherited ones, then gunicorn's default."""
        port = self.environ.get("PORT", "").strip()
        if port:
            origin = Origin("environment", option="PORT")
            if not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
                raise origin.error(f"{port!r} is not a port")
            host = "127.0.0.1" if self.dev else "0.0.0.0"
            self.platform("PORT", "bind", (f"{host}:{port}",))
        elif (not self.uwsgi or self.dev) and not self.environ.get("LISTEN_FDS"):
            self.values["bind"] = (DEFAULT_BIND,)

    def trust(self) -> None:
        named = self.environ.get("FORWARDED_ALLOW_IPS", "").strip()
        if named and "forwarded_allow_ips" not in self.written:
            option = row("forwarded-allow-ips")
            assert option is not None
            variable = "FORWARDED_ALLOW_IPS"
            context = CastContext(Origin("environment", option=variable), self.warnings)
            self.platform(variable, "forwarded_allow_ips",
                          option.value_type.cast(named, context))
        if not self.uwsgi or "uwsgi_allow_from" in self.written:
            return
        beyond = [address for address, protocol in self.values["listeners"]
                  if protocol == "uwsgi" and beyond_loopback(parse(address))]
        if beyond:
            self.values["uwsgi_allow_from"] = (*LOOPBACK, *PRIVATE)
            self.warnings.append(
                f"{beyond[0]}: the uwsgi protocol is accepted from loopback and from all private "
                f"networks: list the allowed addresses with uwsgi-allow-from")

    def interface(self) -> None:
        """Derive the interface of the application, and how it is loaded."""
        worker_class = self.values["worker_class"]
        if worker_class in UVICORN_WORKERS:
            place = self.origins["worker_class"]
            self.notes.append(place.warning("the application is served as ASGI by this server; "
                                            "uvicorn does not run"))
        means_asgi = [name for name, is_it in (
            ("asgi", self.values["asgi"]),
            ("worker_class", worker_class == "asgi" or worker_class in UVICORN_WORKERS)) if is_it]
        if means_asgi:
            if self.values["interface"] == "wsgi":
                raise self.origins["interface"].error(
                    f"wsgi contradicts {self.origins[means_asgi[0]].option}")
            self.values["interface"] = "asgi"
        if self.values["interface"] == "asgi" and "lazy_apps" not in self.written:
            self.values["lazy_apps"] = True

    def concurrency(self) -> None:
        """Derive how a worker runs requests, and how many at once."""
        found = Concurrency(self.values, self.written, self.origins, self.uwsgi)
        self.values.update(found.derived())
        if self.values["interface"] != "asgi":
            self.warnings += found.warnings()
            self.notes += found.notes()

    def worker_timeout(self) -> None:
        harakiri = conflicts.longest_harakiri(self.values)
        self.values["worker_timeout_action"] = "replace"
        if "worker_timeout" in self.written:
            self.values["worker_timeout"] = self.written["worker_timeout"] or None
        elif self.dev:
            self.values["worker_timeout"] = None
        elif self.uwsgi:
            # Without a harakiri uWSGI does not kill a worker; and if some paths may take longer,
            # their worker must not be killed before.
            self.values["worker_timeout"] = harakiri or WORKER_TIMEOUT
            self.values["worker_timeout_action"] = "replace" if harakiri else "log"
        else:
            self.values["worker_timeout"] = min(harakiri or WORKER_TIMEOUT, WORKER_TIMEOUT)

    def limits(self) -> None:
        """Apply buffer-size, if it is set, to the request line, each header field and the head.

        A limit of 0 is gunicorn's "unlimited": only the head as a whole is limited then. Without
        buffer-size a head may be as large as one of its parts.
        """
        values = self.values
        size = values["buffer_size"]
        names = ("limit_request_line", "limit_request_field_size")
        if "buffer_size" in self.written:
            for name in names:
                if name not in self.written:
                    values[name] = size
                    self.origins[name] = self.origins["buffer_size"]
        else:
            size = max(size, *(values[name] or UNLIMITED_HEAD for name in names))
        values["head_limit"] = size
        for name in names:
            values[name] = values[name] or size
        values["limit_request_fields"] = min(values["limit_request_fields"] or MOST_FIELDS,
                                             MOST_FIELDS)

    def variables(self) -> None:
        """Read env-file and the directories of envdir; --show-config does not print the values."""
        user = Settings(self.values, self.origins).identity.user
        of_files: dict[str, str] = {}
        for path, origin in places("env_file", self.values, self.origins, self.items):
            try:
                of_files |= variables_of_file(path, {**of_files, **self.environ}, user)
            except ValueError as error:
                raise origin.error(str(error)) from None
        found: dict[str, str | None] = {}
        for path, origin in zip(self.values["envdir"], self.items.get("envdir", ())):
            try:
                found |= variables(path, user)
            except ValueError as error:
                raise origin.error(str(error)) from None
        self.values["early_variables"] = (
            *((name, text) for name, text in of_files.items() if name not in self.environ),
            *self.reading.early.items())
        self.values["late_variables"] = tuple(found.items())

    def background(self) -> None:
        """Write all logs to the file of daemonize, as uWSGI does."""
        name = "daemonize" if self.values["daemonize"] else "daemonize2"
        if self.values["daemon"] and not self.values[name]:
            name, self.values["daemonize"] = "daemonize", os.devnull
        path = self.values[name]
        if not path:
            return
        if path.startswith("udp:") or re.fullmatch(r"[\w.-]*:\d+", path):
            raise self.origins[name].error(f"{path}: logs go to a file, not to an address")
        if "logto" in self.origins:
            self.warnings.append(self.origins["logto"].warning(
                f"has no effect, logs go to the file of {name}"))
        self.values["logto"] = path
        self.origins["logto"] = self.origins.get(name) or self.origins["daemon"]
