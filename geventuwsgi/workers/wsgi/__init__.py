"""A WSGI worker: accept, read, call the application, write, log.

Begin with `worker`, the only module that others import.

- It runs in a worker process only, on its gevent hub, after the monkey-patching.
- `worker` and `settings` read the settings; all other modules have plain arguments.
- Each connection has a greenlet, which alone blocks on its socket. No timer per request:
  deadlines are numbers that one sweeper compares.
- It imports neither the master nor the router: a worker gets its process as an argument.
"""
