"""An ASGI worker's I/O: connections accepted by the hub, served by asyncio in a thread.

    main thread      gevent's hub: accept, signals, the master's messages, heartbeat
    asgi-loop        one native thread: the event loop, every connection, the application

Rules of the wing:

- Runs in a worker only, and nothing is monkey-patched: with patched threads an executor's
  jobs run on the loop's own thread, and `anyio.to_thread` hangs for ever.
- `bridge` is the entry room and the only one that reads settings. It alone is the
  hub's; every other room belongs to the loop's thread and names no gevent.
- Connections cross over, not messages: the hub accepts, the loop adopts. What else crosses
  goes through `thread` alone: `call_soon_threadsafe` there, a deque and one async watcher
  back. No gevent primitive on the loop's thread, no waiting for a future on the hub.
- Deadlines are numbers on the connections that one sweep compares; no timer per request.
- Nothing of another wing of this floor is named here.
"""
