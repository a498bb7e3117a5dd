"""What the master looks after beside workers: daemons, hooks, watched files, the FIFO, systemd.

`attached.py` is the interface that the master's loop calls. Everything here runs in the
master's process: nothing blocks, and nothing imports gevent.
"""
