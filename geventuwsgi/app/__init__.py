"""Everything about applications: loading them, choosing one, and calling it for a request.

Start with `loader` (what configurations name), `applications` (which one a request is for)
and `wsgi` (PEP 3333); `rules` and `static` are features of their own.

There are no sockets, settings or processes here: an environ goes in, and the response comes
out through callables that the server passes. A traceback of the application is shown
without the frames of this server.
"""
