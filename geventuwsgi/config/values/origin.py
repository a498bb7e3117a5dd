"""Where a value was set, and the messages about it.

An `Origin` goes with every value from its line to the settings. A `CastContext` is passed to a
`ValueType` with a text: it collects warnings and raises the error that names the place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from geventuwsgi.errors import ConfigError, UsageError


@dataclass(frozen=True)
class Origin:
    """Where a value was set.

    Args:
        kind: 'default', 'environment', 'file', 'argv' or 'serve()' (`keywords`).
        file: the configuration file, if it was one.
        line: its line, from 1.
        option: the name as written: an alias, a letter, a variable.
        section: the section of the file ('uwsgi', 'geventuwsgi' or the one named by FILE:SECTION).
    """

    kind: str = "default"
    file: str | None = None
    line: int | None = None
    option: str | None = None
    section: str | None = None

    @property
    def uwsgi(self) -> bool:
        """Whether uWSGI's rules apply, as in its sections and its variables."""
        if self.kind == "file":
            return self.section != "geventuwsgi"
        return self.kind == "environment" and (self.option or "").startswith("UWSGI_")

    @property
    def place(self) -> str:
        """The place for messages: `app.ini:3`, `environment`, `command line`, `serve()`."""
        if self.kind == "file":
            return f"{self.file}:{self.line}" if self.line else str(self.file)
        return {"argv": "command line"}.get(self.kind, self.kind)

    def error(self, message: str) -> ConfigError:
        """Return an error that names this place; for the command line a `UsageError`."""
        if self.kind == "argv":
            return UsageError(message, option=self.option)
        file = self.file if self.kind == "file" else self.kind
        return ConfigError(message, file=file, line=self.line, option=self.option)

    def warning(self, message: str) -> str:
        """Return a warning that names this place, and the option as it is written there."""
        return f"{self.place}: {self.option}: {message}"

    def failure(self, message: str) -> ConfigError:
        """Return an error for a correct line that cannot be done now, never a `UsageError`."""
        if self.kind == "argv":
            return ConfigError(message, option=self.option)
        return self.error(message)


def places(name: str, values: Mapping[str, Any], origins: Mapping[str, Origin],
           items: Mapping[str, Sequence[Origin]]) -> list[tuple[Any, Origin]]:
    """Return the items of a repeatable option, each with the place where it was set.

    Args:
        name: the option's attribute.
        values, origins, items: of all options; `items` has those of repeatable ones by item.
    """
    found = items.get(name) or [origins.get(name, Origin())] * len(values[name])
    return list(zip(values[name], found))


@dataclass
class CastContext:
    """The origin of a text that is cast, and the list of warnings."""

    origin: Origin
    warnings: list[str] = field(default_factory=list)

    def warn(self, message: str) -> None:
        """Add a warning about this line."""
        self.warnings.append(self.origin.warning(message))

    def fail(self, message: str) -> NoReturn:
        """Refuse the text, naming file, line and option."""
        raise self.origin.error(message)
