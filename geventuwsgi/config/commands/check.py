"""--check-config: how each line of a configuration is treated; and --show-config with wrong lines.

Each line that was read gets one status, and reasons that say what to change or what to expect.
Nothing is started.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from geventuwsgi.config.commands.from_gunicorn import Conversion
from geventuwsgi.config.options.aliases import GUNICORN_DIFFERENT
from geventuwsgi.config.options.option import Entry, Option
from geventuwsgi.config.options.table import NO_SUCH_OPTION, row, suggest
from geventuwsgi.config.resolve.concurrency import NO_EFFECT, PER, meaning, summary
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
STATUSES = (TAKEN, DIFFERENT, IGNORED, SKIPPED, REFUSED, UNKNOWN, WRONG)
FAILING = (REFUSED, WRONG)


class Finding(NamedTuple):
    """Something that this machine lacks.

    Attributes:
        error: what, and for which option.
        value: the value that needs it, if the option may be repeated; "" = the last.
        stops: whether it would stop the startup.
    """

    error: ConfigError
    value: str = ""
    stops: bool = True


Preflight = Callable[[Settings], Iterable[Finding]]


@dataclass(frozen=True)
class Line:
    """One line and its status.

    Attributes:
        file, line: its place; file is 'command line' or 'environment' for those, and None for
            the configuration as a whole.
        option, text: the line as written; for the environment, the variable.
        status: one of `STATUSES`.
        reasons: why it has this status.
    """

    file: str | None
    line: int | None
    option: str
    text: str | None
    status: str
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        line = self.option if not self.text else f"{self.option} = {self.text}"
        return f"{place}{line}: {self.status}" + "".join(f"\n    {one}" for one in self.reasons)


class ConfigReport:
    """The report on a configuration.

    Args:
        lines: its lines with their status.
        files: the files that were read.
        notes: messages that do not belong to a line.
        requests: how a worker runs requests; None if that is not known.
    """

    def __init__(self, lines: Iterable[Line], files: Sequence[str], notes: Iterable[str] = (),
                 requests: str | None = None) -> None:
        self.lines = list(lines)
        self.files = list(dict.fromkeys(files))
        self.notes = list(notes)
        self.requests = requests
        self.counts = Counter(line.status for line in self.lines)

    @property
    def fine(self) -> bool:
        """Whether nothing is refused or wrong."""
        return not any(self.counts[status] for status in FAILING)

    def text(self) -> str:
        """The report as text, with a summary."""
        counts = ", ".join(f"{self.counts[status]} {status}" for status in STATUSES
                           if self.counts[status])
        blocks = [str(line) for line in self.lines] + [f"note: {note}" for note in self.notes]
        if self.requests is not None:
            blocks.append(f"requests: {self.requests}")
        return "".join(f"{block}\n" for block in blocks) + (
            f"{len(self.lines)} line{'s' if len(self.lines) != 1 else ''}: {counts or 'nothing'}\n")

    def json(self) -> str:
        """The report as JSON."""
        return json.dumps({
            "files": self.files, "lines": [asdict(line) for line in self.lines],
            "notes": self.notes, "requests": self.requests,
            "summary": {status: self.counts[status] for status in STATUSES},
            "ok": self.fine}, indent=2) + "\n"


def check(reading: Reading, failure: ConfigError | None,
          converted: Conversion | None = None, preflight: Preflight | None = None) -> ConfigReport:
    """Report on each line of a configuration.

    Args:
        reading: the lines that were read.
        failure: the error that ended the reading early, if there was one.
        converted: set for a settings file of gunicorn, which needs neither an application nor a
            socket.
        preflight: yields what this machine lacks.
    """
    lines = [_report(entry, reading) for entry in reading.entries]
    notes: list[str] = []
    failures = [failure] if failure is not None else []
    settings = None
    if failure is None:
        settings, notes, failures = _check_combination(reading, lines, converted,
                                                       preflight or (lambda settings: ()))
    for one in reversed(reading.skipped):
        lines.insert(one.position, _skipped(one, reading))
    if converted is not None:
        lines += _converted(converted, reading.files[0])
    lines += [Line(one.file, one.line, one.option or "configuration", None, WRONG, (one.message,))
              for one in failures]
    requests = None
    if settings is not None and not settings.standalone:
        requests = summary(settings, PER).replace("one request at", "one at")
    return ConfigReport(lines, reading.files, notes, requests)


def _check_combination(reading: Reading, lines: list[Line], converted: Conversion | None,
                       preflight: Preflight,
                       ) -> tuple[Settings | None, list[str], list[ConfigError]]:
    """Check the lines together, without those that are wrong by themselves.

    Returns:
        The settings, if there are any, and the messages and errors that do not belong to a line.
    """
    failing = {index for index, line in enumerate(lines) if line.status in FAILING}
    # Without these options others may seem wrong or without effect.
    missing = {name for index in failing for name in names(reading.entries[index])}
    prefixes = [_prefix(entry.origin) for entry in reading.entries]
    known = len(reading.warnings)
    while True:
        rest = reading.without(failing)
        try:
            settings = resolve(rest)
            if not failing and converted is None:
                settings.require_application()
                settings.require_sockets()
        except ConfigError as error:
            at = lines_of(error, reading, failing)
            genuine = not mentioned(missing, error.message)
            if not at:
                return None, [], [error] if genuine else []
            failing.update(at)
            missing.update(name for index in at for name in names(reading.entries[index]))
            if genuine:
                lines[at[-1]] = replace(lines[at[-1]], status=WRONG, reasons=(error.message,))
            continue
        finally:
            del reading.warnings[known:]
        _overridden(rest, reading, lines)
        notes = _assign_warnings((warning for warning in settings.warnings
                                  if not mentioned(missing, warning)), lines, prefixes)
        others = []
        for found in preflight(settings):
            at = _lines_of_value(found.value, lines_of(found.error, reading, failing), reading)
            if not at and found.stops:
                others.append(found.error)
            elif not at:
                notes.append(found.error.message)
            elif found.stops:
                lines[at[-1]] = replace(lines[at[-1]], status=WRONG,
                                        reasons=(found.error.message,))
            else:
                lines[at[-1]] = replace(lines[at[-1]], reasons=(*lines[at[-1]].reasons,
                                                                found.error.message))
        if converted is not None:
            if converted.settings is None:
                return None, notes, others
            settings = converted.settings
        _add_meanings(settings, reading, lines)
        return settings, notes, others


def _add_meanings(settings: Settings, reading: Reading, lines: list[Line]) -> None:
    """Add to the lines with an effect what they mean for how requests run."""
    for index, entry in enumerate(reading.entries):
        option = row(entry.key, entry.origin.uwsgi)
        if option is not None and lines[index].status in (TAKEN, DIFFERENT):
            means = meaning(option, settings)
            if means:
                lines[index] = replace(lines[index], reasons=(means, *lines[index].reasons))


def lines_of(error: ConfigError, reading: Reading, failing: Collection[int]) -> list[int]:
    """Find the lines that an error is about."""
    place = (error.file, error.line, error.option)
    return [index for index, entry in enumerate(reading.entries) if index not in failing
            and (_file(entry.origin), entry.origin.line, entry.origin.option) == place]


def _lines_of_value(value: str, at: list[int], reading: Reading) -> list[int]:
    """Find the line with a value of an option that has others in the lines `at`; a relative path
    in it may have been made absolute."""
    if not (value and at):
        return at
    option = names(reading.entries[at[-1]])
    same = [index for index, entry in enumerate(reading.entries) if names(entry) == option]
    for part in (value, os.path.basename(value)):
        if found := [index for index in same if part in (reading.entries[index].text or "")]:
            return found
    return at


def _file(origin: Origin) -> str | None:
    """Return the `file` of an error at this place."""
    return origin.file if origin.kind == "file" else origin.kind if origin.kind != "argv" else None


def names(entry: Entry) -> tuple[str, ...]:
    option = row(entry.key, entry.origin.uwsgi)
    return option.names if option is not None else ()


def mentioned(names: Iterable[str], message: str) -> bool:
    """Whether a message mentions one of these options."""
    words = set(re.findall(r"[\w-]+", message))
    return any(name in words for name in names)


def _overridden(rest: Reading, reading: Reading, lines: list[Line]) -> None:
    """Set the status of lines that a later one replaces."""
    for lost, winner in overridden(rest):
        if lost == winner:
            continue  # a loop
        for index, entry in enumerate(reading.entries):
            if entry.origin is lost and entry.key not in reading.declared:
                lines[index] = replace(lines[index], status=IGNORED,
                                       reasons=(f"no effect: {_winner(winner, entry)} wins",))


def _winner(winner: Origin, entry: Entry) -> str:
    """Return the place of the line that replaces another, for a message."""
    if winner.kind == "environment":
        return f"{winner.option} in the environment"
    if winner.kind == "argv":
        return f"{written(winner.option)} on the command line"
    same = winner.file == entry.origin.file and winner.line is not None
    where = f"line {winner.line}" if same else winner.place
    return where if winner.option == entry.key else f"{winner.option} in {where}"


def _skipped(one: Skipped, reading: Reading) -> Line:
    """Report on a line in a block whose condition is false."""
    line = _report(one.entry, reading)
    if line.status == WRONG and "(" in (one.entry.text or ""):
        return replace(line, status=SKIPPED, reasons=(one.why,))  # its references are not replaced
    return replace(line, status=SKIPPED,
                   reasons=(f"{one.why}; otherwise: {line.status}", *line.reasons))


def _converted(converted: Conversion, path: str) -> list[Line]:
    """Report on settings that are not converted, and on gunicorn's defaults that are added."""
    lines = [_line(one.origin, one.name, one.text, one.status, one.reason)
             for one in converted.unconverted]
    lines.sort(key=lambda line: line.line or 0)
    return lines + [Line(path, None, one.setting, "gunicorn's default", DIFFERENT,
                         (one.reason, f"--from writes {one.key} = {one.text}"))
                    for one in converted.added]


