"""The module that an application imports as `uwsgi`.

`import uwsgi` fails outside uWSGI, and libraries rely on that to detect the server, so the module
exists only in the server's processes. It has the names that real deployments use; any other name
raises `AttributeError` rather than doing nothing.
"""
