"""The application's side of one request: loading it, calling it, taking its answer.

Rules of the wing:

- No sockets, no settings, no processes: an environ goes in, a head and body come out
  through callables that the server hands over.
- PEP 3333 to the letter; where uWSGI or gunicorn give more, the more is named where it
  stands.
- An error of the application is the application's: its traceback is shown without
  frames of this server, and the worker lives on.
"""
