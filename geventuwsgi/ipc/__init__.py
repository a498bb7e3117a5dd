"""What processes of every kind have in common: the scoreboard, and their orders.

Rules of the wing:

- The scoreboard is memory that all see: one mapping over one memfd, made by the master,
  inherited by number. No file on any disk: a read-only container must do.
- Each row has one writer. It writes with plain aligned stores and takes no lock;
  readers may see a row between two stores, never a torn number.
- Imports without gevent: the master reads what the workers write.
"""
