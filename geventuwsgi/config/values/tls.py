"""The options of TLS: types of values, and the `TlsConfig` of each listener.

uWSGI names certificate and key with the socket (`https-socket = addr,cert,key`), gunicorn in
options of their own (`certfile`, for `bind`). Both become a `net.tls_config.TlsConfig`. Nothing
here opens a file.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from geventuwsgi.config.values.origin import CastContext, Origin
from geventuwsgi.config.values.types import Address, ValueType, check_pattern
from geventuwsgi.net.tls_config import Certificate, TlsConfig

# uWSGI's https2 accepts two spellings of some keys (plugins/http/https.c).
_KEYS = {"addr": "address", "cert": "cert", "crt": "cert", "key": "key", "ciphers": "ciphers",
         "client_ca": "ca", "clientca": "ca", "spdy": "spdy"}
_ORDER = ("address", "cert", "key", "ciphers", "ca")
_FORM = "ADDRESS,CERTIFICATE,KEY[,CIPHERS[,CLIENT_CA]]"
_WRONG_FORM = f"not of the form {_FORM}"
# SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION: CVE-2009-3555.
_UNSAFE = 1 << 18


class Endpoint(NamedTuple):
    """A socket with its certificate, as in a line of `https-socket`."""

    address: str
    cert: str
    key: str
    ciphers: str = ""
    ca: str = ""


def endpoint(text: str) -> Endpoint:
    """Parse `addr,cert,key[,ciphers[,client_ca]]`, or `addr=...,cert=...,key=...`.

    Raises:
        ValueError: it has neither form.
    """
    fields = [field.strip() for field in text.split(",")]
    if fields[0].partition("=")[0] in _KEYS and "=" in fields[0]:
        found = {}
        for field in filter(None, fields):
            key, equals, value = field.partition("=")
            if not equals or key not in _KEYS:
                raise ValueError(f"{field!r} is not one of {', '.join(_KEYS)} with a value")
            found[_KEYS[key]] = value
        found.pop("spdy", None)
    else:
        if len(fields) > len(_ORDER):
            raise ValueError(f"{text!r} has more parts than {_FORM}")
        found = dict(zip(_ORDER, fields))
    for name in _ORDER[:3]:
        if not found.get(name):
            raise ValueError(f"{text!r} is {_WRONG_FORM}")
    return Endpoint(**found)


class TlsSocket(ValueType):
    """An address with certificate and key, in uWSGI's two forms."""

    metavar = "ADDR,CERT,KEY[,...]"
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        try:
            found = endpoint(text)
        except ValueError as error:
            context.fail(str(error))
        address = str(Address().value(found.address, context))
        if address == found.address:
            return text
        head = "" if text.startswith(found.address) else "addr="
        return text.replace(head + found.address, head + address, 1)


class ServerName(ValueType):
    """`NAME CERTIFICATE,KEY[,CIPHERS]`: a certificate for one host name (SNI).

    Args:
        pattern: whether the name is a regular expression.
    """

    metavar = "'NAME CERT,KEY[,...]'"

    def __init__(self, pattern: bool = False) -> None:
        self.pattern = pattern

    def value(self, text: str, context: CastContext) -> object:
        name, _, rest = text.partition(" ")
        fields = [field.strip() for field in rest.split(",")]
        if not name or len(fields) < 2 or not all(fields[:2]):
            context.fail(f"{text!r} is not of the form NAME CERTIFICATE,KEY[,CIPHERS]")
        if len(fields) > 3 and fields[3]:
            context.fail("a client certificate is requested per listener, not per host name: give "
                         f"{name} an https-socket of its own")
        if self.pattern:
            check_pattern(name, context)
        return f"{name} {','.join(fields[:3])}"


class OneOf(ValueType):
    """One of several words, each with other spellings.

    Args:
        words: the words, each with its spellings in lower case.
        reasons: the messages for other words that are often written.
    """

    comments = True

    def __init__(self, words: Mapping[str, Sequence[str]], **reasons: str) -> None:
        self.words = words
        self.reasons = reasons
        self.metavar = "|".join(words)

    def value(self, text: str, context: CastContext) -> object:
        word = text.lower().removeprefix("ssl.")
        for name, others in self.words.items():
            if word in (name.lower(), *others):
                return name
        reason = self.reasons.get(re.sub(r"\W", "_", word))
        context.fail(f"{text}: {reason}" if reason else
                     f"{text!r} is not one of {', '.join(self.words)}")


