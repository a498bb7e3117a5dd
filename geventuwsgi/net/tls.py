"""TLS: contexts made of files and plain values, and what a finished handshake tells.

Rules of the room:

- Plain arguments in, `ssl.SSLContext` out; every error names the file and the option.
- A context is made before the process drops root (it reads the private key), before it
  forks (the key of session tickets lies in the context, so a client that comes back is
  known to every worker) and before gevent patches `ssl` (a context of the original class
  cannot be changed any more after that, but serves as well).
- TLS 1.2 and 1.3 only (RFC 8996). No renegotiation, no compression; HTTP/1.1 by ALPN.
"""

import os
import re
import ssl
import stat
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

from ..errors import ConfigError
from .tls_config import Certificate, TlsConfig

_PEM = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
# The certificate of each context, which cannot be asked of OpenSSL.
_pems: WeakKeyDictionary[ssl.SSLContext, str] = WeakKeyDictionary()
VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
VERIFY = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
HANDSHAKE = 0x16  # the first byte of a TLS connection (RFC 8446 section 5.1)
# What a person reads who wrote http://, or forgot the s of `proxy_pass https://`.
PLAIN_HTTP = "A plain HTTP request came to a port that speaks HTTPS: write https:// instead."
# How X509_NAME_oneline(3) calls the attributes of a name; others keep their long names.
_SHORT = {
    "countryName": "C", "stateOrProvinceName": "ST", "localityName": "L",
    "organizationName": "O", "organizationalUnitName": "OU", "commonName": "CN",
    "domainComponent": "DC", "surname": "SN", "givenName": "GN", "userId": "UID",
    "streetAddress": "street"}


def context_of(terms: TlsConfig) -> ssl.SSLContext:
    """Make the context of a listener.

    Raises:
        ConfigError: a file is missing, unreadable or not what it should be.
    """
    first, *others = terms.certificates()
    context = _context(terms, first)
    if others:
        context.sni_callback = _chooser(context, [  # type: ignore[assignment]
            (other, _context(terms, other)) for other in others])
    return context


def exposed_keys(terms: TlsConfig) -> list[str]:
    """List the key files that every user of this machine may read."""
    keys = [one.key or one.cert for one in terms.certificates()]
    return [key for key in dict.fromkeys(keys) if os.stat(key).st_mode & stat.S_IROTH]


