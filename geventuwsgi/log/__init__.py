"""Logs: what a line says, and how it leaves the process.

Rules of the wing:

- No gevent and no settings. Formats, files and a way to run something at the end of
  the loop's turn come in as arguments.
- A log never stops a request: what cannot be written is counted and dropped, and the
  count is told once writing works again.
- What came from outside is escaped before it is written: no line breaks of a client's
  making, no terminal sequences, never ANSI of our own.
"""

from geventuwsgi.log.error import reopen, setup

__all__ = ["reopen", "setup"]
