"""What the master runs besides workers: daemons, hooks, watched files, the FIFO, systemd.

Begin with `attached.py`, the interface that the master's loop calls. `boot` makes the
objects. All of it runs in the master: nothing blocks, and nothing imports gevent.
"""