def _context(terms: TlsConfig, certificate: Certificate) -> ssl.SSLContext:
    """Make a context for one certificate.

    The authorities and their demands go into each of a listener's contexts: OpenSSL looks
    into the store of the one that was chosen by the host name.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[terms.minimum]
    context.options |= ssl.OP_NO_RENEGOTIATION | terms.options
    context.set_alpn_protocols(["http/1.1"])
    _load_certificate(context, certificate)
    if certificate.ciphers:
        try:
            context.set_ciphers(certificate.ciphers)
        except ssl.SSLError:
            raise ConfigError(f"no cipher of {certificate.ciphers!r} is known to "
                              f"{ssl.OPENSSL_VERSION}", option=certificate.option) from None
    if terms.ca:
        _readable(terms.ca, "the file of client authorities", certificate.option)
        try:
            context.load_verify_locations(terms.ca)
        except ssl.SSLError as error:
            raise ConfigError(f"{terms.ca} holds no certificate of an authority in PEM form "
                              f"({_reason(error)})", option=certificate.option) from None
    context.verify_mode = VERIFY[terms.verify]
    with open(certificate.cert, encoding="ascii", errors="replace") as file:
        found = _PEM.search(file.read())  # the private key may stand before it
    if found:
        _pems[context] = found[0] + "\n"
    return context


def _load_certificate(context: ssl.SSLContext, certificate: Certificate) -> None:
    cert, key, option = certificate.cert, certificate.key, certificate.option
    _readable(cert, "the certificate", option)
    if key:
        _readable(key, "the private key", option)

    def passphrase() -> str:  # OpenSSL would ask on the terminal
        raise ConfigError(f"the private key {key or cert} is encrypted with a passphrase: store "
                          "it without one, readable by root alone", option=option)

    try:
        context.load_cert_chain(cert, key or None, passphrase)
    except ssl.SSLError as error:
        reason = _reason(error)
        # The second where one is RSA and the other is not: OpenSSL keeps a pair of each.
        if error.reason in ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED", "KEY_TYPE_MISMATCH"):
            message = f"the private key {key or cert} does not belong to the certificate {cert}"
        elif not _holds(cert, "CERTIFICATE"):
            message = f"{cert} holds no certificate in PEM form"
        elif not _holds(key or cert, "PRIVATE KEY"):
            message = f"{key or cert} holds no private key in PEM form"
        else:
            message = f"cannot use {cert}" + (f" with {key}" if key else "") + f": {reason}"
        raise ConfigError(message, option=option) from None


def _readable(path: str, what: str, option: str) -> None:
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        raise ConfigError(f"cannot read {what} {path}: {error.strerror}", option=option) from None


def _holds(path: str, what: str) -> bool:
    with open(path, "rb") as file:
        return f"{what}-----".encode() in file.read()


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or error.strerror or str(error)).replace("_", " ").lower()


def _chooser(default: ssl.SSLContext, others: Sequence[tuple[Certificate, ssl.SSLContext]],
             ) -> Callable[[Any, str | None, ssl.SSLContext], None]:
    """Make the callback that chooses a context by the host name of the ClientHello.

    An exact name wins over `*.domain`, that over a regular expression, and a name that
    fits none gets the default certificate, as in uWSGI and nginx.
    """
    exact: Mapping[str, ssl.SSLContext] = {
        one.name.lower(): context for one, context in reversed(others) if not one.pattern}
    patterns = [(re.compile(one.name), context) for one, context in others if one.pattern]

    def choose(connection: Any, name: str | None, _: ssl.SSLContext) -> None:
        if name is None:
            return
        name = name.lower()
        found = exact.get(name) or exact.get("*." + name.partition(".")[2])
        if found is None:
            found = next((context for regex, context in patterns if regex.search(name)), default)
        connection.context = found

    return choose


def looks_like_http(data: bytes) -> bool:
    """Tell whether bytes that begin no TLS begin a request in plain HTTP."""
    return re.match(rb"[A-Z]{1,20}($| )", data) is not None


def why(error: ssl.SSLError) -> str:
    """Say in a few words why a handshake failed."""
    reason = _reason(error)
    told = getattr(error, "verify_message", "")
    return f"{reason}: {told}" if told else reason


def distinguished_name(certificate: Mapping[str, Any]) -> str:
    """Write the subject of `getpeercert()` as uWSGI does, `/C=IT/O=unbit/CN=name`.

    Octets that are not printable ASCII become `\\xHH` (X509_NAME_oneline(3)).
    """
    parts = []
    for group in certificate.get("subject", ()):
        for name, value in group:
            octets = value.encode("utf-8", "surrogateescape")
            text = "".join(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02X}"
                           for byte in octets)
            parts.append(f"/{_SHORT.get(name, name)}={text}")
    return "".join(parts)


def client_variables(connection: Any, export: bool) -> dict[str, str]:
    """Return uWSGI's variables for the certificate of the client of a TLS connection.

    Args:
        connection: an `SSLObject` or `SSLSocket` behind its handshake.
        export: also HTTPS_CC, the certificate itself in PEM form.
    """
    certificate = connection.getpeercert()
    if not certificate:
        return {}
    variables = {"HTTPS_DN": distinguished_name(certificate)}
    if export:
        pem = ssl.DER_cert_to_PEM_cert(connection.getpeercert(True))
        variables["HTTPS_CC"] = variables["HTTPS_CLIENT_CERTIFICATE"] = pem
    return variables


def extension(connection: Any, *, server_cert: bool = True) -> dict[str, Any]:
    """Return ASGI's tls extension 0.2 for a TLS connection.

    Of the chain of the client it has what Python gives: all of it from 3.13 on, else the
    client's own certificate.

    Args:
        connection: an `SSLObject` or `SSLSocket` after its handshake.
        server_cert: include the server's certificate; it is None otherwise, as the
            specification has it for TLS that ends before the server.
    """
    name: str | None = None
    chain: list[str] = []
    certificate = connection.getpeercert()
    if certificate:
        name = _rfc4514(certificate)
        whole = getattr(connection, "get_verified_chain", None)
        chain = [ssl.DER_cert_to_PEM_cert(der) for der in (
            whole() if whole else [connection.getpeercert(True)])]
    suite = connection.cipher()
    return {"server_cert": _pems.get(connection.context) if server_cert else None,
            "client_cert_chain": chain,
            "client_cert_name": name, "client_cert_error": None,
            "tls_version": _NUMBERS.get(connection.version()),
            "cipher_suite": _suites(connection.context).get(suite[0]) if suite else None}


_NUMBERS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


@cache
def _suites(context: ssl.SSLContext) -> dict[str, int]:
    """Number the cipher suites of a context as IANA does."""
    return {one["name"]: one["id"] & 0xFFFF for one in context.get_ciphers()}  # type: ignore


def _rfc4514(certificate: Mapping[str, Any]) -> str:
    """Write the subject of `getpeercert()`, the most specific part first (RFC 4514)."""
    groups = []
    for group in reversed(certificate.get("subject", ())):
        groups.append("+".join(f"{_SHORT.get(name, name)}={_escaped(value)}"
                               for name, value in group))
    return ",".join(groups)


def _escaped(value: str) -> str:
    value = re.sub(r'([,+"\\<>;])', r"\\\1", value).replace("\0", "\\00")
    if value[:1] in ("#", " "):
        value = "\\" + value
    if value.endswith(" ") and len(value) > 1:
        value = value[:-1] + "\\ "
    return value
