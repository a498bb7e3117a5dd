"""The TLS contexts of the listeners: tried out in the master, made in each role.

A role makes them anew, so a reload takes certificates that were renewed meanwhile. It does
so before it drops root, forks, or patches anything (`net.tls` says why).
"""

import itertools
import logging
from collections.abc import Sequence

from ..config.settings import Settings
from ..errors import ConfigError
from ..net.listener import Listener
from ..net.terms import Terms

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


def attach(settings: Settings, listeners: Sequence[Listener]) -> None:
    """Make the context of each listener that speaks HTTPS.

    Args:
        listeners: those of `settings.listeners` in order, then those handed over.

    Raises:
        ConfigError: as `check`.
    """
    named = itertools.chain(settings.tls, itertools.repeat(settings.tls_bind))
    for listener, terms in zip(listeners, named):
        if listener.protocol != "https":
            continue
        if terms is None:
            raise ConfigError(f"{listener.url} was handed over to speak HTTPS, and there is no "
                              "certificate for it: certfile is missing")
        from ..net import tls
        try:
            listener.context = tls.context_of(Terms.from_json(terms))
        except ConfigError as error:
            raise _placed(settings, error) from None


def _placed(settings: Settings, error: ConfigError) -> ConfigError:
    """Say also in which line of which file the option stands."""
    origin = settings.origin(error.option or "")
    if origin.kind != "file":
        return error
    return ConfigError(error.message, file=origin.file, line=origin.line, option=error.option)
