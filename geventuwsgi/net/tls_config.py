"""What a listener offers over TLS and asks of its clients, in plain values.

They travel as JSON from the settings to the process that makes a context of them (`tls`).
The rule of this room: it does not load `ssl`, so that a server without TLS has no need to.
"""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import ConfigError


class Certificate(NamedTuple):
    """A certificate with its key, and the names it is for.

    Attributes:
        cert: a PEM file with the certificate and those between it and its root.
        key: a PEM file with the private key; "" = it is in `cert`.
        ciphers: OpenSSL's list for TLS 1.2; "" = Python's.
        name: a host name, `*.domain`, or with `pattern` a regular expression; "" = any.
        pattern: whether it is one.
        option: whose value this is, for errors.
    """

    cert: str
    key: str = ""
    ciphers: str = ""
    name: str = ""
    pattern: bool = False
    option: str = ""


class TlsConfig(NamedTuple):
    """What a listener offers and asks for.

    Attributes:
        certificate: the one for clients that name no host, or one of no other.
        others: those chosen by the host name (SNI, RFC 6066 section 3).
        directory: where further ones are, as HOST.crt and HOST.key; "" = nowhere.
        directory_ciphers: the ciphers of these.
        ca: a PEM file of the authorities that sign client certificates; "" = none.
        verify: "none", "optional" or "required": whether a client needs a certificate.
        minimum: "TLSv1.2" or "TLSv1.3".
        options: further SSL_OP_* bits.
    """

    certificate: Certificate
    others: tuple[Certificate, ...] = ()
    directory: str = ""
    directory_ciphers: str = ""
    ca: str = ""
    verify: str = "none"
    minimum: str = "TLSv1.2"
    options: int = 0

    @classmethod
    def from_json(cls, told: Sequence[Any]) -> "TlsConfig":
        """Return the terms of what JSON made of them."""
        certificate, others, *rest = told
        return cls(Certificate(*certificate), tuple(Certificate(*one) for one in others), *rest)

    def certificates(self) -> list[Certificate]:
        """List the certificates, those of the directory as it is now; the default first.

        Raises:
            ConfigError: the directory cannot be read.
        """
        found = [self.certificate, *self.others]
        if self.directory:
            found += directory_of(self.directory, self.directory_ciphers, "sni-dir")
        return found


def directory_of(path: str, ciphers: str, option: str) -> list[Certificate]:
    """List the certificates of a directory: `HOST.crt` with `HOST.key` beside it.

    Raises:
        ConfigError: it cannot be read, or asks per host for what only a listener can.
    """
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise ConfigError(f"cannot read the directory {path}: {error.strerror}",
                          option=option) from None
    found = []
    for name in names:
        host, dot, kind = name.rpartition(".")
        if kind == "ca" and f"{host}.crt" in names:
            raise ConfigError(f"{path}/{name}: client certificates are asked for by a listener, "
                              f"not by host name: give {host} a listener of its own",
                              option=option)
        if kind == "crt" and dot and f"{host}.key" in names:
            found.append(Certificate(f"{path}/{name}", f"{path}/{host}.key", ciphers, host,
                                     option=option))
    return found
