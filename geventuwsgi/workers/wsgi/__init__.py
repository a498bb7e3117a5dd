"""A WSGI worker: accept, read, call the application, write, log.

Begin with `worker`, the only module that others import.

- It runs in a worker process only, on its gevent hub. The hub has the main thread if requests run
  in greenlets, after the monkey-patching. If they run in native threads, nothing is patched, the
  application has the main thread, and the hub one of its own: `threads`, `thread_call`.
- `worker` and `settings` read the settings; all other modules have plain arguments.
- Each connection has a greenlet, which alone blocks on its socket; a native thread has it read
  and write. No timer per request: deadlines are numbers that one sweeper compares.
- It imports neither the master nor the router: a worker gets its process as an argument.
"""
