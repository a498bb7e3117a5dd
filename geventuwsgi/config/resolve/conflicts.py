"""Options that contradict each other: an error at startup that names both places.

Each check gets values that are valid by themselves. An impossible combination is an error at one
of the places; an option that has no effect because of the others is a warning. A harakiri above
`worker-timeout` is not a conflict: the one limits a request that waits, the other a blocked hub.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from geventuwsgi.config.values.origin import Origin, places
from geventuwsgi.log import atoms, loggers

_DEFAULT = Origin()
_ROUTES = (("log_route", "logger"), ("log_req_route", "req_logger"))
_ENCODERS = (("log_encoder", "logger"), ("log_req_encoder", "req_logger"))


def harakiri_paths(texts: Iterable[str]) -> list[tuple[str, float]]:
    """Return (prefix, seconds) of each `harakiri-path`; 0 means no limit."""
    split = (text.rpartition("=") for text in texts)
    return [(prefix, float(seconds)) for prefix, _, seconds in split]


def longest_harakiri(values: Mapping[str, Any]) -> float:
    """Return the maximum duration of any request, in seconds; 0 means no limit."""
    paths = harakiri_paths(values["harakiri_path"])
    limits = [values["harakiri"], *(seconds for _, seconds in paths)]
    return 0 if 0 in limits else max(limits)


def check(values: Mapping[str, Any], origins: Mapping[str, Origin],
          items: Mapping[str, Sequence[Origin]]) -> None:
    """Refuse contradictory options.

    Args:
        values: the values by attribute, defaults included.
        origins: where those that are not defaults were set.
        items: where each item of a repeatable option was set.

    Raises:
        ConfigError: at the place of the option that has to change.
    """
    _hosts(values, places("mount", values, origins, items))
    _paths(places("harakiri_path", values, origins, items))
    _slow_request(values, origins)
    _block_warning(values, origins)
    _access_format(values, origins)
    if len(values["master_fifo"]) > 10:
        raise origins["master_fifo"].error("there are only ten slots, 0 to 9")


def assignment(name: str, value: object, origins: Mapping[str, Origin]) -> str:
    """Return `name = value (place)` for a message, with the name as it is written there."""
    origin = origins.get(name.replace("-", "_"), _DEFAULT)
    name = name.replace("_", "-")
    if origin.option is not None and len(origin.option) > 1:    # else it is a letter
        name = origin.option
    text = str(value).lower() if isinstance(value, bool) else value
    return f"{name} = {text} ({origin.place})"


def _hosts(values: Mapping[str, Any], mounts: Iterable[tuple[str, Origin]]) -> None:
    if values["vhost"] or values["vhost_host"]:
        return
    for mount, place in mounts:
        if "|" in mount.partition("=")[0]:
            raise place.error(f"{mount}: an application for one host needs vhost = true, or "
                              "vhost-host = true for the Host header")


def _paths(texts: Iterable[tuple[str, Origin]]) -> None:
    known: dict[str, float] = {}
    for text, place in texts:
        (prefix, seconds), = harakiri_paths([text])
        if known.setdefault(prefix, seconds) != seconds:
            raise place.error(
                f"{prefix} has two limits, {known[prefix]:g} and {seconds:g} seconds")


def _slow_request(values: Mapping[str, Any], origins: Mapping[str, Origin]) -> None:
    slow, longest = values["slow_request"], longest_harakiri(values)
    if slow and 0 < longest <= slow:
        raise origins["slow_request"].error(
            f"no request runs for {slow:g} seconds: "
            + (f"the longest harakiri-path, {longest:g}," if longest > values["harakiri"]
               else assignment("harakiri", f"{longest:g}", origins)) + " ends it before")


def _block_warning(values: Mapping[str, Any], origins: Mapping[str, Origin]) -> None:
    warning, timeout = values["block_warning"], values["worker_timeout"]
    if warning and timeout and values["worker_timeout_action"] == "replace" \
            and timeout * 1000 <= warning:
        raise origins["block_warning"].error(
            f"no worker stays blocked for {warning} milliseconds: "
            f"{assignment('worker-timeout', f'{timeout:g}', origins)} replaces it before")


def _access_format(values: Mapping[str, Any], origins: Mapping[str, Origin]) -> None:
    """Check the atoms of a format that was set by gunicorn's name of the option.

    By uWSGI's name an unknown atom is a variable that the application may set, and one mistyped
    atom would make variables of all the others.
    """
    origin = origins.get("log_format")
    written = (origin.option or "").lower().replace("_", "-") if origin else ""
    if origin and written.endswith("access-logformat"):
        try:
            atoms.split(values["log_format"], "gunicorn")
        except ValueError as error:
            raise origin.error(str(error)) from None


class WorkerConflicts:
    """The checks of the options on workers.

    Args:
        values: the values by attribute, defaults included.
        origins: where those that are not defaults were set.
        warnings: receives a message for each option without effect.
    """

    def __init__(self, values: Mapping[str, Any], origins: Mapping[str, Origin],
                 warnings: list[str]) -> None:
        self.values = values
        self.origins = origins
        self.warnings = warnings

    def check(self) -> None:
        """Run all checks.

        Raises:
            ConfigError: for the first combination that is impossible.
        """
        self._recycling()
        self._cheaper()
        self.warn_alone("paste_logger", "paste")
        # In a file it is for development runs.
        if self.origins.get("reload_extra_file", _DEFAULT).kind != "file":
            self.warn_alone("reload_extra_file", "py_autoreload")

    def line(self, name: str) -> str:
        """Return `name = value (place)`."""
        return assignment(name.replace("_", "-"), self.values[name], self.origins)

    def refuse_unless(self, possible: bool, name: str, message: str, *others: str) -> None:
        """Refuse the value of `name`, or if that is a default of the first other that is not."""
        if possible:
            return
        where = next((self.origins[one] for one in (name, *others) if one in self.origins),
                     _DEFAULT)
        raise where.error(f"{message}: {', '.join(map(self.line, (name, *others)))}")

    def warn_alone(self, name: str, needed: str) -> None:
        """Warn of an option that is set without the one it needs."""
        origin = self.origins.get(name)
        if origin is not None and self.values[name] and not self.values[needed]:
            self.warnings.append(origin.warning(
                f"has no effect without {needed.replace('_', '-')}"))

    def _recycling(self) -> None:
        values = self.values
        maximum = values["max_worker_lifetime"]
        # The default minimum, uWSGI's 10 seconds, does not count.
        self.refuse_unless(
            not maximum or "min_worker_lifetime" not in self.origins
            or values["min_worker_lifetime"] < maximum,
            "min_worker_lifetime", "the minimum lifetime of a worker must be below the maximum",
            "max_worker_lifetime")
        for soft, evil in (("reload_on_rss", "evil_reload_on_rss"),
                           ("reload_on_as", "evil_reload_on_as")):
            self.refuse_unless(
                not (values[soft] and values[evil]) or values[soft] < values[evil], soft,
                "a worker would be killed before it is replaced gracefully", evil)
        for name in ("max_requests_delta", "max_requests_jitter"):
            self.warn_alone(name, "max_requests")
        self.warn_alone("max_worker_lifetime_delta", "max_worker_lifetime")

    def _cheaper(self) -> None:
        values = self.values
        least, most, first = values["cheaper"], values["processes"], values["cheaper_initial"]
        self.refuse_unless(
            least < most or not least, "cheaper",
            "invalid cheaper value: must be lower than processes", "processes")
        if least and first:
            self.refuse_unless(least <= first, "cheaper_initial",
                               "must be at least cheaper", "cheaper")
        self.refuse_unless(first <= most, "cheaper_initial", "must be at most processes",
                           "processes")
        self.refuse_unless(
            values["cheaper_busyness_min"] < values["cheaper_busyness_max"],
            "cheaper_busyness_min", "must be below the maximum", "cheaper_busyness_max")
        soft, hard = values["cheaper_rss_limit_soft"], values["cheaper_rss_limit_hard"]
        self.refuse_unless(not (soft and hard) or soft <= hard, "cheaper_rss_limit_soft",
                           "must not be above the hard limit", "cheaper_rss_limit_hard")
        for name in values:
            if name.startswith("cheaper_") and name != "cheaper_initial":
                self.warn_alone(name, "cheaper")
        self.warn_alone("die_on_idle", "idle")
        if not (least or values["cheap"] or values["idle"]):
            self.warn_alone("cheaper_initial", "cheaper")


def resolve_logs(values: dict[str, Any], origins: dict[str, Origin], warnings: list[str]) -> None:
    """Check the options on logs, and replace `logto` by `logto2` or what `capture-output` means.

    Raises:
        ConfigError: at the place of the option that has to change.
    """
    _check_logger_names(values, origins)
    errors = values["error_logfile"]
    if values["capture_output"] and errors and errors != "-" and not values["logto"]:
        values["logto"], values["error_logfile"] = errors, None
        origins["logto"] = origins["error_logfile"]
    if values["logto2"]:
        values["logto"], origins["logto"] = values["logto2"], origins["logto2"]
    if values["log_maxsize"] and not values["logto"]:
        _warn("log_maxsize", "no log is written to a file: set logto or daemonize, or add "
              "maxsize= to logger = file:", origins, warnings)
    if values["access_logfile"] and values["req_logger"]:
        _warn("req_logger", "request lines go to access-logfile", origins, warnings)
    for name in ("error_logfile", "access_logfile"):
        if values["log_maxsize"] and values["logto"] and values[name]:
            _warn("log_maxsize", f"the file of {name.replace('_', '-')} is not rotated by "
                  f"size: leave it out, or use logrotate", origins, warnings)


def _warn(name: str, message: str, origins: Mapping[str, Origin], warnings: list[str]) -> None:
    warnings.append(origins[name].warning(message))


def _check_logger_names(values: Mapping[str, Any], origins: Mapping[str, Origin]) -> None:
    for option, owner in _ROUTES:
        known = {loggers.logger(text).name for text in values[owner]} - {""}
        for text in values[option]:
            name, _ = loggers.routed(text)
            if name not in known:
                raise origins[option].error(_unknown(name, owner, known))
    for option, owner in _ENCODERS:
        known = {loggers.logger(text).name for text in values[owner]} - {""}
        for text in values[option]:
            name, _ = loggers.encoder(text)
            if name and name not in known:
                raise origins[option].error(_unknown(name, owner, known))


def _unknown(name: str, owner: str, known: set[str]) -> str:
    option = owner.replace("_", "-")
    return (f"there is no {option} named {name!r}: write {option} = {name} file:PATH"
            + (f" (there are {', '.join(sorted(known))})" if known else ""))
