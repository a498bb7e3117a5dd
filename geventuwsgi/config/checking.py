"""--check-config: what becomes of each line of a configuration, before it is served.

The rules of this room: every line that was read has one verdict, in the words the operator
needs: what to change, or what to expect. Nothing is started.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from geventuwsgi.config.environment import ARGUMENTS
from geventuwsgi.config.conversion import Conversion
from geventuwsgi.config.option import Entry, Option
from geventuwsgi.config.origin import Case, Origin
from geventuwsgi.config.reading import Reading
from geventuwsgi.config.rows_uwsgi import absent
from geventuwsgi.config.resolving import COMMAND, resolve
from geventuwsgi.config.rows_gunicorn import DIFFERENT as GUNICORN_DIFFERENT
from geventuwsgi.config.table import meant, row
from geventuwsgi.errors import ConfigError

TAKEN = "taken"
DIFFERENT = "taken with a difference"
IGNORED = "ignored"
REFUSED = "refused"
UNKNOWN = "unknown"
WRONG = "wrong"
ORDER = (TAKEN, DIFFERENT, IGNORED, REFUSED, UNKNOWN, WRONG)
FAILING = (REFUSED, WRONG)


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


class Report:
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
          converted: Conversion | None = None) -> Report:
    """Give each line of a configuration its verdict.

    Args:
        reading: what was read.
        failure: what ended the reading early, if anything did.
        converted: the settings file of gunicorn that it is; it needs to name neither an
            application nor a socket.
    """
    lines = [_verdict(entry, reading) for entry in reading.entries]
    leads = [_lead(entry.origin) for entry in reading.entries]
    notes: list[str] = []
    left = converted.left if converted is not None else []
    told = [line.verdict for line in lines] + [one.verdict for one in left]
    if failure is None and not any(verdict in FAILING for verdict in told):
        # Each line is good by itself; are they together?
        try:
            known = len(reading.warnings)
            settings = resolve(reading)
            del reading.warnings[known:]
            notes = _attached(settings.warnings, lines, leads)
            if converted is None:
                settings.require_application()
                settings.require_sockets()
        except ConfigError as error:
            failure = error
    if converted is not None:
        lines += _converted(converted, reading.files[0])
    if failure is not None:
        lines.append(Line(failure.file, failure.line, failure.option or "configuration", None,
                          WRONG, (failure.message,)))
    return Report(lines, reading.files, notes)


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
            if line.verdict in (TAKEN, DIFFERENT) and reason not in line.reasons:
                lines[index] = replace(line, verdict=DIFFERENT, reasons=(*line.reasons, reason))
    return notes


def _line(origin: Origin, option: str, text: str | None, verdict: str, *reasons: str) -> Line:
    in_file = origin.kind == "file"
    if origin.kind == "environment" and origin.option != ARGUMENTS:
        option = origin.option or option  # the variable's name
    return Line(origin.file if in_file else origin.place, origin.line if in_file else None,
                option, text, verdict, tuple(reason for reason in reasons if reason))


def _verdict(entry: Entry, reading: Reading) -> Line:
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
    case = Case(origin, [])
    try:
        option.kind.cast(text, case)
    except ConfigError as error:
        return _line(origin, key, text, WRONG, error.message)
    lead = _lead(origin)
    told = [warning.removeprefix(lead) for warning in dict.fromkeys(
        (*reading.warnings, *case.warnings)) if warning.startswith(lead)]
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
        lines = [_verdict(one, reading) for one in reading.stands_for(entry)]
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
    if absent(key):
        return _line(origin, key, text, REFUSED,
                     "this server does not have this option of uWSGI: the line has no effect")
    hint = meant(key, text, origin.uwsgi)
    if reading.strict or not origin.uwsgi:
        return _line(origin, key, text, WRONG, "there is no such option", hint)
    return _line(origin, key, text, UNKNOWN, "a placeholder that nothing refers to", hint)
