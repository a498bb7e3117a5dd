"""The one frame that is made here is the library's, octet for octet."""

import pytest
from websockets.frames import Frame, Opcode

from geventuwsgi.asgi import frames


@pytest.mark.parametrize("kind", [frames.TEXT, frames.BINARY])
@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 70_000])
def test_whole_messages(kind: int, length: int) -> None:
    data = b"x" * length
    assert frames.message(kind, data, []) == Frame(Opcode(kind), data).serialize(mask=False)
