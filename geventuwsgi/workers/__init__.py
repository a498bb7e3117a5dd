"""Workers: the processes that serve an application.

- `wsgi`: a gevent hub, one greenlet per connection. Begin with `wsgi/worker.py`.
- `asgi`: the hub accepts, an event loop in a thread serves. Begin with `asgi/bridge.py`.

Neither imports the other; what both need stands here. A worker is handed its listeners,
its application and a `Child`, the process it runs in; `boot` alone imports it.
"""
