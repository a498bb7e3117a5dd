"""The rows of workers that are replaced while they serve, and of their changing number.

Limits, units and defaults are uWSGI's; what differs stands in the rows.
"""

from geventuwsgi.config.values.types import Boolean, Choice
from geventuwsgi.config.values.numbers import Megabytes, Number, Seconds, Size
from geventuwsgi.config.options.option import Option

_SOON = ("the replacement accepts connections before the worker stops; the master looks twice "
         "a second")
_RECYCLING = "Recycling of workers"
RECYCLING = (
    Option("max-requests", Number(), "how many requests a worker serves before it is replaced; "
           "0 is no limit", _RECYCLING, default=0, letters="R", difference=_SOON,
           gunicorn=("limit-max-requests",)),
    Option("max-requests-delta", Number(), "how many more each worker serves than the one before "
           "it", _RECYCLING, default=0),
    Option("max-requests-jitter", Number(), "a random number up to this is added to the "
           "max-requests of each worker", _RECYCLING, default=0,
           gunicorn=("limit-max-requests-jitter",)),
    Option("min-worker-lifetime", Seconds(), "no worker is replaced for its requests or its "
           "memory before this age", _RECYCLING, default=10),
    Option("max-worker-lifetime", Seconds(), "the age at which a worker is replaced; 0 is no "
           "limit", _RECYCLING, default=0,
           difference=_SOON + ", and an idle worker is replaced as well"),
    Option("max-worker-lifetime-delta", Seconds(), "how much older each worker grows than the one "
           "before it", _RECYCLING, default=0),
    Option("reload-on-rss", Megabytes(), "the resident memory at which a worker is replaced; 0 is "
           "no limit", _RECYCLING, default=0,
           difference=_SOON + ". A worker that takes more from its start is replaced only once it "
           "has grown, with a warning"),
    Option("reload-on-as", Megabytes(), "the same for its address space", _RECYCLING, default=0,
           difference="as reload-on-rss"),
    Option("evil-reload-on-rss", Megabytes(), "the resident memory at which the master kills a "
           "worker, whatever it is doing; 0 is no limit", _RECYCLING, default=0),
    Option("evil-reload-on-as", Megabytes(), "the same for its address space", _RECYCLING,
           default=0),
    Option("mem-collector-freq", Seconds(minimum=1), "how often the master measures for the evil "
           "limits", _RECYCLING, default=3),
)

_CHEAPER = "Number of workers"
CHEAPER = (
    Option("cheaper", Number(), "the least number of workers: there are more, up to processes, "
           "while there is work for them; 0 is off", _CHEAPER, default=0,
           difference="application slots in use are counted instead of busy workers, so that the "
                      "number falls with gevent too; a worker that is stopped drains"),
    Option("cheaper-initial", Number(), "how many workers there are at the start", _CHEAPER,
           default=0, derived="cheaper; without it processes"),
    Option("cheaper-step", Number(minimum=1), "how many workers are started at a time", _CHEAPER,
           default=1),
    Option("cheaper-algo", Choice("spare", "spare2", "backlog", "busyness", "manual",
                                  backlog2="the limit stands in cheaper-overload: use backlog"),
           "what decides: no free slot (spare), too few idle workers (spare2), waiting "
           "connections (backlog), the share of slots in use (busyness), signals alone (manual)",
           _CHEAPER, default="spare"),
    Option("cheaper-overload", Number(), "seconds of all slots in use before workers are started, "
           "and of calm before one is stopped; the length of a cycle of busyness; to backlog the "
           "number of connections that may wait", _CHEAPER, default=3),
    Option("cheaper-idle", Seconds(), "seconds that spare2 keeps a worker beyond the spare ones",
           _CHEAPER, default=10),
    Option("cheaper-rss-limit-soft", Size(), "bytes of memory of all workers from which on none "
           "is started; 0 is no limit", _CHEAPER, default=0,
           difference="memory-report is not needed for it"),
    Option("cheaper-rss-limit-hard", Size(), "bytes of memory of all workers from which on they "
           "become fewer, down to cheaper; 0 is no limit", _CHEAPER, default=0),
    Option("cheaper-busyness-max", Number(minimum=1, maximum=100), "percent of slots in use above "
           "which workers are started", _CHEAPER, default=50),
    Option("cheaper-busyness-min", Number(maximum=100), "percent below which one is stopped",
           _CHEAPER, default=25),
    Option("cheaper-busyness-multiplier", Number(minimum=1), "cycles of calm before one is "
           "stopped", _CHEAPER, default=10),
    Option("cheaper-busyness-penalty", Number(), "cycles more if a stopped worker was needed soon "
           "after", _CHEAPER, default=2),
    Option("cheaper-busyness-verbose", Boolean(), "log the figures of each cycle", _CHEAPER,
           default=False),
    Option("cheaper-busyness-backlog-alert", Number(), "the number of waiting connections above "
           "which workers are started at once", _CHEAPER, default=33),
    Option("cheaper-busyness-backlog-step", Number(minimum=1), "how many are started then",
           _CHEAPER, default=1),
    Option("cheaper-busyness-backlog-multiplier", Number(minimum=1), "cycles of calm before one "
           "of those is stopped", _CHEAPER, default=3),
    Option("cheaper-busyness-backlog-nonzero", Number(minimum=1), "seconds of connections "
           "waiting, however few, before one is started at once", _CHEAPER, default=60),
    Option("cheap", Boolean(), "start without workers; the first connection starts them",
           _CHEAPER, default=False,
           difference="the application is loaded at the start, so that a worker is a fork away"),
    Option("idle", Seconds(), "seconds without a request before all workers are stopped until a "
           "connection comes; 0 is never", _CHEAPER, default=0),
    Option("die-on-idle", Boolean(), "end the server instead", _CHEAPER, default=False),
)
