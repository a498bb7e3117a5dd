"""Numbers: counts, times and sizes.

uWSGI reads only the leading digits (atoi(3)): `true` is 0, and `10M` bytes are 10. Here a unit
counts, and `true` has a meaning where one is plain; both give a warning in uWSGI's dialect.
"""

import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from geventuwsgi.config.values.origin import CastContext
from geventuwsgi.config.values.types import FALSE, TRUE, ValueType

_NUMBER = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?)\s*(.*)", re.DOTALL)
_TOO_LARGE = 2.0 ** 63  # the limit of the system's integers
_UNSET = re.compile(r"\$\((\w+)\)")


@dataclass(frozen=True)
class Number(ValueType):
    """A count.

    Args:
        minimum: the smallest valid value.
        maximum: the largest one.
        on: the value of `true`, if that has a plain meaning; in uWSGI it is 0.
        auto: whether `auto` is accepted, for the number of usable processors.
        off: whether 0 means "not set" and becomes None.
    """

    minimum: int | float = 0
    maximum: int | None = None
    on: int | None = None
    auto: bool = False
    off: bool = False

    metavar = "N"
    comments = True
    suffixes = {"": 1}
    noun = "number"
    whole = True

    def value(self, text: str, context: CastContext) -> object:
        word = text.lower()
        if self.auto and word == "auto":
            return usable_processors()
        if word in TRUE:
            return self.bounded(self.parse_true(text, context), text, context)
        if word in FALSE:
            return self.bounded(0, text, context)
        match = _NUMBER.fullmatch(text)
        if match is None:
            return self.bounded(self.parse_other(text, context), text, context)
        return self.bounded(self.parse_unit(match[1], match[2], text, context), text, context)

    def parse_true(self, text: str, context: CastContext) -> int:
        """Return the value of `true`."""
        if self.on is not None:
            if context.origin.uwsgi:
                context.warn(f"{text!r} is read as {self.on}; in uWSGI it is 0")
            return self.on
        if not context.origin.uwsgi:
            context.fail(f"{text!r} is not a {self.noun}")
        context.warn(f"{text!r} is 0, as in uWSGI: write the {self.noun}")
        return 0

    def parse_other(self, text: str, context: CastContext) -> int:
        """Return 0 for an empty text or an unset variable in uWSGI's dialect; refuse the rest."""
        unset = _UNSET.fullmatch(text)
        if context.origin.uwsgi and (unset or not text):
            context.warn(f"{unset[1]} is not set in the environment: 0, as in uWSGI" if unset
                         else "no value: 0, as in uWSGI")
            return 0
        if unset:
            context.fail(f"{unset[1]} is not set in the environment")
        context.fail(f"{text!r} is not a {self.noun}" if text else f"needs a {self.noun}")

    def parse_unit(self, digits: str, suffix: str, text: str, context: CastContext) -> int | float:
        """Return the number with its unit."""
        factor = self.suffixes.get(suffix.lower())
        if factor is None:
            if not context.origin.uwsgi:
                context.fail(f"{text!r} is not a {self.noun}")
            context.warn(f"only {digits} of {text!r} is read, as in uWSGI")
            factor = 1
        elif factor != 1 and context.origin.uwsgi:
            context.warn(f"{text!r} is read with its unit; in uWSGI it is {digits}")
        number = float(digits) * factor
        if abs(number) >= _TOO_LARGE:
            context.fail(f"{text[:20]!r}... is too large for a {self.noun}")
        if number.is_integer():
            return int(number)
        if self.whole:
            if not context.origin.uwsgi:
                context.fail(f"{text!r} is not a whole number")
            context.warn(f"{text!r} is {int(number)}, as in uWSGI")
            return int(number)
        return number

    def bounded(self, number: int | float, text: str, context: CastContext) -> int | float | None:
        """Return the number if it is within the bounds."""
        unset = _UNSET.fullmatch(text)
        given = f"{unset[1]} is not set in the environment" if unset else repr(text)
        unit = self.noun.removeprefix("number").replace(" of", "", 1)
        if number < 0 or (number < self.minimum and not (self.off and number == 0)):
            context.fail(f"{given}: must be at least {self.minimum}{unit}")
        if self.maximum is not None and number > self.maximum:
            context.fail(f"{text!r}: must be at most {self.maximum}{unit}")
        return None if self.off and number == 0 else number


