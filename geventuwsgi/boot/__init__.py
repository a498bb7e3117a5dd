"""Settings become sockets, memory and roles: the one place that knows everyone.

`instance` is the master's part, `playing` what an exec'd interpreter does.

This wing alone imports inside functions: the master must not load what a worker needs
(11 MB instead of 30), and a role must load some things before others.
"""
