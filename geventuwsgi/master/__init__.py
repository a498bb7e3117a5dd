"""Processes: the master, the template, the worker as a child. Knows no HTTP.

Rules of the wing:

- The master runs no application code, imports no gevent and never blocks but in its
  selector. It names no kind of child: a role is a row that says how many, what to run
  and how to stop.
- A fresh interpreter per generation, told its settings and sockets by descriptors. Only
  the template forks, single-threaded, before any hub runs.
- Children are ended by the control socket, by signals to their own pid, and by the
  master's death; never by name.
- A signal handler does nothing but write a byte.
- What the operator runs (`hooks`, `errands`, `daemon`) is executed, never imported: by the
  master with the rights of the application's user, before its loop with its own.
"""
