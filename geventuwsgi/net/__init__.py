"""Sockets: what an address text means, binding it, and blocking on it.

Rules of the wing:

- Arguments in, sockets out; nothing here knows a setting or a protocol.
- Binding happens in the master, which has no gevent: importing this package must work
  without it, and only what runs in a worker may block on a hub.
- A socket of ours is closed by us, a socket that we inherited is left as it was.
"""
