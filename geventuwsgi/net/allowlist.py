"""Lists of peers with a permission: addresses, networks in CIDR notation, or `*`."""

import ipaddress
from collections.abc import Iterable

from ..errors import ConfigError

_CACHE_SIZE = 4096


class AllowList:
    """The peers that an option allows.

    Args:
        entries: addresses, networks ("10.0.0.0/8"), or "*" for all peers.
        option: the option, for the error.

    Raises:
        ConfigError: an entry is malformed.
    """

    def __init__(self, entries: Iterable[str], option: str) -> None:
        self._all = False
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        self._cache: dict[str, bool] = {}
        for entry in entries:
            if entry == "*":
                self._all = True
                continue
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError as error:
                raise ConfigError(f"{entry!r} is not an address, a network or '*'",
                                  option=option) from error

    def __contains__(self, host: str) -> bool:
        """Whether the peer with this address is in the list; results are cached."""
        known = self._cache.get(host)
        if known is None:
            known = self._all or self._search(host)
            if len(self._cache) >= _CACHE_SIZE:
                self._cache.clear()
            self._cache[host] = known
        return known

    def _search(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)
