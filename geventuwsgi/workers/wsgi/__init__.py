"""A WSGI worker's I/O: accept, read, call, write, log.

Rules of the wing:

- Runs in a worker only, on its gevent hub, after the monkey-patching.
- `worker` is the entry room and the only one that reads settings; the others take
  plain arguments.
- One greenlet per connection, and it alone blocks on its socket. No timer per request:
  deadlines are numbers that one sweeper compares.
- Nothing of another wing of this floor is named here: what a worker needs of its
  process is handed in.
"""
