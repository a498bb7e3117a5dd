"""An HTTPS connection on the loop: a handshake, then HTTP and WebSocket as on any other.

The rules of this room: the handshake has `http-headers-timeout`, from the first byte or
none. Until it is made the connection counts as idle: nothing of a request has come.
"""

import logging
from math import inf
from time import monotonic
from typing import Any

from ...net import tls
from ...protocol.response import error_response
from .exchange import Exchange
from .http import HttpConnection
from .scope import Scope
from .tls_transport import SecureTransport

log = logging.getLogger("geventuwsgi.error")


class HttpsConnection(HttpConnection):
    """Serve HTTP/1 through TLS. A PROXY header stands before the TLS, as HAProxy sends it."""

    __slots__ = ("_extension",)

    def begin(self) -> None:
        self.take = self._take_first

    def _take_first(self, data: bytes) -> None:
        if data[0] != tls.HANDSHAKE:
            self._no_tls(data)
            return
        plain = self.transport
        self.take = self._discard
        self.transport = secure = SecureTransport(
            plain, self.listener.context, self, self.service.loop, self._secured, self._failed)
        secure.take(data)

    def _no_tls(self, data: bytes) -> None:
        if not tls.looks_like_http(data):
            log.warning("%s: no TLS; closed", self.peer)
            self.close()
            return
        log.warning("%s: plain HTTP on an HTTPS port; closed with 400", self.peer)
        self.transport.write(error_response(400, self.service.standing, detail=tls.PLAIN_HTTP))
        self.finish(True)

    def _secured(self) -> None:
        self._extension = tls.extension(self.transport.tls)
        super().begin()
        self.deadline = monotonic() + self.service.policy.head_timeout

    def _failed(self, reason: str) -> None:
        log.warning("%s: the TLS handshake failed (%s); closed", self.peer, reason)
        self.close()

    def _end_of_input(self) -> None:
        if self.take == self._take_first:
            self.close()
            return
        super()._end_of_input()

    def expire(self, now: float) -> None:
        transport = self.transport
        if self.take == self._discard and not transport.is_plain and not transport.greeted and (
                not transport.is_closing()):
            self.deadline = inf
            log.warning("%s: no TLS handshake within %g seconds; closed", self.peer,
                        self.service.policy.head_timeout)
            self.close()
            return
        super().expire(now)

    def base_scope(self) -> Scope:
        return {**super().base_scope(), "scheme": "https"}

    def start(self, exchange: Exchange, scope: Scope) -> None:
        scope["extensions"]["tls"] = self._extension.copy()
        super().start(exchange, scope)

    def start_websocket(self, websocket: Any, scope: Scope) -> None:
        scope["extensions"]["tls"] = self._extension.copy()
        super().start_websocket(websocket, scope)
