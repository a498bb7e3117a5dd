"""Memory that several processes see: the scoreboard.

Rules of the wing:

- One mapping over one memfd, made by the master, inherited by number. No file on any
  disk: a read-only container must do.
- Each row has one writer. It writes with plain aligned stores and takes no lock;
  readers may see a row between two stores, never a torn number.
- Imports without gevent: the master reads what the workers write.
"""