def _prefix(origin: Origin) -> str:
    """Return the prefix of a warning about a line."""
    return f"{origin.place}: {origin.option}: "


def _assign_warnings(warnings: Iterable[str], lines: list[Line],
                     prefixes: Sequence[str]) -> list[str]:
    """Add warnings to the lines they are about, and return the others."""
    notes = []
    for warning in warnings:
        found = [index for index, prefix in enumerate(prefixes) if warning.startswith(prefix)]
        if not found and warning not in notes:
            notes.append(warning)
        for index in found:
            line, reason = lines[index], warning.removeprefix(prefixes[index])
            if reason.startswith(NO_EFFECT):
                lines[index] = replace(line, status=IGNORED, reasons=(reason,))
            elif line.status in (TAKEN, DIFFERENT) and reason not in line.reasons:
                lines[index] = replace(line, status=DIFFERENT, reasons=(*line.reasons, reason))
    return notes


def _line(origin: Origin, option: str, text: str | None, status: str, *reasons: str) -> Line:
    in_file = origin.kind == "file"
    if origin.kind == "environment" and origin.option != ARGUMENTS:
        option = origin.option or option  # the variable's name
    return Line(origin.file if in_file else origin.place, origin.line if in_file else None,
                option, text, status, tuple(reason for reason in reasons if reason))


