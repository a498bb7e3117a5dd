"""An ASGI worker: the hub accepts connections, asyncio serves them in a second thread.

    main thread      gevent's hub: accept, signals, the master's messages, heartbeat
    asgi-loop        one native thread: the event loop, all connections, the application

Begin with `bridge`, the only module that others import and that reads settings.

- It runs in a worker process only. Nothing is monkey-patched: with patched threads an
  executor's jobs run on the loop's own thread, and `anyio.to_thread` hangs.
- `bridge` runs on the hub; all other modules belong to the loop's thread and do not import gevent.
- A connection crosses threads once. Other calls cross through `loop_thread`. There is no gevent
  primitive on the loop's thread, and the hub waits for no future.
- Deadlines are numbers on the connections that one sweep compares; no timer per request.
"""
