"""Options of workers that cannot be had together: told at start, with the lines that say so.

Each check looks at values that are valid by themselves. What cannot be carried out is an
error at the place of the one and names the place of the other; what has no effect beside
the rest is a warning.
"""

from collections.abc import Mapping
from typing import Any

from geventuwsgi.config.values.origin import Origin

_UNWRITTEN = Origin()


class Conflicts:
    """The checks of one configuration.

    Args:
        values: the values by attribute, defaults included.
        origins: where those that were written came from.
        warnings: takes what has no effect.
    """

    def __init__(self, values: Mapping[str, Any], origins: Mapping[str, Origin],
                 warnings: list[str]) -> None:
        self.values = values
        self.origins = origins
        self.warnings = warnings

    def check(self) -> None:
        """Look at everything.

        Raises:
            ConfigError: for the first combination that is impossible.
        """
        self._recycling()
        self._cheaper()
        # A file of production says it for its development runs.
        if self.origins.get("reload_extra_file", _UNWRITTEN).kind != "file":
            self.warn_alone("reload_extra_file", "py_autoreload")

    def told(self, name: str) -> str:
        """Return `name = value (place)`."""
        origin = self.origins.get(name, _UNWRITTEN)
        return f"{name.replace('_', '-')} = {self.values[name]} ({origin.place})"

    def refuse_unless(self, possible: bool, name: str, message: str, *others: str) -> None:
        """Refuse what was written under `name`, or else under the first of the others."""
        if possible:
            return
        where = next((self.origins[one] for one in (name, *others) if one in self.origins),
                     _UNWRITTEN)
        raise where.error(f"{message}: {', '.join(map(self.told, (name, *others)))}")

    def warn_alone(self, name: str, needed: str) -> None:
        """Warn of an option that was written without the one that it belongs to."""
        origin = self.origins.get(name)
        if origin is not None and self.values[name] and not self.values[needed]:
            self.warnings.append(f"{origin.place}: {origin.option}: has no effect without "
                                 f"{needed.replace('_', '-')}")

    def _recycling(self) -> None:
        values = self.values
        maximum = values["max_worker_lifetime"]
        # uWSGI's own minimum, 10 seconds, is nobody's wish.
        self.refuse_unless(
            not maximum or "min_worker_lifetime" not in self.origins
            or values["min_worker_lifetime"] < maximum,
            "min_worker_lifetime", "the least age of a worker must be below the greatest",
            "max_worker_lifetime")
        for soft, evil in (("reload_on_rss", "evil_reload_on_rss"),
                           ("reload_on_as", "evil_reload_on_as")):
            self.refuse_unless(
                not (values[soft] and values[evil]) or values[soft] < values[evil], soft,
                "a worker would be killed before it is replaced gracefully", evil)
        for name in ("max_requests_delta", "max_requests_jitter"):
            self.warn_alone(name, "max_requests")
        self.warn_alone("max_worker_lifetime_delta", "max_worker_lifetime")

    def _cheaper(self) -> None:
        values = self.values
        least, most, first = values["cheaper"], values["processes"], values["cheaper_initial"]
        self.refuse_unless(
            least < most or not least, "cheaper",
            "invalid cheaper value: must be lower than processes", "processes")
        if least and first:
            self.refuse_unless(least <= first, "cheaper_initial",
                               "must be at least cheaper", "cheaper")
        self.refuse_unless(first <= most, "cheaper_initial", "must be at most processes",
                           "processes")
        self.refuse_unless(
            values["cheaper_busyness_min"] < values["cheaper_busyness_max"],
            "cheaper_busyness_min", "must be below the maximum", "cheaper_busyness_max")
        soft, hard = values["cheaper_rss_limit_soft"], values["cheaper_rss_limit_hard"]
        self.refuse_unless(not (soft and hard) or soft <= hard, "cheaper_rss_limit_soft",
                           "must not be above the hard limit", "cheaper_rss_limit_hard")
        for name in values:
            if name.startswith("cheaper_") and name != "cheaper_initial":
                self.warn_alone(name, "cheaper")
        self.warn_alone("die_on_idle", "idle")
        if not (least or values["cheap"] or values["idle"]):
            self.warn_alone("cheaper_initial", "cheaper")
