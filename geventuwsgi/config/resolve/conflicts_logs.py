"""What the options of the logs ask of each other: names that must exist, and what wins."""

from collections.abc import Mapping
from typing import Any

from geventuwsgi.config.values.origin import Origin
from geventuwsgi.log import loggers

_ROUTES = (("log_route", "logger"), ("log_req_route", "req_logger"))
_ENCODERS = (("log_encoder", "logger"), ("log_req_encoder", "req_logger"))


def settle(values: dict[str, Any], origins: dict[str, Origin], warnings: list[str]) -> None:
    """Check the options of the logs, and let `logto2` take the place of `logto`.

    Raises:
        ConfigError: at the place of the option that has to change.
    """
    _named(values, origins)
    if values["logto2"]:
        values["logto"], origins["logto"] = values["logto2"], origins["logto2"]
    if values["log_maxsize"] and not values["logto"]:
        _useless("log_maxsize", "no log goes to a file: write logto or daemonize, or maxsize= "
                 "behind logger = file:", origins, warnings)
    if values["access_logfile"] and values["req_logger"]:
        _useless("req_logger", "access-logfile names where request lines go", origins, warnings)
    for name in ("error_logfile", "access_logfile"):
        if values["log_maxsize"] and values["logto"] and values[name]:
            _useless("log_maxsize", f"the file of {name.replace('_', '-')} is not rotated by its "
                     f"size: leave it out, or use logrotate", origins, warnings)


def _useless(name: str, why: str, origins: Mapping[str, Origin], warnings: list[str]) -> None:
    origin = origins[name]
    warnings.append(f"{origin.place}: {origin.option}: {why}")


def _named(values: Mapping[str, Any], origins: Mapping[str, Origin]) -> None:
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