class Passphrase(ValueType):
    """Where a passphrase is: `file:PATH` or `env:NAME`."""

    metavar = "file:PATH|env:NAME"
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        kind, _, name = text.partition(":")
        if kind not in ("file", "env") or not name or "\0" in name or (
                kind == "env" and "=" in name):
            context.fail("say where the passphrase is, file:PATH or env:NAME: other users can "
                         "read one that is written here")
        return text


class SslOption(ValueType):
    """Bits of OpenSSL's SSL_OP_*, decimal or with 0x."""

    metavar = "NUMBER"
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        try:
            bits = int(text, 0)
        except ValueError:
            context.fail(f"{text!r} is not a number")
        if not 0 <= bits < 1 << 63:
            context.fail(f"{text} is not a set of SSL_OP_* bits")
        if bits & _UNSAFE:
            context.fail("unsafe renegotiation (0x40000) cannot be switched on")
        return bits


class TlsOptions:
    """The `TlsConfig` of each listener, derived from the values of the options.

    Args:
        values: the settings, as far as they are resolved.
        origins: where they were set.
        warnings: receives the warnings.

    Attributes:
        bind: that of `bind` and of inherited sockets; None without `certfile`.
    """

    def __init__(self, values: Mapping[str, Any], origins: Mapping[str, Origin],
                 warnings: list[str]) -> None:
        self.values = values
        self.origins = origins
        self.warnings = warnings
        self.bind: TlsConfig | None = None
        self._bits = 0
        for bits in values["ssl_option"]:
            self._bits |= bits
        self._named = (*self._names("sni", False), *self._names("sni_regexp", True))
        if values["certfile"]:
            self.bind = self._bind_config()
        elif values["keyfile"]:
            raise self._error("keyfile", "there is no certificate: certfile is missing")

    def endpoint(self, text: str, option: str) -> tuple[str, TlsConfig]:
        """Return the address and the `TlsConfig` of a line of `https-socket` or `https`."""
        address, cert, key, ciphers, ca = endpoint(text)
        verify = "none"
        if ca:
            verify = "required" if ca.startswith("!") else "optional"
        return address, self._config(Certificate(cert, key, ciphers, option=option),
                                     ca.removeprefix("!"), verify)

    def warn_unused(self, used: bool) -> None:
        """Warn of a `certfile` that no socket uses."""
        if self.bind is not None and not used:
            self.warnings.append(self.origins["certfile"].warning(
                "no socket uses it: it is for bind; https-socket has its certificate in the same "
                "line"))

    def _bind_config(self) -> TlsConfig:
        values = self.values
        verify, ca = values["cert_reqs"], values["ca_certs"] or ""
        if verify != "none" and not ca:
            raise self._error("cert_reqs", "the authorities of client certificates are missing: "
                              "set ca-certs")
        if ca and verify == "none":
            self.warnings.append(self.origins["ca_certs"].warning(
                "clients are not asked for a certificate unless cert-reqs is optional or "
                "required"))
        return self._config(
            Certificate(values["certfile"], values["keyfile"] or "", values["ciphers"] or "",
                        option="certfile"), ca, verify)

    def _config(self, certificate: Certificate, ca: str, verify: str) -> TlsConfig:
        values = self.values
        return TlsConfig(certificate, self._named, values["sni_dir"] or "",
                         values["sni_dir_ciphers"] or "", ca, verify, values["ssl_version"],
                         self._bits, values["ssl_keyfile_password"])

    def _names(self, attribute: str, pattern: bool) -> list[Certificate]:
        found = []
        for text in self.values[attribute]:
            name, _, rest = text.partition(" ")
            cert, key, *ciphers = rest.split(",")
            found.append(Certificate(cert, key, "".join(ciphers), name, pattern,
                                     attribute.replace("_", "-")))
        return found

    def _error(self, attribute: str, message: str) -> Exception:
        return self.origins[attribute].error(message)
