"""Benchmarks: the cost of a request, a connection and a process, compared with other servers.

    python -m benchmarks                    all scenarios, all peers, a table
    python -m benchmarks hello browser      some scenarios
    python -m benchmarks --peers geventuwsgi,gunicorn --seconds 8

The unit is CPU microseconds per request: user and system time of the server's process tree
from /proc, divided by the requests served. It varies much less with the machine than requests
per second; ratios between servers in the same run vary least.

The server runs on core 0, the load generator on core 1. All connections use loopback, and their
number and duration are limited.

Needs `wrk` and the `benchmarks` extra (gunicorn, pyuwsgi).
"""
