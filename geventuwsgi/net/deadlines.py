"""Times and sizes that all connections go by, in workers and in the router.

A deadline is a number on a connection, and one timer per process compares all of them:
no timer is armed per request. Times are in seconds, sizes in octets.
"""

import struct

# Between two sweeps over all deadlines; a timeout fires at most this much late.
SWEEP = 0.25
# A timeout of 0 means no limit. Not inf, which as a deadline means that nothing is awaited.
NEVER = 1e9
# A kept connection may bring one more request for this long after a reload begins.
IDLE_ON_RELOAD = 5.0
# How long, and for how many octets, a peer may still send after its last response. nginx
# writes a buffered upload in one go and treats a reset before it has read the response as a
# 502: with 1 MiB half of the unread 20 MB uploads failed, with 64 (its usual
# client_max_body_size) none.
LINGER_SECONDS = 2.0
LINGER_OCTETS = 64 << 20
# The same without a body: what is left of a head that was rejected, or further requests.
LINGER_HEAD_OCTETS = 1 << 20
# One call of sendfile blocks the whole worker while the file is read from disk.
SENDFILE_SIZE = 1 << 20
# struct linger: on, no seconds. The close sends a reset, socket(7).
RESET = struct.pack("ii", 1, 0)

# The reason of a 408.
HALF_PROXY_HEADER = "no whole PROXY protocol header within {:g} seconds"
