"""From what was read to `Settings`: each line is cast by its row, the last one wins.

What nobody wrote gets its default. Several defaults depend on who wrote the rest, because
concurrency is never raised and a socket never opened behind an operator's back.
"""

import os
import re
from typing import Any

from geventuwsgi.config.options import rules
from geventuwsgi.config.options.application import UVICORN_WORKERS
from geventuwsgi.config.options.option import Entry, Option
from geventuwsgi.config.options.requests import LOOPBACK, PRIVATE
from geventuwsgi.config.options.table import OPTIONS, suggest, nearest, row
from geventuwsgi.config.resolve import asgi
from geventuwsgi.config.resolve import conflicts
from geventuwsgi.config.resolve import conflicts as conflicts_logs
from geventuwsgi.config.resolve import conflicts as conflicts_workers
from geventuwsgi.config.resolve import development, hooks
from geventuwsgi.config.resolve import paths as places
from geventuwsgi.config.resolve import sockets as endpoints
from geventuwsgi.config.resolve.sockets import canonical
from geventuwsgi.config.settings import Settings
from geventuwsgi.config.sources.directives import variables
from geventuwsgi.config.sources.lines import Reading
from geventuwsgi.config.values.numbers import Number
from geventuwsgi.config.values.origin import CastContext, Origin
from geventuwsgi.config.values.router import Routing
from geventuwsgi.config.values.tls import Secured
from geventuwsgi.errors import ConfigError, written
from geventuwsgi.net.address import beyond_loopback, parse

# The rows that name sockets, each with its protocol; None is what `protocol` says, or else
# the second word.
SOCKETS = {
    "http_socket": ("http", "http"), "http": ("http", "http"),
    "https_socket": ("https", "https"), "https": ("https", "https"),
    "http_to_https": ("redirect", "redirect"), "http_stats_server": ("statistics", "statistics"),
    "uwsgi_socket": ("uwsgi", "uwsgi"), "socket": (None, "uwsgi"), "bind": (None, "http"),
}
SLOTS = 1000          # gunicorn's worker-connections: what its gevent users are used to
WORKER_TIMEOUT = 30   # seconds, gunicorn's timeout
DEFAULT_BIND = "127.0.0.1:8000"  # gunicorn's


COMMAND = "it acts on the command line alone, and has no effect here"


def resolve(reading: Reading, *, dev: bool = False) -> Settings:
    """Cast what was read, and fill in the defaults.

    Args:
        reading: everything that was read, with its late passes made.
        dev: whether this is a development run where nothing that was read says so or not.

    Raises:
        ConfigError: for the first line that cannot be carried out, with the others.
    """
    return _Defaults(_gather(reading), reading, dev).settings()


def overridden(reading: Reading) -> list[tuple[Origin, Origin]]:
    """Return the lines that have no effect, each with the line that takes its place.

    Args:
        reading: what `resolve` can carry out.
    """
    known = len(reading.warnings)
    gathered = _gather(reading)
    del reading.warnings[known:]
    return gathered.lost


def _gather(reading: Reading) -> "_Gathered":
    gathered = _Gathered(reading)
    errors: list[ConfigError] = []
    for entry in reading.ordered():
        try:
            gathered.take(entry)
        except ConfigError as error:
            errors.append(error)
    if errors:
        errors[0].others = tuple(errors[1:])
        raise errors[0]
    return gathered