@dataclass(frozen=True)
class Seconds(Number):
    """A time in seconds; `90s`, `5m` and `1h` too, of which uWSGI reads only the digits."""

    metavar = "SECONDS"
    suffixes = {"": 1, "s": 1, "sec": 1, "seconds": 1, "m": 60, "min": 60, "minutes": 60,
                "h": 3600}
    noun = "number of seconds"
    whole = False


@dataclass(frozen=True)
class Milliseconds(Number):
    """A time in milliseconds; `500ms` and `1s` too."""

    metavar = "MILLISECONDS"
    suffixes = {"": 1, "ms": 1, "msec": 1, "s": 1000, "sec": 1000, "seconds": 1000}
    noun = "number of milliseconds"


@dataclass(frozen=True)
class Size(Number):
    """A number of bytes; `64k`, `10M` and `1G` too, of which uWSGI reads only the digits."""

    metavar = "BYTES"
    suffixes = {"": 1, "b": 1, "k": 1024, "kb": 1024, "kib": 1024, "m": 1024 ** 2, "mb": 1024 ** 2,
                "mib": 1024 ** 2, "g": 1024 ** 3, "gb": 1024 ** 3, "gib": 1024 ** 3}
    noun = "number of bytes"


@dataclass(frozen=True)
class Megabytes(Number):
    """A number of MB; `256M` is 256 too, as in uWSGI, and `2G` is 2048."""

    metavar = "MB"
    suffixes = {"": 1, "m": 1, "mb": 1, "mib": 1, "g": 1024, "gb": 1024, "gib": 1024}
    noun = "number of megabytes"


@dataclass(frozen=True)
class Keepalive(Seconds):
    """uWSGI's flag and time in one: 0 is off, 1 and true are on, a larger number is seconds."""

    default: int = 75

    def value(self, text: str, context: CastContext) -> object:
        if text.lower() in (*TRUE, "", "1"):
            if context.origin.uwsgi and text != "1":
                context.warn(f"{text!r} is on, with {self.default} seconds; in uWSGI it is off")
            return self.default
        return super().value(text, context)


def usable_processors(proc: str = "/proc/self/cgroup", mounted: str = "/sys/fs/cgroup",
                      cores: int | None = None) -> int:
    """Return the number of processors that `processes = auto` means, at least 1.

    A container is limited by its cgroup's quota (rounded up here), not by the number of cores that
    it sees: `os.cpu_count()` on a large host starts dozens of workers in a pod of one core.

    Args:
        proc: the file that names the cgroup of this process (cgroups(7)).
        mounted: where the cgroup file systems are mounted.
        cores: the number of cores that this process may run on; None asks the kernel.
    """
    limits = [math.ceil(quota) for quota in quotas(proc, mounted)]
    return max(1, min([cores or len(os.sched_getaffinity(0)), *limits]))


def quotas(proc: str, mounted: str) -> Iterator[float]:
    """Yield each quota from this process's cgroup up to the root, in processors."""
    try:
        lines = Path(proc).read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _ancestors(Path(mounted), path, _version2)
        elif "cpu" in controllers.split(","):
            yield from _ancestors(Path(mounted, "cpu"), path, _version1)


def _ancestors(root: Path, path: str, read: Callable[[Path], float | None]) -> Iterator[float]:
    """Yield the quota of a cgroup and of its ancestors, which limit it too."""
    # In a container without a cgroup namespace the path is the host's, and only the root of
    # the mount exists: missing directories are skipped.
    group = PurePosixPath("/", path)
    for directory in (group, *group.parents):
        try:
            quota = read(root / str(directory).lstrip("/"))
        except (OSError, ValueError):
            continue
        if quota is not None:
            yield quota


def _version2(directory: Path) -> float | None:
    """Read `cpu.max`: "quota period" in microseconds, or "max period"."""
    quota, period = (directory / "cpu.max").read_text().split()
    return None if quota == "max" else int(quota) / int(period)


def _version1(directory: Path) -> float | None:
    """Read the quota of version 1 cgroups; -1 is no quota."""
    quota = int((directory / "cpu.cfs_quota_us").read_text())
    return None if quota <= 0 else quota / int((directory / "cpu.cfs_period_us").read_text())
