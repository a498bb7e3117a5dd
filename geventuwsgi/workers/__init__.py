"""Workers: the processes that serve an application.

- `wsgi`: a gevent hub, one greenlet per connection. Begin with `wsgi/worker.py`.
- `asgi`: the hub accepts, an event loop in a thread serves. Begin with `asgi/bridge.py`.

Neither imports the other; what both need is in this directory. A worker gets its listeners,
its applications and a `Child`, the process it runs in. Only `boot` imports them.
"""
