"""Addresses that other options have a say in: shared, abstract and mapped sockets."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from geventuwsgi.config.values.origin import Origin
from geventuwsgi.net.address import parse
from geventuwsgi.net.tls_config import TlsConfig

_SHARED = re.compile(r"=(\d+)(,.*)?", re.DOTALL)


def canonical(text: str, values: Mapping[str, Any], origin: Origin) -> str:
    """Return an address as it would be written without `shared-socket` and `abstract-socket`.

    Args:
        text: as written; what stands behind a comma is kept.
        values: the settings by attribute.
        origin: where it stands.

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


Found = tuple[int, str, str, TlsConfig | None, bool]  # place, address, protocol, TLS, the router's


def once(found: Iterable[Found]) -> list[Found]:
    """Return sockets in the order of their places, each once.

    One that is named again is that one, as in uWSGI: by a file and the one it includes, or
    by `UWSGI_SOCKET` and a line that takes it from there. With port 0 each is another.
    """
    kept: list[Found] = []
    for item in sorted(found, key=lambda item: item[0]):
        if item[1].endswith(":0") or not any(item[1:] == other[1:] for other in kept):
            kept.append(item)
    return kept


def check(values: Mapping[str, Any], origins: Mapping[str, Origin], warnings: list[str]) -> None:
    """Tell of a `shared-socket` for nothing, and refuse a `map-socket` that cannot be.

    Args:
        values: the settings by attribute, `listeners` and `routed` among them.
        origins: where they stand.
        warnings: takes what the operator should know.

    Raises:
        ConfigError: a worker or a socket is named that there will not be.
    """
    addresses = {address for address, _ in values["listeners"]}
    for shared in values["shared_socket"]:
        if canonical(shared, values, Origin()) not in addresses:
            place = origins["shared_socket"]
            warnings.append(f"{place.place}: {place.option}: {shared}: no other option names it "
                            "by its number, so it is not bound")
    if values["map_socket"] and values["cheaper"]:
        place = origins["map_socket"]
        warnings.append(f"{place.place}: {place.option}: while cheaper has stopped the workers of "
                        "a socket nobody accepts from it")
    sockets = sum(not routed for routed in values["routed"])
    for rule in values["map_socket"]:
        socket, _, workers = rule.partition(":")
        most = max(map(int, workers.split(",")))
        if most > values["processes"]:
            raise origins["map_socket"].error(f"{rule}: there is no worker {most}, processes = "
                                              f"{values['processes']}")
        if int(socket) >= sockets > 0:
            raise origins["map_socket"].error(f"{rule}: there is no socket {socket} of the "
                                              f"workers, only 0 to {sockets - 1}")
