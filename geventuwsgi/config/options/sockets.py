"""The options on listening sockets, and on TLS.

uWSGI names a certificate in the line of its socket; gunicorn's certfile applies to `bind`.
"""

import re

from geventuwsgi.config.options.option import Option, ignored, refused
from geventuwsgi.config.values.numbers import Number, Size
from geventuwsgi.config.values.origin import CastContext
from geventuwsgi.config.values.tls import OneOf, Passphrase, ServerName, SslOption, TlsSocket
from geventuwsgi.config.values.types import (
    Address, Boolean, Choice, Many, Name, Octal, Owner, Path, SocketMode, ValueType,
)


class SocketMap(ValueType):
    """`SOCKET:WORKER[,WORKER...]`: the workers that accept from a socket."""

    metavar = "SOCKET:WORKER[,...]"
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        plain = re.sub(r"\s+", "", text)
        if not re.fullmatch("[0-9]{1,9}:[1-9][0-9]{0,8}(,[1-9][0-9]{0,8})*", plain):
            context.fail(f"{text!r} is not of the form SOCKET:WORKER[,WORKER...]: sockets are "
                         "numbered from 0, workers from 1")
        return plain


_SOCKETS = "Sockets"
SOCKETS: tuple[Option, ...] = (
    Option("http-socket", Many(Address()), "listen for HTTP; may be repeated", _SOCKETS,
           default=(), aliases=("http11-socket",),
           difference="both names keep connections alive and accept chunked bodies"),
    Option("socket", Many(Address()), "listen for the uwsgi protocol of nginx's uwsgi_pass, or "
           "for the protocol that the option protocol names; may be repeated", _SOCKETS,
           default=(), letters="s"),
    Option("uwsgi-socket", Many(Address()), "listen for the uwsgi protocol, whatever protocol "
           "says; may be repeated", _SOCKETS, default=()),
    Option("bind", Many(Address(), split=","), "listen for HTTP, or for the protocol that the "
           "option protocol names; may be repeated", _SOCKETS, default=(), everywhere=False,
           derived="127.0.0.1:8000 if no socket is named outside [uwsgi] sections; with "
                   "PORT in the environment, 0.0.0.0 and that port"),
    Option("http", Many(Address()), "listen for HTTP", _SOCKETS, default=(),
           aliases=("httprouter",),
           difference="workers that handle several requests at once accept the connections "
                      "themselves, as with http-socket; http-router chooses"),
    Option("protocol", Choice("uwsgi", "http",
                              fastcgi="FastCGI is not supported: use uwsgi and nginx's "
                                      "uwsgi_pass",
                              scgi="SCGI is not supported: use uwsgi and nginx's uwsgi_pass"),
           "the protocol of socket and bind", _SOCKETS, aliases=("socket-protocol",),
           derived="uwsgi for socket, http for bind"),
    Option("listen", Number(off=True), "length of the listen queue",
           _SOCKETS, gunicorn=("backlog",), letters="l", derived="the system's somaxconn",
           difference="a value above somaxconn is lowered to it with a warning; uWSGI does not "
                      "start"),
    Option("reuse-port", Boolean(), "set SO_REUSEPORT, so that another server may listen on the "
           "same port", _SOCKETS, default=False),
    Option("chmod-socket", SocketMode(), "the mode of unix sockets, in three octal digits; 666 "
           "without a value", _SOCKETS, aliases=("chmod",), letters="C",
           derived="set by the umask",
           gunicorn=("uds-permissions",)),
    Option("chown-socket", Owner(), "the owner of unix sockets", _SOCKETS),
    Option("umask", Octal(), "the umask of the server and its workers", _SOCKETS, letters="m",
           derived="as inherited"),
    Option("vacuum", Boolean(), "remove unix sockets and pid files when the server exits",
           _SOCKETS, default=False),
    Option("so-keepalive", Boolean(), "set SO_KEEPALIVE on connections", _SOCKETS,
           default=False),
    Option("socket-sndbuf", Size(off=True), "the send buffer of connections (SO_SNDBUF)",
           _SOCKETS, derived="the system's"),
    Option("socket-rcvbuf", Size(off=True), "the receive buffer of connections (SO_RCVBUF)",
           _SOCKETS, derived="the system's"),
    Option("tcp-fast-open", Number(off=True), "maximum number of pending connections with data in "
           "their first packet (TCP_FASTOPEN)", _SOCKETS, aliases=("tcp-fastopen",),
           derived="none"),
    Option("shared-socket", Many(Address()), "bind an address that other options refer to by its "
           "number, counted from 0, as =0; may be repeated", _SOCKETS, default=(), merge=True,
           aliases=("undeferred-shared-socket",),
           difference="an address that no option refers to is not bound"),
    Option("map-socket", Many(SocketMap()), "let only these workers accept from a socket, as in "
           "0:1,2; workers are numbered from 1, and their sockets from 0 in the order of the "
           "lines, without those of http and https that the router serves; all workers accept "
           "from a socket without a map; may be repeated", _SOCKETS, default=(), merge=True),
    Option("abstract-socket", Boolean(), "make all unix sockets abstract: no file, as with @name",
           _SOCKETS, default=False),
    Option("freebind", Boolean(), "bind addresses that the machine does not have yet "
           "(IP_FREEBIND)", _SOCKETS, default=False),
)

