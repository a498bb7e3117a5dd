"""The options of HTTPS: uWSGI's sockets with a certificate, gunicorn's certificate beside."""

from geventuwsgi.config.options.option import Option, ignored, refused
from geventuwsgi.config.values.numbers import Number, Size
from geventuwsgi.config.values.tls import OneOf, ServerName, SslOption, TlsSocket
from geventuwsgi.config.values.types import (
    Address, Boolean, Choice, ValueType, Many, Name, Octal, Owner, Path, SocketMode,
)

_SOCKETS = "Sockets"
SOCKETS = (
    Option("http-socket", Many(Address()), "listen for HTTP; may be repeated", _SOCKETS,
           default=(), aliases=("http11-socket",),
           difference="connections are kept alive and bodies may be chunked, with or without "
                      "the 11"),
    Option("socket", Many(Address()), "listen for the uwsgi protocol of nginx's uwsgi_pass, or "
           "for what protocol says; may be repeated", _SOCKETS, default=(), letters="s"),
    Option("uwsgi-socket", Many(Address()), "listen for the uwsgi protocol whatever protocol "
           "says; may be repeated", _SOCKETS, default=()),
    Option("bind", Many(Address(), split=","), "listen for HTTP, or for what protocol says; "
           "may be repeated", _SOCKETS, default=(), everywhere=False,
           derived="127.0.0.1:8000 where no socket is named outside [uwsgi] sections; with "
                   "PORT in the environment 0.0.0.0 and that port"),
    Option("http", Many(Address()), "listen for HTTP", _SOCKETS, default=(),
           aliases=("httprouter",),
           difference="workers that take several requests at a time accept the connections "
                      "themselves, as with http-socket; http-router decides"),
    Option("protocol", Choice("uwsgi", "http",
                              fastcgi="FastCGI is not spoken here: use uwsgi and nginx's "
                                      "uwsgi_pass",
                              scgi="SCGI is not spoken here: use uwsgi and nginx's uwsgi_pass"),
           "the protocol of socket and bind", _SOCKETS, aliases=("socket-protocol",),
           derived="uwsgi for socket, http for bind"),
    Option("listen", Number(off=True), "the length of the queue of waiting connections",
           _SOCKETS, gunicorn=("backlog",), letters="l", derived="the system's somaxconn",
           difference="more than somaxconn is cut to it with a warning; uWSGI does not start"),
    Option("reuse-port", Boolean(), "set SO_REUSEPORT, so that another server may listen on the "
           "same port", _SOCKETS, default=False),
    Option("chmod-socket", SocketMode(), "the mode of unix sockets, in three octal digits; 666 "
           "without a value", _SOCKETS, aliases=("chmod",), letters="C",
           derived="what the umask leaves"),
    Option("chown-socket", Owner(), "the owner of unix sockets", _SOCKETS),
    Option("umask", Octal(), "the umask of the server and its workers", _SOCKETS, letters="m",
           derived="as inherited"),
    Option("vacuum", Boolean(), "remove unix sockets and pid files at the end", _SOCKETS,
           default=False),
    Option("so-keepalive", Boolean(), "set SO_KEEPALIVE on connections", _SOCKETS,
           default=False),
    Option("socket-sndbuf", Size(off=True), "the send buffer of connections (SO_SNDBUF)",
           _SOCKETS, derived="the system's"),
    Option("socket-rcvbuf", Size(off=True), "the receive buffer of connections (SO_RCVBUF)",
           _SOCKETS, derived="the system's"),
)

_OLD = "TLS 1.2 is the oldest that is spoken; older versions are broken (RFC 8996)"
_TLS = "HTTPS"

