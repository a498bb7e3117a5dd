"""TLS: make the context of a listener, and describe a connection after its handshake.

- Errors name the file and the option.
- A context is made before the process drops root privileges (it reads the private key),
  before it forks (the key of session tickets is in the context, so that every worker accepts
  them) and before gevent patches `ssl` (a context of the original class can be used after
  that, but not changed).
- Only TLS 1.2 and 1.3 (RFC 8996), without renegotiation and compression; HTTP/1.1 by ALPN.
"""

import os
import re
import ssl
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from ..errors import ConfigError
from ..rights import User, open_file
from .tls_config import Certificate, TlsConfig

_PEM = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
# The certificate of each context, which OpenSSL does not return.
_pems: WeakKeyDictionary[ssl.SSLContext, str] = WeakKeyDictionary()
VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
VERIFY = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
MAX_PASSPHRASE = 1023   # bytes, `ssl.SSLContext.load_cert_chain`
_PASSPHRASE = "ssl-keyfile-password"
# The reasons of a key that belongs to another certificate; the second and third are for key types
# that differ: OpenSSL keeps a pair for each type.
_MISMATCHES = ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED", "KEY_TYPE_MISMATCH")
HANDSHAKE = 0x16  # the first byte of a TLS connection (RFC 8446 section 5.1)
# The response to http:// on an HTTPS port, or to nginx's `proxy_pass http://`.
PLAIN_HTTP = "A plain HTTP request came to a port that speaks HTTPS: write https:// instead."
# What is logged of connections that did not become TLS connections.
NOT_TLS = "%s: no TLS; closed"
PLAIN_HTTP_CLOSED = "%s: plain HTTP on an HTTPS port; closed with 400"
HANDSHAKE_FAILED = "%s: the TLS handshake failed (%s); closed"
HANDSHAKE_EXPIRED = "%s: no TLS handshake within %g seconds; closed"
# The short names of attributes as in X509_NAME_oneline(3); others keep their long names.
_SHORT = {
    "countryName": "C", "stateOrProvinceName": "ST", "localityName": "L",
    "organizationName": "O", "organizationalUnitName": "OU", "commonName": "CN",
    "domainComponent": "DC", "surname": "SN", "givenName": "GN", "userId": "UID",
    "streetAddress": "street"}


