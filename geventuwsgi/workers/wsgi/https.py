"""An HTTPS connection: a handshake, then HTTP as on any other.

The handshake is made in the connection's own greenlet, before the first request, within
`http-headers-timeout`: one that stalls holds up nobody.
"""

import logging

from ...app import environ as environs
from ...net import tls
from ...net.tls_stream import HandshakeFailed, SecureStream
from ...net.stream import Expired
from ...net.tunnel import TunnelSocket
from ...protocol.http1 import RequestParser
from ...protocol.response import error_response
from .http import HttpConnection

log = logging.getLogger("geventuwsgi.error")


class HttpsConnection(HttpConnection):
    """Serve HTTP/1 through TLS. A PROXY header stands before the TLS, as HAProxy sends it."""

    __slots__ = ("_client",)

    def converse(self, early: bytes) -> bool:
        timeout = self.service.policy.head_timeout
        self.idle = True
        try:
            data = early or self.stream.receive_now(timeout)
        except Expired:
            log.debug("%s: sent nothing for %g seconds; closed", self.peer, timeout)
            return False
        finally:
            self.idle = False
        if not data:
            return False
        if data[0] != tls.HANDSHAKE:
            return self._no_tls(data)
        self.stream = stream = SecureStream(self.stream, self.listener.context)
        self.handed = TunnelSocket(stream)
        self.idle = True  # nothing of a request has come
        try:
            stream.handshake(data, timeout)
        except HandshakeFailed as error:
            log.warning("%s: the TLS handshake failed (%s); closed", self.peer, error)
            return False
        except Expired:
            log.warning("%s: no TLS handshake within %g seconds; closed", self.peer, timeout)
            return False
        finally:
            self.idle = False
        self._client = tls.client_variables(stream.tls, self.service.export_cert)
        return super().converse(b"")

    def _no_tls(self, data: bytes) -> bool:
        if not tls.looks_like_http(data):
            log.warning("%s: no TLS; closed", self.peer)
            return False
        log.warning("%s: plain HTTP on an HTTPS port; closed with 400", self.peer)
        self.stream.send(error_response(400, self.standing, detail=tls.PLAIN_HTTP))
        return True

    def _environ(self, parser: RequestParser) -> environs.Environ:
        environ = super()._environ(parser)
        environ.update(self._client)
        return environ