TLS = (
    Option("https-socket", Many(TlsSocket()), "listen for HTTPS: address, certificate and key, "
           "then if need be ciphers and the file of the authorities that sign client "
           "certificates, with ``!`` in front to insist on one; may be repeated", _TLS,
           default=()),
    Option("https", Many(TlsSocket()), "listen for HTTPS", _TLS, default=(),
           difference="workers that take several requests at a time accept the connections "
                      "themselves, as with https-socket; http-router decides"),
    Option("https2", Many(TlsSocket()), "the same in the form addr=A,cert=C,key=K[,ciphers=...]"
           "[,client_ca=...]", _TLS, default=(), to="https", derived="as https",
           difference="spdy has no effect"),
    Option("certfile", Path(), "speak HTTPS on the sockets of bind with this certificate, a PEM "
           "file with those between it and its root", _TLS, everywhere=False,
           aliases=("ssl-certfile", "ssl-certificate")),
    Option("keyfile", Path(), "the private key of certfile", _TLS, everywhere=False,
           aliases=("ssl-keyfile",), derived="it is in certfile"),
    Option("ca-certs", Path(), "the authorities that sign client certificates for bind, a PEM "
           "file", _TLS, everywhere=False, aliases=("ssl-ca-certs",)),
    Option("cert-reqs", OneOf({"none": ("0", "cert_none"), "optional": ("1", "cert_optional"),
                               "required": ("2", "cert_required")}),
           "whether a client of bind needs a certificate", _TLS, everywhere=False,
           default="none", aliases=("ssl-cert-reqs",)),
    Option("ciphers", Name(), "the ciphers of bind for TLS 1.2, as OpenSSL writes them", _TLS,
           everywhere=False, aliases=("ssl-ciphers",), derived="Python's"),
    Option("ssl-version", OneOf(
        {"TLSv1.2": ("tls", "tlsv1_2", "sslv23", "protocol_tls", "protocol_tls_server",
                     "protocol_tlsv1_2", "2", "5", "17"), "TLSv1.3": ("tlsv1_3",)},
        sslv2=_OLD, sslv3=_OLD, tlsv1=_OLD, tlsv1_1=_OLD, protocol_sslv3=_OLD,
        protocol_tlsv1=_OLD, protocol_tlsv1_1=_OLD),
        "the oldest version of TLS that is spoken", _TLS, everywhere=False, default="TLSv1.2"),
    Option("sni", Many(ServerName()), "a certificate for one host name, or for all beneath "
           "``*.domain``, on every HTTPS socket; may be repeated", _TLS, default=(),
           difference="client certificates are asked for by a socket, not by a host name"),
    Option("sni-regexp", Many(ServerName(pattern=True)), "the same for host names that match a "
           "regular expression", _TLS, default=()),
    Option("sni-dir", Path(), "a directory with HOST.crt and HOST.key for each host name", _TLS,
           difference="it is read at the start and at each reload; a HOST.ca is an error"),
    Option("sni-dir-ciphers", Name(), "the ciphers for the certificates of sni-dir", _TLS),
    Option("https-export-cert", Boolean(), "give the application the certificate of the client "
           "as HTTPS_CC, beside its name in HTTPS_DN", _TLS, default=False),
    Option("ssl-option", Many(SslOption()), "set bits of OpenSSL's SSL_OP_*, as a number; may be "
           "repeated", _TLS, default=()),

    *ignored("ssl-verbose", "a handshake that fails is always logged"),
    *ignored("ssl-verify-depth", "a chain of client certificates may have any length; each link "
             "of it is verified", ValueType()),
    *ignored("ssl-sessions-use-cache ssl-session-use-cache ssl-sessions-timeout "
             "ssl-session-timeout https-session-context",
             "sessions are resumed by tickets for two hours: the workers share the key, which a "
             "reload renews, and there is nothing to store", ValueType()),
    *ignored("ssl-tmp-dir", "certificates are read from their files", ValueType()),
    *ignored("do-handshake-on-connect", "each connection makes its handshake by itself, within "
             "http-headers-timeout, and holds up no other"),
    *ignored("suppress-ragged-eofs", "a connection that ends without a farewell is a connection "
             "that ended; a body that is cut short is always an error"),
    *refused("ssl-keyfile-password", "store the key without a passphrase, readable by root alone: "
             "openssl pkey -in OLD -out NEW"),
    *refused("ssl-enable3 ssl-enable-sslv3 ssl-enable-tlsv1", _OLD),
)