class _Gathered:
    """The values that were written, the last one of each, with their origins."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.stream = reading.reads_uwsgi
        self.values: dict[str, Any] = {}
        self.origins: dict[str, Origin] = {}
        self.places: dict[str, list[int]] = {}  # of repeated rows: when each item was written
        self.items: dict[str, list[Origin]] = {}    # and where
        self.count = 0
        self.lost: list[tuple[Origin, Origin]] = []  # what a later line replaces, and that line

    def take(self, entry: Entry) -> None:
        """Make of a line what its row says."""
        option = row(entry.key, entry.origin.uwsgi)
        if option is None:
            if entry.key not in self.reading.declared:
                self.unknown(entry)
        elif option.status == "refused":
            raise entry.origin.error(option.reason)
        elif option.status == "command":
            CastContext(entry.origin, self.reading.warnings).warn(COMMAND)
        elif option.status in ("taken", "ignored"):
            value = option.value_type.cast(entry.text, CastContext(entry.origin, self.reading.warnings))
            if option.status == "taken":
                self.set(option, value, entry.origin)

    def set(self, option: Option, value: Any, origin: Origin) -> None:
        """Set a value, or append it where the row repeats."""
        name = option.attribute
        before = self.origins.get(name)
        if option.value_type.repeats:
            self.count += 1
            places, items = [self.count] * len(value), [origin] * len(value)
            if before and (option.merge or self.together(before, origin)):
                value = self.values[name] + value
                places = self.places[name] + places
                items = self.items[name] + items
            else:
                self.lost += [(one, origin) for one in self.items.get(name, ())]
            self.places[name], self.items[name] = places, items
        elif before and before.kind == "argv" and origin.kind == "file":
            self.reading.warnings.append(
                f"{origin.place}: {origin.option}: the file comes behind "
                f"{written(before.option)} on the command line and wins, as in uWSGI; name the "
                f"file first")
        if before and not option.value_type.repeats:
            self.lost.append((before, origin))
        self.values[name] = value
        self.origins[name] = origin

    def together(self, before: Origin, origin: Origin) -> bool:
        """Whether the items of two places add up, instead of the later replacing the former."""
        return self.source(before) == self.source(origin)

    def source(self, origin: Origin) -> str:
        # uWSGI knows no levels: its variables, files and arguments are one list.
        own = origin.kind == "environment" and not origin.uwsgi
        return "stream" if self.stream and not own else origin.kind + str(own)

    def unknown(self, entry: Entry) -> None:
        """Tell of a name that is no option: a placeholder in uWSGI's dialect, else an error."""
        key, origin, reading = entry.key, entry.origin, self.reading
        if key in reading.placeholders:
            return
        hint = suggest(key, entry.text, origin.uwsgi)
        hint = f"; {hint}" if hint else ""
        context = CastContext(origin, reading.warnings)
        if origin.kind == "environment":
            # Other programs' variables may begin with our names; only likely options are told.
            if nearest(key, origin.uwsgi):
                context.warn(f"there is no such option{hint}")
        elif reading.strict or not origin.uwsgi:
            context.fail(f"there is no such option{hint}")
        elif key not in reading.references:
            context.warn(f"there is no such option, it is a placeholder that nothing refers to{hint}")


