"""Sockets: parse addresses, bind and accept, and read and write with or without TLS.

Start with `listener` (what the master binds) and `stream` (a connection). Nothing here reads
settings or knows a protocol. The master binds without gevent: only `stream`, `tls_stream`
and `report_server`, which are for their children, import it.
"""
