"""Protocols without I/O: bytes in, events out.

Rules of the wing:

- Nothing here owns a socket, a clock, a log, a greenlet or a settings object. Limits
  come in as arguments; time does not come in at all.
- One grammar, one implementation: whoever speaks HTTP or uwsgi in this house speaks
  it through these parsers.
- A parser is the same whatever the pieces its bytes arrive in: whole, byte by byte or
  cut anywhere. What it did not consume it keeps, and tells.
- What the RFC calls an error is a `ProtocolError` with the status that answers it and
  a reason for the log. After one a parser is of no further use: the connection closes.
"""
