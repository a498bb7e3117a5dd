"""The TLS contexts of the listeners: tried out in the master, made in each role.

A role makes them anew, so a reload takes certificates that were renewed meanwhile. It does
so before it drops root, forks, or patches anything (`net.tls` says why).
"""

import logging
from collections.abc import Sequence
from typing import Any

from ..config.settings import Settings
from ..errors import ConfigError
from ..net.listener import Listener
from ..net.rebind import Pair
from ..net.tls_config import TlsConfig

logger = logging.getLogger("geventuwsgi.error")


def check(settings: Settings) -> None:
    """Try the certificates before anything is started, and warn of exposed keys.

    Raises:
        ConfigError: naming the file and the option, if one cannot be used.
    """
    for terms in filter(None, dict.fromkeys((*settings.tls, settings.tls_bind))):
        from ..net import tls
        try:
            tls.context_of(terms)
            exposed = tls.exposed_keys(terms)
        except ConfigError as error:
            raise _placed(settings, error) from None
        for key in exposed:
            logger.warning("every user of this machine can read the private key %s: "
                           "chmod o-r it", key)


def terms_of(settings: Settings, pairs: Sequence[Pair]) -> list[TlsConfig | None]:
    """Find the terms of each socket: those of its address, or of `certfile`.

    The sockets may be those of a configuration before, in another order (an upgrade), and
    one text may stand for several (`127.0.0.1:0`): these are taken in turn.

    Args:
        pairs: (address as written, listener); "" for one that was handed over unasked.
    """
    left = [(text, terms) for (text, _), terms in zip(settings.listeners, settings.tls)]
    found: list[TlsConfig | None] = []
    for text, _ in pairs:
        own = next((entry for entry in left if entry[0] == text), None)
        if own is not None:
            left.remove(own)
        found.append(settings.tls_bind if own is None else own[1])
    return found


def attach(settings: Settings, listeners: Sequence[Listener],
           terms: Sequence[Sequence[Any] | None]) -> None:
    """Make the context of each listener that speaks HTTPS.

    Args:
        listeners: the sockets of this process.
        terms: for each of them what JSON made of `terms_of`.

    Raises:
        ConfigError: as `check`.
    """
    for listener, told in zip(listeners, terms, strict=True):
        if listener.protocol != "https":
            continue
        if told is None:
            raise ConfigError(f"{listener.url} is to speak HTTPS, and there is no certificate for "
                              "it: certfile is missing")
        from ..net import tls
        try:
            listener.context = tls.context_of(TlsConfig.from_json(told))
        except ConfigError as error:
            raise _placed(settings, error) from None


def _placed(settings: Settings, error: ConfigError) -> ConfigError:
    """Say also in which line of which file the option stands."""
    origin = settings.origin(error.option or "")
    if origin.kind != "file":
        return error
    return ConfigError(error.message, file=origin.file, line=origin.line, option=error.option)
