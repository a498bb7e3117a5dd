"""The HTTP(S) router and load balancer: clients on one side, nodes on the other.

A router is a process of its own under the master, without any application. It reads
requests as strictly as a worker does, chooses a node, hands the request on and gives the
answer back. Its rooms:

    gateway       the entry room: reads `Settings`, sweeps, drains
    client        one connection of a client, request after request
    exchange      one request: a node is chosen, tried, and answers
    relay         both directions at once: uploads whose answer comes early, tunnels
    forward       what a node is told: an HTTP head, or a uwsgi packet
    reply         what the client is told: the answer's head, framed for this connection
    upstream      one node: connections, health, counters
    balance       nodes for the same requests, whose turn it is, and who waits
    routes        which of these groups a request is for
    plan          the nodes and groups of the configuration, made and tended
    subscription  nodes that announce themselves (uWSGI's datagrams)
    registry      who has subscribed, in memory that all router processes share
    statistics    what all of them count, in uWSGI's JSON and for Prometheus

Rules of the wing: only the gateway reads settings. One
greenlet serves a client's connection and talks to the node for it; nothing is shared
between requests but nodes and counters, so there is no lock.
"""