_OLD = "TLS 1.2 is the oldest version that is supported; older ones are broken (RFC 8996)"
_TLS = "HTTPS"
TLS: tuple[Option, ...] = (
    Option("https-socket", Many(TlsSocket()), "listen for HTTPS: address, certificate and key, "
           "then optionally ciphers and the file of the authorities that sign client "
           "certificates, with ``!`` in front to require one; may be repeated", _TLS,
           default=()),
    Option("https", Many(TlsSocket()), "listen for HTTPS", _TLS, default=(),
           difference="workers that handle several requests at once accept the connections "
                      "themselves, as with https-socket; http-router chooses"),
    Option("https2", Many(TlsSocket()), "as https, in the form addr=A,cert=C,key=K[,ciphers=...]"
           "[,client_ca=...]", _TLS, default=(), to="https", derived="as https",
           difference="spdy has no effect"),
    Option("certfile", Path(), "use HTTPS on the sockets of bind with this certificate, a PEM "
           "file that includes the intermediate certificates", _TLS, everywhere=False,
           aliases=("ssl-certfile", "ssl-certificate")),
    Option("keyfile", Path(), "the private key of certfile", _TLS, everywhere=False,
           aliases=("ssl-keyfile",), derived="it is in certfile"),
    Option("ca-certs", Path(), "the authorities that sign client certificates for bind, a PEM "
           "file", _TLS, everywhere=False, aliases=("ssl-ca-certs",),
           gunicorn=("ssl-ca",)),
    Option("cert-reqs", OneOf({"none": ("0", "cert_none"), "optional": ("1", "cert_optional"),
                               "required": ("2", "cert_required")}),
           "whether a client of bind needs a certificate", _TLS, everywhere=False,
           default="none", aliases=("ssl-cert-reqs",),
           gunicorn=("verify-mode",)),
    Option("ciphers", Name(), "the ciphers of bind for TLS 1.2, in OpenSSL's notation", _TLS,
           everywhere=False, aliases=("ssl-ciphers",), derived="Python's"),
    Option("ssl-version", OneOf(
        {"TLSv1.2": ("tls", "tlsv1_2", "sslv23", "protocol_tls", "protocol_tls_server",
                     "protocol_tlsv1_2", "tls1.2", "2", "5", "17"),
         "TLSv1.3": ("tlsv1_3", "tls1.3")},
        sslv2=_OLD, sslv3=_OLD, tlsv1=_OLD, tlsv1_1=_OLD, protocol_sslv3=_OLD,
        protocol_tlsv1=_OLD, protocol_tlsv1_1=_OLD),
        "the oldest version of TLS that is accepted", _TLS, everywhere=False, default="TLSv1.2",
        gunicorn=("ssl-protocol-min",)),
    Option("sni", Many(ServerName()), "a certificate for one host name, or for all names below "
           "``*.domain``, on every HTTPS socket; may be repeated", _TLS, default=(),
           difference="a client certificate is requested per socket, not per host name"),
    Option("sni-regexp", Many(ServerName(pattern=True)), "as sni, for host names that match a "
           "regular expression", _TLS, default=()),
    Option("sni-dir", Path(), "a directory with HOST.crt and HOST.key for each host name", _TLS,
           difference="it is read at startup and at each reload; a HOST.ca is an error"),
    Option("sni-dir-ciphers", Name(), "the ciphers for the certificates of sni-dir", _TLS),
    Option("https-export-cert", Boolean(), "pass the client's certificate to the application "
           "in HTTPS_CC, in addition to its subject in HTTPS_DN", _TLS, default=False),
    Option("ssl-keyfile-password", Passphrase(), "where the passphrase of encrypted keys is: the "
           "first line of a file, or an environment variable, which is removed before the "
           "application is loaded", _TLS, default="", aliases=("keyfile-password",)),
    Option("ssl-option", Many(SslOption()), "set bits of OpenSSL's SSL_OP_*, as a number; may be "
           "repeated", _TLS, default=()),
)

UNSUPPORTED: tuple[Option, ...] = (
    *ignored("ssl-verbose", "a handshake that fails is always logged"),
    *ignored("ssl-verify-depth", "a chain of client certificates may have any length; each link "
             "of it is verified", ValueType()),
    *ignored("ssl-sessions-use-cache ssl-session-use-cache ssl-sessions-timeout "
             "ssl-session-timeout https-session-context",
             "sessions are resumed by tickets for two hours: the workers share the key, a reload "
             "renews it, and nothing is stored", ValueType()),
    *ignored("ssl-tmp-dir", "certificates are read from their files", ValueType()),
    *ignored("do-handshake-on-connect", "each connection does its own handshake, within "
             "http-headers-timeout, without delaying the others"),
    *ignored("suppress-ragged-eofs", "a connection closed without close_notify counts as closed; "
             "a truncated body is always an error"),
    *refused("ssl-enable3 ssl-enable-sslv3 ssl-enable-tlsv1", _OLD),
)
