"""The TLS contexts of the listeners: checked in the master, created in each role.

A role creates them again, so that a reload uses renewed certificates. It does so before it drops
root, forks, or patches anything (see `net.tls`).
"""

import logging
import os
from collections.abc import Sequence
from typing import Any

from ..config.settings import Settings
from ..errors import ConfigError
from ..net.listener import Listener
from ..net.rebind import Pair
from ..net.tls_config import TlsConfig
from .hooks import identity_of
from .process_setup import environ_of
from .sockets import places

logger = logging.getLogger("geventuwsgi.error")


def check(settings: Settings) -> None:
    """Load the certificates to check them, and warn about exposed keys.

    Raises:
        ConfigError: one cannot be used; with file and option.
    """
    for config in filter(None, dict.fromkeys((*settings.tls, settings.tls_bind))):
        from ..net import tls
        try:
            tls.context_of(config, identity_of(settings).user, environ_of(settings))
            exposed = tls.exposed_keys(config)
        except ConfigError as error:
            raise _with_place(settings, error) from None
        for key in exposed:
            logger.warning("every user of this machine can read the private key %s; "
                           "use chmod o-r", key)


def configs_of(settings: Settings, pairs: Sequence[Pair]) -> list[TlsConfig | None]:
    """Return the TLS configuration of each socket: that of its address, or `certfile`.

    Args:
        settings: the configuration.
        pairs: (address as written, listener); "" for an inherited one that no option names.
    """
    return [settings.tls_bind if place is None else settings.tls[place]
            for place in places(settings, pairs)]


def attach(settings: Settings, listeners: Sequence[Listener],
           configs: Sequence[Sequence[Any] | None]) -> None:
    """Create the context of each HTTPS listener.

    Args:
        settings: the configuration.
        listeners: the sockets of this process.
        configs: for each of them the result of `configs_of`, decoded from JSON.

    Raises:
        ConfigError: as `check`.
    """
    user = identity_of(settings).user
    for listener, fields in zip(listeners, configs, strict=True):
        if listener.protocol != "https":
            continue
        if fields is None:
            raise ConfigError(f"{listener.url} is an HTTPS socket without a certificate: certfile "
                              "is missing")
        from ..net import tls
        try:
            listener.context = tls.context_of(TlsConfig.from_json(fields), user)
        except ConfigError as error:
            raise _with_place(settings, error) from None


def forget_passphrase(settings: Settings) -> None:
    """Remove the passphrase from the environment of this process, for the application."""
    kind, _, name = settings.ssl_keyfile_password.partition(":")
    if kind == "env":
        os.environ.pop(name, None)


def _with_place(settings: Settings, error: ConfigError) -> ConfigError:
    """Add the file and line of the option to an error."""
    origin = settings.origin(error.option or "")
    if origin.kind != "file":
        return error
    return ConfigError(error.message, file=origin.file, line=origin.line, option=error.option)
