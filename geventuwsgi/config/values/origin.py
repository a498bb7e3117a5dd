"""Where a value came from, and what is told of it.

An `Origin` goes with every value from the line to the settings. A `CastContext` is one text on its
way through a kind: it takes warnings and makes the error that names the place.
"""

from dataclasses import dataclass, field
from typing import NoReturn

from geventuwsgi.errors import ConfigError, UsageError


@dataclass(frozen=True)
class Origin:
    """Where a value came from.

    Args:
        kind: 'default', 'environment', 'file', 'argv' or 'serve()' (`keywords`).
        file: the configuration file, where it was one.
        line: its line, from 1.
        option: the name as it was written: an alias, a letter, a variable.
        section: the section of the file ('uwsgi', 'geventuwsgi' or one asked for by name).
    """

    kind: str = "default"
    file: str | None = None
    line: int | None = None
    option: str | None = None
    section: str | None = None

    @property
    def uwsgi(self) -> bool:
        """Whether uWSGI's own reading applies: its sections and its variables."""
        if self.kind == "file":
            return self.section != "geventuwsgi"
        return self.kind == "environment" and (self.option or "").startswith("UWSGI_")

    @property
    def place(self) -> str:
        """Say where, for people: `app.ini:3`, `environment`, `command line`, `serve()`."""
        if self.kind == "file":
            return f"{self.file}:{self.line}" if self.line else str(self.file)
        return {"argv": "command line"}.get(self.kind, self.kind)

    def error(self, message: str) -> ConfigError:
        """Make the error that names this place; a wrong command line is a `UsageError`."""
        if self.kind == "argv":
            return UsageError(message, option=self.option)
        file = self.file if self.kind == "file" else self.kind
        return ConfigError(message, file=file, line=self.line, option=self.option)

    def failure(self, message: str) -> ConfigError:
        """Make the error of what is well written and cannot be done now: none of usage."""
        if self.kind == "argv":
            return ConfigError(message, option=self.option)
        return self.error(message)


@dataclass
class CastContext:
    """One text to be cast: its origin, and the list that takes the warnings."""

    origin: Origin
    warnings: list[str] = field(default_factory=list)

    def warn(self, message: str) -> None:
        """Note what the operator should know of this line."""
        self.warnings.append(f"{self.origin.place}: {self.origin.option}: {message}")

    def fail(self, message: str) -> NoReturn:
        """Refuse the text, naming file, line and option."""
        raise self.origin.error(message)
