"""Options that cannot be carried out together: an error at start, naming both places.

Only what could never have an effect, or contradicts itself, is refused. A harakiri above
`worker-timeout` is none of that: the one bounds requests that wait, the other a hub that
is blocked, and a worker that is blocked for ten seconds may well be replaced while a
report may take its minute.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from geventuwsgi.config.values.origin import Origin
from geventuwsgi.log import atoms


def harakiri_paths(texts: Iterable[str]) -> list[tuple[str, float]]:
    """Return (prefix, seconds) of each `harakiri-path`; 0 is no limit."""
    split = (text.rpartition("=") for text in texts)
    return [(prefix, float(seconds)) for prefix, _, seconds in split]


def longest_harakiri(values: Mapping[str, Any]) -> float:
    """Return the longest time that any request may take, in seconds; 0 = no limit."""
    paths = harakiri_paths(values["harakiri_path"])
    limits = [values["harakiri"], *(seconds for _, seconds in paths)]
    return 0 if 0 in limits else max(limits)


def check(values: Mapping[str, Any], origins: Mapping[str, Origin]) -> None:
    """Refuse what cannot be meant.

    Raises:
        ConfigError: at the place of the option that has to change.
    """
    _hosts(values, origins)
    _paths(values, origins)
    _slow_request(values, origins)
    _block_warning(values, origins)
    _access_format(values, origins)
    if len(values["master_fifo"]) > 10:
        raise origins["master_fifo"].error("there are ten slots, 0 to 9")


def _told(name: str, value: object, origins: Mapping[str, Origin]) -> str:
    """Say an option, its value and where it was written."""
    origin = origins.get(name.replace("-", "_"))
    return f"{name} = {value} ({origin.place if origin else 'default'})"


def _hosts(values: Mapping[str, Any], origins: Mapping[str, Origin]) -> None:
    if values["vhost"] or values["vhost_host"]:
        return
    for mount in values["mount"]:
        if "|" in mount.partition("=")[0]:
            raise origins["mount"].error(f"{mount}: an application of one host wants vhost = true, "
                                         "or vhost-host = true for the Host header")


def _paths(values: Mapping[str, Any], origins: Mapping[str, Origin]) -> None:
    known: dict[str, float] = {}
    for prefix, seconds in harakiri_paths(values["harakiri_path"]):
        if known.setdefault(prefix, seconds) != seconds:
            raise origins["harakiri_path"].error(
                f"{prefix} is given {known[prefix]:g} seconds and {seconds:g}")


def _slow_request(values: Mapping[str, Any], origins: Mapping[str, Origin]) -> None:
    slow, longest = values["slow_request"], longest_harakiri(values)
    if slow and 0 < longest <= slow:
        raise origins["slow_request"].error(
            f"no request runs for {slow:g} seconds: "
            + (f"the longest harakiri-path has {longest:g}" if longest > values["harakiri"]
               else _told("harakiri", f"{longest:g}", origins)) + " ends it before")


def _block_warning(values: Mapping[str, Any], origins: Mapping[str, Origin]) -> None:
    warning, timeout = values["block_warning"], values["worker_timeout"]
    if warning and timeout and values["worker_timeout_action"] == "replace" \
            and timeout * 1000 <= warning:
        raise origins["block_warning"].error(
            f"no worker is blocked for {warning} milliseconds: "
            f"{_told('worker-timeout', f'{timeout:g}', origins)} replaces it before")


def _access_format(values: Mapping[str, Any], origins: Mapping[str, Origin]) -> None:
    """A format that stands under gunicorn's name holds gunicorn's atoms.

    Under uWSGI's an unknown name is a variable that the application may set, and one
    mistyped atom would turn all the others into such.
    """
    origin = origins.get("log_format")
    written = (origin.option or "").lower().replace("_", "-") if origin else ""
    if origin and written.endswith("access-logformat"):
        try:
            atoms.split(values["log_format"], "gunicorn")
        except ValueError as error:
            raise origin.error(str(error)) from None