class _Defaults:
    """What nobody wrote."""

    def __init__(self, gathered: _Gathered, reading: Reading, dev: bool) -> None:
        self.written = gathered.values
        self.origins = gathered.origins
        self.places = gathered.places
        self.items = gathered.items
        self.reading = reading
        self.environ = reading.environ
        self.warnings = reading.warnings
        self.notes: list[str] = []
        self.dev = bool(self.written.get("dev", dev))
        self.aside = development.set_aside(self.written, self.origins) if self.dev else []
        self.dialect = reading.dialect
        self.uwsgi = self.dialect == "uwsgi"
        self.values: dict[str, Any] = {
            option.attribute: option.default_for(self.dialect)
            for option in OPTIONS if option.status == "taken" and not option.to}
        self.values.update(self.written, dev=self.dev)
        if self.dev:
            development.fill_in(self.written, self.values)

    def settings(self) -> Settings:
        """Derive what depends on other values, and return the whole."""
        self.processes()
        self.interface()
        self.slots()
        places.normalize(self.values, self.origins, self.items, self.uwsgi)
        self.sockets()
        self.trust()
        self.worker_timeout()
        self.limits()
        if self.values["reload"] and "py_autoreload" not in self.written and not self.dev:
            self.values["py_autoreload"] = 1
        conflicts.check(self.values, self.origins)
        asgi.check(self.values, self.origins, self.items, self.warnings)
        rules.check_labels(self.values["route"], self.items.get("route", ()))
        conflicts_workers.Conflicts(self.values, self.origins, self.warnings).check()
        self.background()
        self.variables()
        conflicts_logs.normalize(self.values, self.origins, self.warnings)
        self.values.update(hooks.derive(self.values, self.items))
        if any(self.values[name] for name in self.values if name.startswith("procname")):
            self.values["auto_procname"] = True  # any of them implies it, as in uWSGI
        if self.dev:
            self.notes[:0] = development.notes(self.aside, self.values)
        self.values.update(
            strict=self.reading.strict, files=tuple(self.reading.files), dialect=self.dialect,
            inherits=bool(self.environ.get("LISTEN_FDS")),
            warnings=tuple(dict.fromkeys(self.warnings)), notes=tuple(self.notes), refusals=(),
            given=tuple((entry.key, entry.text) for entry in self.reading.entries))
        return Settings(self.values, self.origins)

    def platform(self, variable: str, name: str, value: object) -> None:
        """Take a default from a variable of the platform."""
        self.values[name] = value
        self.origins[name] = Origin("environment", option=variable)

    def processes(self) -> None:
        count = self.environ.get("WEB_CONCURRENCY", "").strip()
        # An operator of uWSGI sized the database for what the file says.
        if count and "processes" not in self.written and not self.uwsgi and not self.dev:
            context = CastContext(Origin("environment", option="WEB_CONCURRENCY"), self.warnings)
            self.platform("WEB_CONCURRENCY", "processes",
                          Number(minimum=1, auto=True).cast(count, context))

    def sockets(self) -> None:
        protocol = self.values["protocol"]
        named = [name for name in SOCKETS if self.written.get(name)]
        if not named:
            self.unnamed_socket()
        elif self.dev and not any((SOCKETS[name][0] or protocol or SOCKETS[name][1])
                                  in development.HTTP for name in named):
            self.values["http_socket"] = (DEFAULT_BIND,)
        secured = Secured(self.values, self.origins, self.warnings)
        routing = Routing(self.values, self.origins)
        self.values.update(router=routing.wanted, standalone=routing.standalone,
                           redirect_port=routing.redirect_port())
        found: list[endpoints.Found] = []
        for name, (fixed, default) in SOCKETS.items():
            addresses = self.values[name]
            places = self.places.get(name) or [0] * len(addresses)  # `bind =` names none
            routed = routing.routed(name)
            for place, address in zip(places, addresses, strict=True):
                spoken, terms = fixed or protocol or default, None
                address = canonical(address, self.values, self.origins.get(name, Origin()))
                if spoken == "https":
                    address, terms = secured.endpoint(address, name.replace("_", "-"))
                    address = canonical(address, self.values, self.origins[name])  # addr=...
                elif name == "bind" and secured.bind is not None:
                    if spoken != "http":
                        raise self.origins["certfile"].error(
                            f"{address}: the uwsgi protocol has no TLS here: use a unix socket")
                    spoken, terms = "https", secured.bind
                elif spoken == "redirect":
                    address = address.partition(",")[0].strip()
                elif spoken == "statistics" and not routed:
                    self.warnings.append(f"{self.origins[name].place}: http-stats-server: there "
                                         "is no router: the line has no effect")
                    continue
                found.append((place, address, spoken, terms, routed))
        found = endpoints.once(found)
        self.values["listeners"] = tuple((address, spoken) for _, address, spoken, *_ in found)
        self.values["tls"] = tuple(terms for *_, terms, _ in found)
        self.values["routed"] = tuple(routed for *_, routed in found)
        self.values["tls_bind"] = secured.bind
        endpoints.check(self.values, self.origins, self.warnings)
        secured.tell_unused(secured.bind in self.values["tls"]
                            or bool(self.environ.get("LISTEN_FDS")))

    def unnamed_socket(self) -> None:
        """Choose a socket where none is named: PORT, then handed over ones, then gunicorn's."""
        port = self.environ.get("PORT", "").strip()
        if port:
            origin = Origin("environment", option="PORT")
            if not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
                raise origin.error(f"{port!r} is no port")
            host = "127.0.0.1" if self.dev else "0.0.0.0"
            self.platform("PORT", "bind", (f"{host}:{port}",))
        elif (not self.uwsgi or self.dev) and not self.environ.get("LISTEN_FDS"):
            self.values["bind"] = (DEFAULT_BIND,)

    def trust(self) -> None:
        named = self.environ.get("FORWARDED_ALLOW_IPS", "").strip()
        if named and "forwarded_allow_ips" not in self.written:
            option = row("forwarded-allow-ips")
            assert option is not None
            context = CastContext(Origin("environment", option="FORWARDED_ALLOW_IPS"), self.warnings)
            self.platform("FORWARDED_ALLOW_IPS", "forwarded_allow_ips",
                          option.value_type.cast(named, context))
        if not self.uwsgi or "uwsgi_allow_from" in self.written:
            return
        beyond = [address for address, protocol in self.values["listeners"]
                  if protocol == "uwsgi" and beyond_loopback(parse(address))]
        if beyond:
            self.values["uwsgi_allow_from"] = (*LOOPBACK, *PRIVATE)
            self.warnings.append(
                f"{beyond[0]}: the uwsgi protocol is taken from loopback and from all private "
                f"networks: name those that may with uwsgi-allow-from")

    def interface(self) -> None:
        """What the application is said to be, and what follows for loading it."""
        worker_class = self.values["worker_class"]
        if worker_class in UVICORN_WORKERS:
            place = self.origins["worker_class"]
            self.notes.append(f"{place.place}: {place.option}: the application is served as ASGI "
                              f"by this server; uvicorn does not run")
        means_asgi = [name for name, is_it in (
            ("asgi", self.values["asgi"]),
            ("worker_class", worker_class == "asgi" or worker_class in UVICORN_WORKERS)) if is_it]
        if means_asgi:
            if self.values["interface"] == "wsgi":
                raise self.origins["interface"].error(
                    f"wsgi contradicts {self.origins[means_asgi[0]].option}")
            self.values["interface"] = "asgi"
        if self.values["interface"] == "asgi":
            if "lazy_apps" not in self.written:
                self.values["lazy_apps"] = True

    def slots(self) -> None:
        """How many requests are in the application at a time: never more than was sized for."""
        threads, worker_class = self.values["threads"], self.values["worker_class"]
        if self.values["gevent"]:
            return
        if worker_class == "sync":
            self.values["gevent"] = 1
        elif threads:
            self.values["gevent"] = threads
            self.origins["gevent"] = self.origins["threads"]
            if threads > 1 and self.values["interface"] != "asgi":
                place = self.origins["threads"]
                self.warnings.append(
                    f"{place.place}: {place.option}: {threads} requests at a time in greenlets, "
                    f"not in native threads; gevent = {threads} says the same")
        else:
            self.values["gevent"] = 1 if self.uwsgi or worker_class == "gthread" else SLOTS
            if self.uwsgi and self.values["interface"] != "asgi":
                self.notes.append("each worker takes one request at a time; gevent = N takes N")

    def worker_timeout(self) -> None:
        harakiri = conflicts.longest_harakiri(self.values)
        self.values["worker_timeout_action"] = "replace"
        if "worker_timeout" in self.written:
            self.values["worker_timeout"] = self.written["worker_timeout"] or None
        elif self.dev:
            self.values["worker_timeout"] = None
        elif self.uwsgi:
            # uWSGI leaves a worker alone that no harakiri was written for; and whoever lets
            # some paths take longer does not mean their worker to be killed before.
            self.values["worker_timeout"] = harakiri or WORKER_TIMEOUT
            self.values["worker_timeout_action"] = "replace" if harakiri else "log"
        else:
            self.values["worker_timeout"] = min(harakiri or WORKER_TIMEOUT, WORKER_TIMEOUT)

    def limits(self) -> None:
        """A written buffer-size bounds the request line, each field and the head alike."""
        size = self.values["buffer_size"]
        self.values["head_limit"] = size
        if "buffer_size" in self.written:
            for name in ("limit_request_line", "limit_request_field_size"):
                if name not in self.written:
                    self.values[name] = size
                    self.origins[name] = self.origins["buffer_size"]

    def variables(self) -> None:
        """What stands in the directories of envdir; no value is shown by --show-config."""
        found: dict[str, str | None] = {}
        for path, origin in zip(self.values["envdir"], self.items.get("envdir", ())):
            try:
                found |= variables(path)
            except ValueError as error:
                raise origin.error(str(error)) from None
        self.values["early_variables"] = tuple(self.reading.early.items())
        self.values["late_variables"] = tuple(found.items())

    def background(self) -> None:
        """In the background all logs go to the file that daemonize names, as in uWSGI."""
        name = "daemonize" if self.values["daemonize"] else "daemonize2"
        if self.values["daemon"] and not self.values[name]:
            name, self.values["daemonize"] = "daemonize", os.devnull
        path = self.values[name]
        if not path:
            return
        if path.startswith("udp:") or re.fullmatch(r"[\w.-]*:\d+", path):
            raise self.origins[name].error(f"{path}: logs go to a file, not to an address")
        if "logto" in self.origins:
            origin = self.origins["logto"]
            self.warnings.append(f"{origin.place}: {origin.option}: has no effect, {name} names "
                                 f"the file of the logs")
        self.values["logto"] = path
        self.origins["logto"] = self.origins.get(name) or self.origins["daemon"]
