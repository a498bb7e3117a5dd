"""HTTP/1, uwsgi and PROXY without I/O: parsers of bytes, and builders of bytes.

Start with `http1` (requests), `response` (what workers send) and `uwsgi`. All of this server
that speaks one of these protocols uses these parsers.

- Nothing here owns a socket, a clock, a log or a settings object; limits are arguments.
- The result does not depend on how the bytes were cut. Unconsumed bytes are in `buffered`.
- An error is a `ProtocolError` with the status to send and a reason for the log. After an
  error a parser cannot be used again: the connection closes.
"""
