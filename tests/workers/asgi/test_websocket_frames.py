"""The frames of `message` are those of the library, octet for octet."""

import pytest
from websockets.frames import Frame, Opcode

from geventuwsgi.workers.asgi import websocket_frames


@pytest.mark.parametrize("kind", [websocket_frames.TEXT, websocket_frames.BINARY])
@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 70_000])
def test_whole_messages(kind: int, length: int) -> None:
    data = b"x" * length
    expected = Frame(Opcode(kind), data).serialize(mask=False)
    assert websocket_frames.message(kind, data, []) == expected
