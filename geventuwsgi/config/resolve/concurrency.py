"""How a worker runs WSGI requests: in greenlets, in native threads, or in its main thread.

The first of these decides:

1. `gevent = N` (`async`): greenlets. `threads` has no effect beside it, as in uWSGI.
2. `monkey-patch = true`: greenlets, as native threads are not for a patched process.
3. `gevent = 0`: native threads.
4. `worker-class`: gevent, or sync and gthread for native threads.
5. `threads = N`: native threads.
6. Otherwise a [uwsgi] section runs one request at a time in the main thread, as uWSGI does, and
   anything else 1000 in greenlets.

One native thread is the main thread. There are never more requests at once than were written, and
1 in a [uwsgi] section. A line that is left without effect has a warning that names the other.
"""

from collections.abc import Mapping
from typing import Any

from geventuwsgi.config.options.option import Option
from geventuwsgi.config.resolve.conflicts import assignment
from geventuwsgi.config.settings import Settings
from geventuwsgi.config.values.origin import Origin

SLOTS = 1000    # gunicorn's worker-connections, the limit of its gevent worker
NO_EFFECT = "has no effect"
PER = " per worker"
MORE = "threads = N or gevent = N for more"
_MAIN_THREAD = "one request at a time in the main thread"
_UNPATCHED = "a request that waits in the standard library blocks its worker's other requests"
_NATIVE = ("sync", "gthread")   # gunicorn's worker classes without greenlets
_DECIDING = ("gevent", "monkey_patch", "worker_class", "threads")


class Concurrency:
    """The decision for one configuration.

    Args:
        values: the values by attribute, defaults included.
        written: those that were set.
        origins: where they were set.
        uwsgi: whether the defaults of a [uwsgi] section apply.

    Attributes:
        greenlets: whether requests run in greenlets.
        slots: the number of requests that a worker runs at once.
    """

    def __init__(self, values: Mapping[str, Any], written: Mapping[str, Any],
                 origins: Mapping[str, Origin], uwsgi: bool) -> None:
        self._values = values
        self._written = written
        self._origins = origins
        self._class = written.get("worker_class")
        self._decider, self.greenlets = self._decide(uwsgi)
        self.slots: int = (self.greenlets and values["gevent"]) or values["threads"] or (
            SLOTS if self.greenlets and not self._alone(uwsgi) else 1)

    def _decide(self, uwsgi: bool) -> tuple[str, bool]:
        """Return the option that decides, "" if none is set, and whether it is for greenlets."""
        written = self._written
        if written.get("gevent"):
            return "gevent", True
        if written.get("monkey_patch"):
            return "monkey_patch", True
        if "gevent" in written:
            return "gevent", False
        if self._class == "gevent" or self._class in _NATIVE:
            return "worker_class", self._class == "gevent"
        if written.get("threads"):
            return "threads", False
        return "", not uwsgi

    def _alone(self, uwsgi: bool) -> bool:
        """Whether one request at a time was asked for, if no number was."""
        return uwsgi or self._class in _NATIVE or "gevent" in self._written

    def derived(self) -> dict[str, object]:
        """Return the values that were not set; `gevent` stays unset without greenlets."""
        values = self._values
        found: dict[str, object] = {
            "threads": values["threads"] or 1 if self.greenlets else self.slots,
            "monkey_patch": self.greenlets if values["monkey_patch"] is None
            else values["monkey_patch"]}
        if self.greenlets:
            found["gevent"] = self.slots
        if values["worker_class"] is None:
            found["worker_class"] = ("gevent" if self.greenlets else
                                     "gthread" if self.slots > 1 else "sync")
        return found

    def warnings(self) -> list[str]:
        """Return a warning for each line that is left without effect."""
        written, found = self._written, []
        by = assignment(self._decider, written.get(self._decider), self._origins)
        if not self.greenlets:
            if self._class == "gevent":
                found.append(self._warning("worker_class", f"{NO_EFFECT}: {by} turns greenlets "
                                           "off"))
            if written.get("gevent_wait_for_hub"):
                found.append(self._warning("gevent_wait_for_hub", f"{NO_EFFECT} without gevent: "
                                           "requests run in native threads"))
            return found
        if written.get("threads", 0) > 1:
            found.append(self._warning("threads", (
                f"{NO_EFFECT}: {by} runs requests in greenlets" if written.get("gevent") else
                f"{self.slots} requests at once in greenlets, not in native threads, because of "
                f"{by}")))
        if self._class in _NATIVE:
            found.append(self._warning("worker_class", f"{NO_EFFECT}: {by} runs requests in "
                                       "greenlets"))
        if written.get("gevent", 1) == 0:
            found.append(self._warning("gevent", f"{NO_EFFECT}: {by} runs requests in greenlets"))
        return found

    def _warning(self, name: str, message: str) -> str:
        return self._origins[name].warning(message)

    def notes(self) -> list[str]:
        """Return a line for the startup log if greenlets block each other."""
        if self.greenlets and self._written.get("monkey_patch") is False:
            return [f"monkey-patch = false: {_UNPATCHED}; threads = N runs requests in native "
                    "threads"]
        return []


def concurrency(settings: Settings, per: str = "") -> str:
    """Return how a worker runs requests, in words that follow "with".

    Args:
        per: inserted after the number of greenlets or threads.
    """
    if settings.interface == "asgi":
        return f"{_counted(settings.worker_connections, 'connection')} at a time"
    if settings.gevent:
        patched = "" if settings.monkey_patch else "not "
        return f"{_counted(settings.gevent, 'greenlet')}{per}, standard library {patched}patched"
    return _counted(settings.threads, "thread") + per if settings.threads > 1 else _MAIN_THREAD


def summary(settings: Settings, per: str = "") -> str:
    """Return `concurrency`, and how to have more if nothing in the configuration says it."""
    written = any(settings.origin(name).kind != "default" for name in _DECIDING)
    text = concurrency(settings, per)
    return text if written or text != _MAIN_THREAD else f"{text}; {MORE}"


def meaning(option: Option, settings: Settings) -> str:
    """Return what a line of --check-config means for how requests run or come, or "".

    Args:
        option: the option of the line, which nothing overrides.
        settings: the settings of the whole configuration.
    """
    name = option.attribute
    if name in ("http", "https"):
        return ("a router process accepts the connections, and passes requests on" if
                settings.router else "the workers accept the connections; there is no router")
    if name == "processes":
        return _of_processes(settings)
    if name not in _DECIDING or settings.interface == "asgi":
        return ""
    if name == "monkey_patch":
        if settings.gevent and not settings.monkey_patch:
            return _UNPATCHED
        return concurrency(settings, PER) if settings.gevent else (
            "nothing is patched: " + concurrency(settings, PER))
    return concurrency(settings, PER)


def _of_processes(settings: Settings) -> str:
    asgi, workers = settings.interface == "asgi", settings.processes
    most = workers * (settings.worker_connections if asgi else settings.slots)
    return (f"{_counted(workers, 'worker')}{', each' * (workers != 1)} with "
            f"{concurrency(settings)}: {_counted(most, 'connection' if asgi else 'request')} at "
            "once")


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}{'s' * (number != 1)}"