def _report(entry: Entry, reading: Reading) -> Line:
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
    prefix = _prefix(origin)
    warnings = [warning.removeprefix(prefix) for warning in dict.fromkeys(
        (*reading.warnings, *context.warnings)) if warning.startswith(prefix)]
    if option.status == "ignored":
        return _line(origin, key, text, IGNORED, option.reason, *warnings)
    difference = _difference(option, entry)
    return _line(origin, key, text, DIFFERENT if difference or warnings else TAKEN, difference,
                 *warnings)


def _difference(option: Option, entry: Entry) -> str:
    """Return how the effect of a line differs from that in the server it was written for."""
    if entry.origin.uwsgi or option.name in GUNICORN_DIFFERENT or (
            option.name == "worker-class" and (entry.text or "").startswith("uvicorn")):
        return option.difference.replace("``", "")
    return ""


def _declared(entry: Entry, reading: Reading) -> Line:
    """Report on a line with an option of declare-option, by the lines that replace it."""
    try:
        lines = [_report(one, reading) for one in reading.expansion(entry)]
    except ConfigError as error:
        return _line(entry.origin, entry.key, entry.text, WRONG, error.message)
    if entry.key in reading.references and all(line.status == UNKNOWN for line in lines):
        # Debian's default.ini declares options only to refer to their values.
        return _line(entry.origin, entry.key, entry.text, TAKEN, "a placeholder")
    worst = max((line.status for line in lines), key=STATUSES.index, default=TAKEN)
    statuses = [f"{line.option} = {line.text or ''}: {line.status}" for line in lines]
    return _line(entry.origin, entry.key, entry.text, worst,
                 *(reason for line in lines for reason in line.reasons), *statuses)


def _unknown(entry: Entry, reading: Reading) -> Line:
    """Report on an unknown name: a placeholder, or most likely a typing error."""
    key, text, origin = entry.key, entry.text, entry.origin
    if key in reading.placeholders or (origin.uwsgi and key in reading.references):
        return _line(origin, key, text, TAKEN, "a placeholder")
    hint = suggest(key, text, origin.uwsgi)
    if origin.kind == "environment" and origin.option != ARGUMENTS:
        # It does not stop the server: other programs' variables may begin with our names.
        return _line(origin, key, text, UNKNOWN, NO_SUCH_OPTION, hint)
    if reading.strict or not origin.uwsgi:
        return _line(origin, key, text, WRONG, NO_SUCH_OPTION, hint)
    return _line(origin, key, text, UNKNOWN, "a placeholder that nothing refers to", hint)


def tolerant(reading: Reading, *, dev: bool = False) -> Settings:
    """Resolve a configuration without its wrong lines, for --show-config.

    Wrong lines are left out, one round after another, until the rest can be resolved.

    Args:
        reading: all lines, after `finish`.
        dev: as for `resolve`.

    Returns:
        The settings; `refusals` are the errors of the other lines.
    Raises:
        ConfigError: for an error that does not belong to a line.
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
                     for index in lines_of(one, reading, failing)}
            if not found:
                raise
            # An error that mentions an omitted option may only be due to that.
            refusals += [str(one) for one in (error, *error.others)
                         if not mentioned(missing, one.message)]
            failing |= found
            missing.update(name for index in found for name in names(reading.entries[index]))
        else:
            return settings.replace(refusals=tuple(dict.fromkeys(refusals)))
