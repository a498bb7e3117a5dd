"""Benchmarks: what a request, a connection and a process cost, beside the servers of the field.

    python -m benchmarks                    all scenarios, all peers, a table
    python -m benchmarks hello browser      some scenarios
    python -m benchmarks --peers geventuwsgi,gunicorn --seconds 8

The figure to trust is CPU microseconds per request: user and system time of the server's
whole process tree from /proc, divided by the requests served. Requests per second drift
with the machine, this hardly does; ratios between servers of the same run least of all.

The server is pinned to core 0, the load generator to core 1. Everything stays on loopback
and is bounded in connections and time.

Needs `wrk` and the `benchmarks` extra (gunicorn, pyuwsgi).
"""
