"""Addresses that depend on other options: shared, abstract and mapped sockets."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from geventuwsgi.config.values.origin import Origin, places
from geventuwsgi.net.address import parse
from geventuwsgi.net.tls_config import TlsConfig

# Options that name sockets: fixed protocol, or None and the protocol if `protocol` is not set.
SOCKETS = {
    "http_socket": ("http", "http"), "http": ("http", "http"),
    "https_socket": ("https", "https"), "https": ("https", "https"),
    "http_to_https": ("redirect", "redirect"), "http_stats_server": ("statistics", "statistics"),
    "stats": ("stats", "stats"), "metrics": ("metrics", "metrics"),
    "uwsgi_socket": ("uwsgi", "uwsgi"), "socket": (None, "uwsgi"), "bind": (None, "http"),
}
OF_MONITOR = ("stats", "metrics")
WITHOUT_APPLICATION = ("redirect", "statistics", *OF_MONITOR)   # protocols
_SHARED = re.compile(r"=(\d+)(,.*)?", re.DOTALL)


def canonical(text: str, values: Mapping[str, Any], origin: Origin) -> str:
    """Return an address as it would be written without `shared-socket` and `abstract-socket`.

    Args:
        text: as written; the part after a comma is kept.
        values: the settings by attribute.
        origin: where it was set.

    Raises:
        ConfigError: there is no shared socket of this number.
    """
    match = _SHARED.fullmatch(text)
    if match is not None:
        shared = values["shared_socket"]
        if int(match[1]) >= len(shared):
            raise origin.error(f"{text}: there is no shared-socket {match[1]}" + (
                f", only 0 to {len(shared) - 1}" if shared else ""))
        text = shared[int(match[1])] + (match[2] or "")
    address, comma, rest = text.partition(",")
    if values["abstract_socket"] and parse(address).is_unix:
        address = parse(address).text
        text = f"@{address.removeprefix('@')}{comma}{rest}"
    return text


# Position among the lines, address, protocol, TLS, the role whose processes accept, and whether
# `http-enable-proxy-protocol` applies to it.
Socket = tuple[int, str, str, TlsConfig | None, str, bool]


def unique(sockets: Iterable[Socket]) -> list[Socket]:
    """Return the sockets in the order of their lines, each once.

    A socket that is named twice is bound once, as in uWSGI: for example in a file and in the one
    it includes. With port 0 each is a socket of its own.
    """
    kept: list[Socket] = []
    for item in sorted(sockets, key=lambda item: item[0]):
        if item[1].endswith(":0") or not any(item[1:5] == other[1:5] for other in kept):
            kept.append(item)
    return kept


def check(values: Mapping[str, Any], origins: Mapping[str, Origin],
          items: Mapping[str, Sequence[Origin]], warnings: list[str]) -> None:
    """Warn of an unused `shared-socket`, and refuse an impossible `map-socket`.

    Args:
        values: the settings by attribute, including `listeners` and `owners`.
        origins, items: where they were set.
        warnings: receives the warnings.

    Raises:
        ConfigError: a line names a worker or a socket that will not exist.
    """
    addresses = {address for address, _ in values["listeners"]}
    for shared, place in places("shared_socket", values, origins, items):
        if canonical(shared, values, Origin()) not in addresses:
            warnings.append(place.warning(f"{shared}: no other option refers to it by its number, "
                                          "so it is not bound"))
    if values["map_socket"] and values["cheaper"]:
        warnings.append(origins["map_socket"].warning(
            "while the workers of a socket are stopped by cheaper, no worker accepts from it"))
    sockets = values["owners"].count("worker")
    for rule, place in places("map_socket", values, origins, items):
        socket, _, workers = rule.partition(":")
        most = max(map(int, workers.split(",")))
        if most > values["processes"]:
            raise place.error(f"{rule}: there is no worker {most}, processes = "
                              f"{values['processes']}")
        if int(socket) >= sockets > 0:
            raise place.error(f"{rule}: the workers have no socket {socket}, only 0 to "
                              f"{sockets - 1}")
