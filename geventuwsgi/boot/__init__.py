"""Settings become sockets, memory and roles. This subpackage may import every other one.

Begin with `instance`, the master's side, and `worker_process`, the side of an exec'd interpreter;
`embedded` is `geventuwsgi.serve`. `cli` imports `instance` and `preflight`.

Imports inside functions are allowed only here: the master must not load what only workers need
(11 MB instead of 30), and a role must load some modules before others.
"""
