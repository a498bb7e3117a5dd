"""The master process: generations of workers, reloads, upgrades, and the console.

Begin with `master.py`, the loop, then `generation.py`. `boot` imports `Master`, `Role` and
what it attaches; no other part of the package imports from here.

Rules:

- The master runs no application code, imports no gevent and blocks only in its selector.
- It knows nothing about kinds of processes: a `Role` says how many there are, what to
  execute and how to stop it.
- Each generation executes a fresh interpreter. Only the template forks.
- Children are ended by the control socket and by signals to their own pid, never by name.
- A signal handler only writes a byte.
"""
