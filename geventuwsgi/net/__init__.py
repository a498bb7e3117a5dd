"""Sockets: parse addresses, bind and accept, and read and write with or without TLS.

Start with `listener` (what the master binds) and `stream` (a connection). Nothing here reads
settings or knows a protocol. The master binds without gevent: only `stream` and `tls_stream`,
which are for workers and routers, import it.
"""
