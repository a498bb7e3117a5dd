"""The rows of requests that are stuck, slow, abandoned or too many."""

from geventuwsgi.config.values.types import Boolean, Many, Path, PathLimit
from geventuwsgi.config.values.numbers import Milliseconds, Number, Seconds
from geventuwsgi.config.options.option import Option

_STUCK = "Requests: stuck, slow, too many"
STUCK = (
    Option("harakiri", Seconds(), "seconds that the application may take for a request; 0 is no "
           "limit", _STUCK, default=0,
           difference="it ends the request with 504 and the worker goes on; only a worker that "
                      "is blocked is killed"),
    Option("harakiri-path", Many(PathLimit()), "the harakiri of requests whose path begins so, "
           "as in /reports/=120, instead of the general one; the longest prefix counts, 0 is no "
           "limit; may be repeated", _STUCK, default=(), merge=True),
    Option("harakiri-verbose", Boolean(), "at a harakiri log the request's variables and the "
           "stacks of all greenlets of the worker too", _STUCK, default=False,
           difference="uWSGI shows the system call and the native stack of the process instead"),
    Option("harakiri-graceful-timeout", Seconds(), "seconds that a request has to end after its "
           "harakiri, before its connection is cut and its worker replaced", _STUCK, default=5,
           difference="it is told by an exception in its greenlet, not by a signal to the worker"),
    Option("slow-request", Seconds(), "log the stack of a request that is still running after so "
           "many seconds, once; 0 is off", _STUCK, default=0),
    Option("block-warning", Milliseconds(minimum=10, off=True), "log the stack of a greenlet that "
           "keeps its worker's hub blocked for so many milliseconds; 0 is off", _STUCK,
           derived="off"),
    Option("py-tracebacker", Path(), "a unix socket per worker, at this path with the worker's "
           "number behind: who connects is told the stacks of its threads and greenlets", _STUCK,
           difference="a stack per greenlet too, named by its request; --stacks PIDFILE asks all "
                      "workers without any socket"),
    Option("stacks", Path(), "print the stacks of all greenlets of every worker of this pid "
           "file's server, then end", _STUCK, status="command"),
    Option("cancel-on-disconnect", Boolean(), "raise geventuwsgi.errors.RequestCancelled in a "
           "request whose client is gone", _STUCK, default=False),
    Option("queue-limit", Number(), "how many requests of a worker may wait for a slot of gevent; "
           "those past that are answered 503 at once; 0 lets them wait, most of them in the "
           "queue of listen", _STUCK, default=0),
)
