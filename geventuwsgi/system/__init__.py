"""Linux: users, limits, signals, pid files, terminals, programs. Nothing here knows a server.

Every module stands alone: plain arguments in, and the standard library beneath.
"""