def context_of(config: TlsConfig, user: User | None = None,
               environ: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """Make the context of a listener.

    Args:
        config: its configuration.
        user: the one of `uid`, see `rights`: its processes will have the key in their memory.
        environ: may have the passphrase of the key.

    Raises:
        ConfigError: a file is missing, unreadable or malformed.
    """
    first, *others = config.certificates()
    files = _Files(config.passphrase, user, environ)
    context = _context(config, first, files)
    if others:
        context.sni_callback = _sni_callback(context, [  # type: ignore[assignment]
            (other, _context(config, other, files)) for other in others])
    return context


def exposed_keys(config: TlsConfig) -> list[str]:
    """List the key files that every user of this machine can read."""
    keys = [one.key or one.cert for one in config.certificates()]
    return [key for key in dict.fromkeys(keys) if os.stat(key).st_mode & stat.S_IROTH]


class _Files(NamedTuple):
    """How files are read; the fields are the arguments of `context_of`."""

    passphrase: str
    user: User | None
    environ: Mapping[str, str]

    @contextmanager
    def opened(self, path: str, what: str, option: str) -> Iterator[str]:
        """Open a file, and yield a name under which OpenSSL reads the same one meanwhile."""
        try:
            file = open(open_file(path, os.O_RDONLY, user=self.user).fd, "rb")
        except OSError as error:
            raise ConfigError(f"cannot read {what} {path}: {error.strerror}",
                              option=option) from None
        with file:
            yield f"/proc/self/fd/{file.fileno()}" if self.user else path

    def secret(self) -> bytes:
        """Read the passphrase.

        Raises:
            ConfigError: there is none.
        """
        kind, _, name = self.passphrase.partition(":")
        if kind == "env":
            text = os.fsencode(self.environ.get(name, ""))
        else:
            with self.opened(name, "the passphrase", _PASSPHRASE) as path, \
                    open(path, "rb") as file:
                text = file.readline(MAX_PASSPHRASE + 2).rstrip(b"\r\n")
        if not 0 < len(text) <= MAX_PASSPHRASE:
            raise ConfigError(f"{self.passphrase} has no passphrase in its first line, or one of "
                              f"more than {MAX_PASSPHRASE} bytes", option=_PASSPHRASE)
        return text


def _context(config: TlsConfig, certificate: Certificate, files: _Files) -> ssl.SSLContext:
    """Make a context for one certificate.

    Each context of a listener gets the authorities and the verify mode: OpenSSL uses those of
    the context chosen by the host name.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[config.minimum]
    context.options |= ssl.OP_NO_RENEGOTIATION | config.options
    context.set_alpn_protocols(["http/1.1"])
    with files.opened(certificate.cert, "the certificate", certificate.option) as cert:
        _load_certificate(context, certificate, files, cert)
        with open(cert, encoding="ascii", errors="replace") as file:
            found = _PEM.search(file.read())  # the private key may come first
    if found:
        _pems[context] = found[0] + "\n"
    if certificate.ciphers:
        try:
            context.set_ciphers(certificate.ciphers)
        except ssl.SSLError:
            raise ConfigError(f"no cipher of {certificate.ciphers!r} is known to "
                              f"{ssl.OPENSSL_VERSION}", option=certificate.option) from None
    if config.ca:
        with files.opened(config.ca, "the file of client authorities",
                          certificate.option) as name:
            try:
                context.load_verify_locations(name)
            except ssl.SSLError as error:
                raise ConfigError(f"{config.ca} holds no certificate of an authority in PEM form "
                                  f"({_short_reason(error)})",
                                  option=certificate.option) from None
    context.verify_mode = VERIFY[config.verify]
    return context


def _load_certificate(context: ssl.SSLContext, certificate: Certificate, files: _Files,
                      opened: str) -> None:
    """Load certificate and key.

    Args:
        context: the context.
        certificate: the certificate.
        files: how to read the key.
        opened: a name of the certificate's file.
    """
    cert, key, option = certificate.cert, certificate.key, certificate.option
    used = []

    def passphrase() -> bytes:  # OpenSSL would prompt on the terminal
        if not files.passphrase:
            raise ConfigError(f"the private key {key or cert} is encrypted with a passphrase: "
                              "ssl-keyfile-password says where that is", option=option)
        used.append(True)
        return files.secret()

    with files.opened(key or cert, "the private key", option) as opened_key:
        try:
            context.load_cert_chain(opened, opened_key, passphrase)
        except ssl.SSLError as error:
            if used and error.reason not in _MISMATCHES:
                raise ConfigError(f"the passphrase in {files.passphrase} does not open the private "
                                  f"key {key or cert}", option=_PASSPHRASE) from None
            raise _load_error(certificate, opened, opened_key, error) from None


def _load_error(certificate: Certificate, opened: str, opened_key: str,
                error: ssl.SSLError) -> ConfigError:
    """Say what is wrong with a certificate or key; `opened` are names of the files."""
    cert, key, option = certificate.cert, certificate.key, certificate.option
    if error.reason in _MISMATCHES:
        message = f"the private key {key or cert} does not belong to the certificate {cert}"
    elif not _holds(opened, "CERTIFICATE"):
        message = f"{cert} holds no certificate in PEM form"
    elif not _holds(opened_key, "PRIVATE KEY"):
        message = f"{key or cert} holds no private key in PEM form"
    else:
        message = (f"cannot use {cert}" + (f" with {key}" if key else "")
                   + f": {_short_reason(error)}")
    return ConfigError(message, option=option)


def _holds(path: str, what: str) -> bool:
    with open(path, "rb") as file:
        return f"{what}-----".encode() in file.read()


def _short_reason(error: ssl.SSLError) -> str:
    return (error.reason or error.strerror or str(error)).replace("_", " ").lower()


def _sni_callback(default: ssl.SSLContext, others: Sequence[tuple[Certificate, ssl.SSLContext]],
                  ) -> Callable[[Any, str | None, ssl.SSLContext], None]:
    """Make the callback that chooses a context by the host name of the ClientHello.

    As in uWSGI and nginx, an exact name takes precedence over `*.domain`, and that over a
    regular expression; any other name gets the default certificate.
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
    """Whether bytes that are not TLS begin a request in plain HTTP."""
    return re.match(rb"[A-Z]{1,20}($| )", data) is not None


def reason_of(error: ssl.SSLError) -> str:
    """Return in a few words why a handshake failed."""
    reason = _short_reason(error)
    detail = getattr(error, "verify_message", "")
    return f"{reason}: {detail}" if detail else reason


def distinguished_name(certificate: Mapping[str, Any]) -> str:
    """Format the subject of `getpeercert()` as uWSGI does, `/C=IT/O=unbit/CN=name`.

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
    """Return uWSGI's variables for the client certificate of a TLS connection.

    Args:
        connection: an `SSLObject` or `SSLSocket` after its handshake.
        export: add HTTPS_CC, the certificate itself in PEM form.
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
    """Return the values of ASGI's tls extension 0.2 for a TLS connection.

    The chain of the client is complete with Python 3.13 and later; before, it has only the
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
    """Return the IANA numbers of the cipher suites of a context."""
    return {one["name"]: one["id"] & 0xFFFF for one in context.get_ciphers()}  # type: ignore


def _rfc4514(certificate: Mapping[str, Any]) -> str:
    """Format the subject of `getpeercert()`, the most specific part first (RFC 4514)."""
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
