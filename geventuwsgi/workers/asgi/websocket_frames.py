"""The parts of the `websockets` library in use, and a faster encoder for whole messages.

Handshake, reading, compression, control frames and closing are the library's. A whole,
uncompressed message has a head of two to ten octets (RFC 6455 section 5.2), which the library
encodes in 2.4 us and `message` in 0.2.
"""

import importlib
import logging
import struct
from typing import Any

# Only errors of the library itself are logged.
_log = logging.getLogger("geventuwsgi.error.websockets")
_log.setLevel(logging.ERROR)

try:
    ServerProtocol: Any = importlib.import_module("websockets.server").ServerProtocol
    Frame: Any = importlib.import_module("websockets.frames").Frame
    Opcode: Any = importlib.import_module("websockets.frames").Opcode
    Deflate: Any = importlib.import_module(
        "websockets.extensions.permessage_deflate").ServerPerMessageDeflateFactory
except ImportError:
    ServerProtocol = None

# 4 KiB windows and small hash tables, as in uvicorn: 36 KB per connection (measured), with
# zlib's defaults about 300.
_DEFLATE = {"server_max_window_bits": 12, "client_max_window_bits": 12,
            "compress_settings": {"memLevel": 5}}
CONT, TEXT, BINARY, CLOSE, PONG = 0, 1, 2, 8, 10  # RFC 6455 section 5.2
_HEADS = {kind: tuple(bytes((0x80 | kind, length)) for length in range(126))
          for kind in (TEXT, BINARY)}


class Protocol(ServerProtocol or object):  # type: ignore[misc]
    """The library's protocol, with a close frame between two fragments as RFC 6455 has it."""

    def recv_frame(self, frame: Any) -> None:
        if frame.opcode is Opcode.CLOSE:
            # Section 5.4: control frames may be between fragments. The library fails the
            # connection with 1002 here, if a message is incomplete (`cur_size` before 17).
            self.current_size = self.cur_size = None
        super().recv_frame(frame)


def protocol(deflate: bool, max_size: int) -> Any:
    """Return the library's protocol of one WebSocket; `max_size` of a message is in octets."""
    return Protocol(extensions=[Deflate(**_DEFLATE)] if deflate else None,
                    max_size=max_size, logger=_log)


def message(kind: int, data: bytes, extensions: Any) -> bytes:
    """Encode a whole message.

    Args:
        kind: TEXT or BINARY.
        data: its payload.
        extensions: the negotiated extensions, as the library has them.
    """
    if extensions:
        octets: bytes = Frame(Opcode(kind), data).serialize(mask=False, extensions=extensions)
        return octets
    length = len(data)
    if length < 126:
        return _HEADS[kind][length] + data
    if length < 65536:
        return struct.pack("!BBH", 0x80 | kind, 126, length) + data
    return struct.pack("!BBQ", 0x80 | kind, 127, length) + data
