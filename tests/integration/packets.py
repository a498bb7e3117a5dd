"""Encode requests of the uwsgi protocol, and split responses."""


def packet(path: str, script: str, host: str) -> bytes:
    """Return the packet of a GET, as nginx sends it."""
    pairs = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "SCRIPT_NAME": script,
             "SERVER_NAME": host, "HTTP_HOST": host, "REQUEST_URI": script + path,
             "SERVER_PROTOCOL": "HTTP/1.1", "QUERY_STRING": ""}
    block = b"".join(len(one).to_bytes(2, "little") + one
                     for pair in pairs.items() for one in map(str.encode, pair))
    return b"\0" + len(block).to_bytes(2, "little") + b"\0" + block


def split(answer: bytes) -> tuple[str, str, bytes]:
    """Return status line, fields in lower case, and body."""
    head, _, body = answer.decode("latin-1").partition("\r\n\r\n")
    line, _, fields = head.partition("\r\n")
    return line.partition(" ")[2], fields.lower(), body.encode("latin-1")
