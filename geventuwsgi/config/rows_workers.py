"""The rows of workers that are replaced while they serve, and of their changing number.

Limits, units and defaults are uWSGI's; what differs stands in the rows.
"""

from geventuwsgi.config.numeric import Megabytes, Number, Seconds
from geventuwsgi.config.option import Option

_SOON = ("the replacement accepts connections before the worker stops; the master looks twice "
         "a second")
_RECYCLING = "Recycling of workers"
RECYCLING = (
    Option("max-requests", Number(), "how many requests a worker serves before it is replaced; "
           "0 is no limit", _RECYCLING, default=0, letters="R", difference=_SOON),
    Option("max-requests-delta", Number(), "how many more each worker serves than the one before "
           "it", _RECYCLING, default=0),
    Option("max-requests-jitter", Number(), "a random number up to this is added to the "
           "max-requests of each worker", _RECYCLING, default=0),
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
           "has grown by a quarter, with a warning"),
    Option("reload-on-as", Megabytes(), "the same for its address space", _RECYCLING, default=0,
           difference="as reload-on-rss"),
    Option("evil-reload-on-rss", Megabytes(), "the resident memory at which the master kills a "
           "worker, whatever it is doing; 0 is no limit", _RECYCLING, default=0),
    Option("evil-reload-on-as", Megabytes(), "the same for its address space", _RECYCLING,
           default=0),
    Option("mem-collector-freq", Seconds(minimum=1), "how often the master measures for the evil "
           "limits", _RECYCLING, default=3),
)
