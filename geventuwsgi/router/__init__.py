"""The HTTP(S) router and load balancer: clients on one side, nodes on the other.

A router process runs under the master and loads no application. Start with `gateway` (the
process) and `exchange` (one request: `client` reads it, `routes` and `balance` choose a node,
`request` and `response` translate, `relay` carries both directions at once). `node` and `nodes`
hold what the configuration names, `subscriptions` what announces itself; `statistics` reports.

Rules: only `gateway` and `nodes` read settings. One greenlet serves a client's connection and
talks to the node for it; requests share nothing but nodes and counters, so there is no lock.
Others import `gateway` and `subscriptions` only.
"""
