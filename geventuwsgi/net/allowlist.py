"""Whom to believe: lists of addresses, networks in CIDR, or `*`."""

import ipaddress
from collections.abc import Iterable

from ..errors import ConfigError

_REMEMBERED = 4096


class AllowList:
    """Peers that a right is given to.

    Args:
        entries: addresses, networks ("10.0.0.0/8"), or "*" for everyone.
        option: the option they come from, for the error.

    Raises:
        ConfigError: an entry that is none of these.
    """

    def __init__(self, entries: Iterable[str], option: str) -> None:
        self._everyone = False
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        self._known: dict[str, bool] = {}
        for entry in entries:
            if entry == "*":
                self._everyone = True
                continue
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError as error:
                raise ConfigError(f"{entry!r} is no address, network or '*'",
                                  option=option) from error

    def __contains__(self, host: str) -> bool:
        """Whether the peer with this address text is in the list; remembered, bounded."""
        known = self._known.get(host)
        if known is None:
            known = self._everyone or self._search(host)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[host] = known
        return known

    def _search(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)
