"""--check-config: what becomes of each line of a configuration, before it is served.

The rules of this room: every line that was read has one verdict, in the words the operator
needs: what to change, or what to expect. Nothing is started.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from geventuwsgi.config.commands.from_gunicorn import Conversion
from geventuwsgi.config.options.aliases import GUNICORN_DIFFERENT
from geventuwsgi.config.options.option import Entry, Option
from geventuwsgi.config.options.table import suggest, row
from geventuwsgi.config.resolve.asgi import NO_EFFECT
from geventuwsgi.config.resolve.resolve import COMMAND, overridden, resolve
from geventuwsgi.config.settings import Settings
from geventuwsgi.config.sources.environment import ARGUMENTS
from geventuwsgi.config.sources.lines import Reading, Skipped
from geventuwsgi.config.values.origin import CastContext, Origin
from geventuwsgi.errors import ConfigError, written

TAKEN = "taken"
DIFFERENT = "taken with a difference"
IGNORED = "ignored"
REFUSED = "refused"
UNKNOWN = "unknown"
WRONG = "wrong"
SKIPPED = "not read here"
ORDER = (TAKEN, DIFFERENT, IGNORED, SKIPPED, REFUSED, UNKNOWN, WRONG)
FAILING = (REFUSED, WRONG)
# Finds what would stop a start with some settings on this machine.
Prove = Callable[[Settings], Iterable[ConfigError]]


@dataclass(frozen=True)
class Line:
    """One line and its verdict.

    Attributes:
        file, line: where it stands; file is 'command line' or 'environment' for what stands
            in none, and None for the configuration as a whole.
        option, text: what was written; of the environment, the variable.
        verdict: one of `ORDER`.
        reasons: what to know about it.
    """

    file: str | None
    line: int | None
    option: str
    text: str | None
    verdict: str
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        said = self.option if not self.text else f"{self.option} = {self.text}"
        return f"{place}{said}: {self.verdict}" + "".join(f"\n    {one}" for one in self.reasons)


class ConfigReport:
    """The verdicts on a configuration.

    Args:
        lines: those of its lines.
        files: the files that were read.
        notes: what to know that is no one line's.
    """

    def __init__(self, lines: Iterable[Line], files: Sequence[str],
                 notes: Iterable[str] = ()) -> None:
        self.lines = list(lines)
        self.files = list(dict.fromkeys(files))
        self.notes = list(notes)
        self.counts = Counter(line.verdict for line in self.lines)

    @property
    def fine(self) -> bool:
        """Whether nothing is refused or wrong."""
        return not any(self.counts[verdict] for verdict in FAILING)

    def text(self) -> str:
        """All verdicts and a summary, for people."""
        counts = ", ".join(f"{self.counts[verdict]} {verdict}" for verdict in ORDER
                           if self.counts[verdict])
        told = [str(line) for line in self.lines] + [f"note: {note}" for note in self.notes]
        return "".join(f"{one}\n" for one in told) + (
            f"{len(self.lines)} line{'s' if len(self.lines) != 1 else ''}: {counts or 'nothing'}\n")

    def json(self) -> str:
        """The same for programs."""
        return json.dumps({
            "files": self.files, "lines": [asdict(line) for line in self.lines],
            "notes": self.notes,
            "summary": {verdict: self.counts[verdict] for verdict in ORDER},
            "ok": self.fine}, indent=2) + "\n"


def check(reading: Reading, failure: ConfigError | None,
          converted: Conversion | None = None, prove: Prove | None = None) -> ConfigReport:
    """Give each line of a configuration its verdict.

    Args:
        reading: what was read.
        failure: what ended the reading early, if anything did.
        converted: the settings file of gunicorn that it is; it needs to name neither an
            application nor a socket.
        prove: finds what would stop a start with the settings on this machine.
    """
    lines = [_treatment(entry, reading) for entry in reading.entries]
    notes: list[str] = []
    failures = [failure] if failure is not None else []
    if failure is None:
        notes, failures = _together(reading, lines, converted, prove or (lambda settings: ()))
    for one in reversed(reading.skipped):
        lines.insert(one.place, _skipped(one, reading))
    if converted is not None:
        lines += _converted(converted, reading.files[0])
    lines += [Line(one.file, one.line, one.option or "configuration", None, WRONG, (one.message,))
              for one in failures]
    return ConfigReport(lines, reading.files, notes)


def _together(reading: Reading, lines: list[Line], converted: Conversion | None,
              prove: Prove) -> tuple[list[str], list[ConfigError]]:
    """Look at how the lines go together; those that fail by themselves are left out.

    Returns:
        What is to be noted, and what is wrong with no one line.
    """
    failing = {index for index, line in enumerate(lines) if line.verdict in FAILING}
    # Without these others may look wrong, or of no use, that are not.
    missing = {name for index in failing for name in names(reading.entries[index])}
    leads = [_lead(entry.origin) for entry in reading.entries]
    known = len(reading.warnings)
    while True:
        rest = reading.without(failing)
        try:
            settings = resolve(rest)
            if not failing and converted is None:
                settings.require_application()
                settings.require_sockets()
        except ConfigError as error:
            at = places_of(error, reading, failing)
            told = not mentioned(missing, error.message)
            if not at:
                return [], [error] if told else []
            failing.update(at)
            missing.update(name for index in at for name in names(reading.entries[index]))
            if told:
                lines[at[-1]] = replace(lines[at[-1]], verdict=WRONG, reasons=(error.message,))
            continue
        finally:
            del reading.warnings[known:]
        _overridden(rest, reading, lines)
        notes = _attached((warning for warning in settings.warnings
                           if not mentioned(missing, warning)), lines, leads)
        left = []
        for found in prove(settings):
            at = places_of(found, reading, failing)
            if at:
                lines[at[-1]] = replace(lines[at[-1]], verdict=WRONG, reasons=(found.message,))
            else:
                left.append(found)
        return notes, left


def places_of(error: ConfigError, reading: Reading, failing: Collection[int]) -> list[int]:
    """Find the lines that an error is about."""
    place = (error.file, error.line, error.option)
    return [index for index, entry in enumerate(reading.entries) if index not in failing
            and (_file(entry.origin), entry.origin.line, entry.origin.option) == place]


def _file(origin: Origin) -> str | None:
    """Return what an error at this place has as its file."""
    return origin.file if origin.kind == "file" else origin.kind if origin.kind != "argv" else None


def names(entry: Entry) -> tuple[str, ...]:
    option = row(entry.key, entry.origin.uwsgi)
    return option.names if option is not None else ()


def mentioned(names: Iterable[str], message: str) -> bool:
    """Whether a message speaks of one of some options, which are not there."""
    words = set(re.findall(r"[\w-]+", message))
    return any(name in words for name in names)


def _overridden(rest: Reading, reading: Reading, lines: list[Line]) -> None:
    """Give the lines their verdict whose place a later one takes."""
    for lost, winner in overridden(rest):
        if lost == winner:
            continue  # a loop
        for index, entry in enumerate(reading.entries):
            if entry.origin is lost and entry.key not in reading.declared:
                lines[index] = replace(lines[index], verdict=IGNORED,
                                       reasons=(f"no effect: {_winner(winner, entry)} wins",))


def _winner(winner: Origin, entry: Entry) -> str:
    """Say which line takes the place of another."""
    if winner.kind == "environment":
        return f"{winner.option} of the environment"
    if winner.kind == "argv":
        return f"{written(winner.option)} on the command line"
    same = winner.file == entry.origin.file and winner.line is not None
    where = f"line {winner.line}" if same else winner.place
    return where if winner.option == entry.key else f"{winner.option} of {where}"


def _skipped(one: Skipped, reading: Reading) -> Line:
    """Tell of a line in a block that does not hold what becomes of it where that does."""
    line = _treatment(one.entry, reading)
    if line.verdict == WRONG and "(" in (one.entry.text or ""):
        return replace(line, verdict=SKIPPED, reasons=(one.why,))  # no reference is replaced
    return replace(line, verdict=SKIPPED,
                   reasons=(f"{one.why}; where it does: {line.verdict}", *line.reasons))


def _converted(converted: Conversion, path: str) -> list[Line]:
    """Tell of what a settings file says and does not say that is no line of an INI file."""
    lines = [_line(one.origin, one.name, one.text, one.verdict, one.reason)
             for one in converted.left]
    lines.sort(key=lambda line: line.line or 0)
    return lines + [Line(path, None, one.setting, "gunicorn's default", DIFFERENT,
                         (one.reason, f"--from writes {one.key} = {one.text}"))
                    for one in converted.added]


def _lead(origin: Origin) -> str:
    """Return what a warning of a line begins with."""
    return f"{origin.place}: {origin.option}: "


def _attached(warnings: Iterable[str], lines: list[Line], leads: Sequence[str]) -> list[str]:
    """Add the warnings to the lines that they tell of, and return those of no one line."""
    notes = []
    for warning in warnings:
        found = [index for index, lead in enumerate(leads) if warning.startswith(lead)]
        if not found and warning not in notes:
            notes.append(warning)
        for index in found:
            line, reason = lines[index], warning.removeprefix(leads[index])
            if reason.startswith(NO_EFFECT):
                lines[index] = replace(line, verdict=IGNORED, reasons=(reason,))
            elif line.verdict in (TAKEN, DIFFERENT) and reason not in line.reasons:
                lines[index] = replace(line, verdict=DIFFERENT, reasons=(*line.reasons, reason))
    return notes


def _line(origin: Origin, option: str, text: str | None, verdict: str, *reasons: str) -> Line:
    in_file = origin.kind == "file"
    if origin.kind == "environment" and origin.option != ARGUMENTS:
        option = origin.option or option  # the variable's name
    return Line(origin.file if in_file else origin.place, origin.line if in_file else None,
                option, text, verdict, tuple(reason for reason in reasons if reason))


def _treatment(entry: Entry, reading: Reading) -> Line:
    key, text, origin = entry.key, entry.text, entry.origin
    option = row(key, origin.uwsgi)
    if key in reading.declared:
        return _declared(entry, reading)
    if option is None:
        return _unknown(entry, reading)
    if option.status == "command":
        return _line(origin, key, text, IGNORED, COMMAND)
    if option.status == "refused":
        return _line(origin, key, text, REFUSED, option.reason)
    context = CastContext(origin, [])
    try:
        option.value_type.cast(text, context)
    except ConfigError as error:
        return _line(origin, key, text, WRONG, error.message)
    lead = _lead(origin)
    told = [warning.removeprefix(lead) for warning in dict.fromkeys(
        (*reading.warnings, *context.warnings)) if warning.startswith(lead)]
    if option.status == "ignored":
        return _line(origin, key, text, IGNORED, option.reason, *told)
    difference = _difference(option, entry)
    return _line(origin, key, text, DIFFERENT if difference or told else TAKEN, difference, *told)


def _difference(option: Option, entry: Entry) -> str:
    """Say how the effect of a line differs from that in the server whose line it is."""
    if entry.origin.uwsgi or option.name in GUNICORN_DIFFERENT or (
            option.name == "worker-class" and (entry.text or "").startswith("uvicorn")):
        return option.difference.replace("``", "")
    return ""


def _declared(entry: Entry, reading: Reading) -> Line:
    """Tell of a name of declare-option what becomes of the lines that it stands for."""
    try:
        lines = [_treatment(one, reading) for one in reading.expansion(entry)]
    except ConfigError as error:
        return _line(entry.origin, entry.key, entry.text, WRONG, error.message)
    worst = max((line.verdict for line in lines), key=ORDER.index, default=TAKEN)
    told = [f"{line.option} = {line.text or ''}: {line.verdict}" for line in lines]
    return _line(entry.origin, entry.key, entry.text, worst,
                 *(reason for line in lines for reason in line.reasons), *told)


def _unknown(entry: Entry, reading: Reading) -> Line:
    """Tell of a name that is no option: uWSGI's, a placeholder, or most likely a typo."""
    key, text, origin = entry.key, entry.text, entry.origin
    if key in reading.placeholders or (origin.uwsgi and key in reading.references):
        return _line(origin, key, text, TAKEN, "a placeholder")
    hint = suggest(key, text, origin.uwsgi)
    if origin.kind == "environment" and origin.option != ARGUMENTS:
        # It stops no server: other programs' variables may begin with our names.
        return _line(origin, key, text, UNKNOWN, "there is no such option", hint)
    if reading.strict or not origin.uwsgi:
        return _line(origin, key, text, WRONG, "there is no such option", hint)
    return _line(origin, key, text, UNKNOWN, "a placeholder that nothing refers to", hint)


# Settings of a configuration that does not stand as a whole, for --show-config.
#
# The lines that are refused are left out, one round after another, until the rest stands.
# Nothing is ever served with it.

def tolerant(reading: Reading, *, dev: bool = False) -> Settings:
    """Return what the lines that can be carried out make.

    Args:
        reading: everything that was read, with its late passes made.
        dev: as for `resolve`.

    Returns:
        The settings; `refusals` says what is wrong with the others.
    Raises:
        ConfigError: which is about no line that could be left out.
    """
    failing: set[int] = set()
    missing: set[str] = set()
    refusals: list[str] = []
    known = len(reading.warnings)
    while True:
        try:
            settings = resolve(reading.without(failing), dev=dev)
        except ConfigError as error:
            del reading.warnings[known:]
            found = {index for one in (error, *error.others)
                     for index in places_of(one, reading, failing)}
            if not found:
                raise
            # What another line says of one that is left out is no mistake of its own.
            refusals += [str(one) for one in (error, *error.others)
                         if not mentioned(missing, one.message)]
            failing |= found
            missing.update(name for index in found for name in names(reading.entries[index]))
        else:
            return settings.replace(refusals=tuple(dict.fromkeys(refusals)))
