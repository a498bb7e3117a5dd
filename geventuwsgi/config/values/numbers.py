"""Numbers: counts, times and sizes, as `atoi` reads them, with the traps taken out.

uWSGI takes the leading digits of whatever stands there, and 0 where there are none: `true`
is 0, `10M` bytes are 10. Here a unit is a unit, and `true` is what a person plainly means by
it where there is such a thing; each leaves a warning in uWSGI's dialect.
"""

import re
from dataclasses import dataclass

from geventuwsgi.config.values import cpu
from geventuwsgi.config.values.types import FALSE, TRUE, Kind
from geventuwsgi.config.values.origin import Case

_NUMBER = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?)\s*(.*)", re.DOTALL)
_ENDLESS = 2.0 ** 63  # more fits no integer of the system's
_UNSET = re.compile(r"\$\((\w+)\)")


@dataclass(frozen=True)
class Number(Kind):
    """A count.

    Args:
        minimum: the least value that means anything.
        maximum: the greatest one.
        on: what `true` means, where a person plainly means something by it; in uWSGI
            it is 0.
        auto: whether `auto` is taken, for the number of usable processors.
        off: whether 0 stands for "not set" and becomes None.
    """

    minimum: int = 0
    maximum: int | None = None
    on: int | None = None
    auto: bool = False
    off: bool = False

    metavar = "N"
    comments = True
    suffixes = {"": 1}
    noun = "number"
    whole = True

    def value(self, text: str, case: Case) -> object:
        word = text.lower()
        if self.auto and word == "auto":
            return cpu.usable()
        if word in TRUE:
            return self.bounded(self.truth(text, case), text, case)
        if word in FALSE:
            return self.bounded(0, text, case)
        match = _NUMBER.fullmatch(text)
        if match is None:
            return self.bounded(self.nothing(text, case), text, case)
        return self.bounded(self.measured(match[1], match[2], text, case), text, case)

    def truth(self, text: str, case: Case) -> int:
        """Return what `true` means here."""
        if self.on is not None:
            if case.origin.uwsgi:
                case.warn(f"{text!r} is read as {self.on}; to uWSGI it is 0")
            return self.on
        if not case.origin.uwsgi:
            case.fail(f"{text!r} is not a {self.noun}")
        case.warn(f"{text!r} is 0, as in uWSGI: write the {self.noun}")
        return 0

    def nothing(self, text: str, case: Case) -> int:
        """Return 0 for an empty text and an unset variable in uWSGI's dialect, else refuse."""
        unset = _UNSET.fullmatch(text)
        if case.origin.uwsgi and (unset or not text):
            case.warn(f"{unset[1]} is not set in the environment: 0, as in uWSGI" if unset
                      else "no value: 0, as in uWSGI")
            return 0
        if unset:
            case.fail(f"{unset[1]} is not set in the environment")
        case.fail(f"{text!r} is not a {self.noun}" if text else f"needs a {self.noun}")

    def measured(self, digits: str, suffix: str, text: str, case: Case) -> int | float:
        """Return the number with its unit."""
        factor = self.suffixes.get(suffix.lower())
        if factor is None:
            if not case.origin.uwsgi:
                case.fail(f"{text!r} is not a {self.noun}")
            case.warn(f"only the {digits} of {text!r} is read, as in uWSGI")
            factor = 1
        elif factor != 1 and case.origin.uwsgi:
            case.warn(f"{text!r} is read with its unit; to uWSGI it is {digits}")
        number = float(digits) * factor
        if abs(number) >= _ENDLESS:
            case.fail(f"{text[:20]!r}...: there is no such {self.noun}")
        if number.is_integer():
            return int(number)
        if self.whole:
            if not case.origin.uwsgi:
                case.fail(f"{text!r} is not a whole number")
            case.warn(f"{text!r} is {int(number)}, as in uWSGI")
            return int(number)
        return number

    def bounded(self, number: int | float, text: str, case: Case) -> int | float | None:
        """Return the number if it lies within the bounds."""
        if number < 0 or (number < self.minimum and not (self.off and number == 0)):
            case.fail(f"{text!r}: must be at least {self.minimum}")
        if self.maximum is not None and number > self.maximum:
            case.fail(f"{text!r}: must be at most {self.maximum}")
        return None if self.off and number == 0 else number


@dataclass(frozen=True)
class Seconds(Number):
    """A time in seconds; `90s`, `5m` and `1h` too, of which uWSGI reads the digits alone."""

    metavar = "SECONDS"
    suffixes = {"": 1, "s": 1, "sec": 1, "seconds": 1, "m": 60, "min": 60, "minutes": 60,
                "h": 3600}
    noun = "number of seconds"
    whole = False


@dataclass(frozen=True)
class Milliseconds(Number):
    """A short time in milliseconds; `500ms` and `1s` too."""

    metavar = "MILLISECONDS"
    suffixes = {"": 1, "ms": 1, "msec": 1, "s": 1000, "sec": 1000, "seconds": 1000}
    noun = "number of milliseconds"


@dataclass(frozen=True)
class Size(Number):
    """A number of bytes; `64k`, `10M` and `1G` too, of which uWSGI reads the digits alone."""

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
    """uWSGI's switch and time in one: 0 is off, 1 and true are on, more is seconds."""

    default: int = 75

    def value(self, text: str, case: Case) -> object:
        if text.lower() in (*TRUE, "", "1"):
            if case.origin.uwsgi and text != "1":
                case.warn(f"{text!r} is on, with {self.default} seconds; to uWSGI it is off")
            return self.default
        return super().value(text, case)
