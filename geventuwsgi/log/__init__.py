"""The error log and the request log: how lines are formatted and where they are written.

Start with `error` and `access`; both write to a `sinks.Sink`. There is no gevent and no
settings object here.

- A log never stops a request: a line that cannot be written is counted and dropped, and the
  count is logged once writing works again.
- Text from outside is escaped, so that a client can add neither lines nor terminal sequences.
"""

from geventuwsgi.log.error import reopen, setup

__all__ = ["reopen", "setup"]
