"""The exceptions of this server, in one tree: who caused them, and the status that follows.

An error of the operator has the exit status of the process (`exit_status`), which `cli` uses. An
error of the client or the application has an HTTP status (`status`), which `protocol.response`
turns into a response. This module imports no other of the package.
"""

import sys
from collections.abc import Iterable


class GeventuwsgiError(Exception):
    """Base class of the errors that this server raises.

    Attributes:
        exit_status: of a process that cannot continue because of the error.
        fallback: the configuration to try next (`fallback-config`).
    """

    exit_status = 1
    fallback: str | None = None


def written(option: str | None) -> str:
    """Format an option as on the command line: `--name`, or `-n` for a letter."""
    return ("--" if len(option or "") > 1 else "-") + (option or "")


def print_warnings(warnings: Iterable[str]) -> None:
    """Print warnings of a configuration on the standard error, where there is no log yet."""
    for warning in warnings:
        print(f"geventuwsgi: warning: {warning}", file=sys.stderr)


class ConfigError(GeventuwsgiError):
    """The configuration is wrong or cannot be applied (exit status 1).

    Args:
        message: what is wrong, in one sentence, without the place.
        file: the configuration file, if the value came from one.
        line: its line number, from 1.
        option: the option's name as it was written.

    Attributes:
        others: errors of further lines.
    """

    def __init__(self, message: str, *, file: str | None = None,
                 line: int | None = None, option: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.option = option
        self.others: tuple["ConfigError", ...] = ()

    def __str__(self) -> str:
        place = ""
        if self.file is not None:
            place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: "
        elif self.option is not None:
            return f"{written(self.option)}: {self.message}"
        if self.option is not None:
            place += f"{self.option}: "
        return place + self.message


class ConfigurationEnd(ConfigError):
    """The configuration ends the start with its own status (`exit = N`)."""

    def __init__(self, status: int, *, file: str | None, line: int | None,
                 option: str | None) -> None:
        super().__init__(f"the configuration ends the start here, with status {status}",
                         file=file, line=line, option=option)
        self.exit_status = status


class UsageError(ConfigError):
    """The command line is wrong (exit status 2, as with argparse and click)."""

    exit_status = 2


class BindError(GeventuwsgiError):
    """A socket could not be bound or inherited (exit status 1).

    Attributes:
        address: of the socket, as it was written; "" if it is not known.
    """

    address = ""


class NoAnswer(GeventuwsgiError):
    """A master that runs has refused a command, or did not answer it in time (exit status 1)."""


class BootError(GeventuwsgiError):
    """The workers could not start (exit status 3, gunicorn's WORKER_BOOT_ERROR).

    Args:
        message: what is wrong, in one sentence.
        traceback: as of `AppLoadError`.
    """

    exit_status = 3

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class HookError(GeventuwsgiError):
    """A hook failed during the start (exit status 1, as in uWSGI)."""


class AppLoadError(GeventuwsgiError):
    """The application could not be imported or found (exit status 4, gunicorn's APP_LOAD_ERROR).

    Args:
        message: what is wrong, in one sentence.
        traceback: the application's traceback as text without frames of this server, or "".
    """

    exit_status = 4

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class NoCallableError(AppLoadError):
    """A module was imported, but has no application."""


class ProtocolError(GeventuwsgiError):
    """The client sent something that the protocol forbids or that exceeds a limit.

    Args:
        status: the HTTP status code of the response (RFC 9110 section 15).
        reason: why, for the log; never sent to the client.
        fields: header fields that the status requires.
    """

    def __init__(self, status: int, reason: str, fields: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(f"{reason} ({status})")
        self.status = status
        self.reason = reason
        self.fields = fields


class NotOurProtocol(ProtocolError):
    """Bytes of another protocol; the connection is closed without a response."""


class Overloaded(ProtocolError):
    """All slots of the worker are in use and its queue is full (`queue-limit`)."""

    def __init__(self) -> None:
        super().__init__(503, "all slots are busy and the queue is full")


class ResponseError(GeventuwsgiError):
    """The application's response is invalid and cannot be sent (500)."""

    status = 500


class ClientDisconnected(OSError):
    """The client disconnected or stopped sending during a request or a response.

    An `OSError`, as uWSGI raises from `wsgi.input.read()`, so that applications written for it
    handle this one too.
    """


class RequestOver(ClientDisconnected):
    """The application uses a request that is over."""

    def __init__(self) -> None:
        super().__init__("the request is over")


class Harakiri(BaseException):
    """A request exceeded `harakiri` seconds; raised in its greenlet.

    Not an `Exception`, so that a broad `except Exception` in the application does not keep the
    request alive.
    """


class RequestCancelled(BaseException):
    """The client disconnected while the application worked on its request (`cancel-on-disconnect`).

    Raised in the request's greenlet, wherever it waits. Applications may catch it to clean up,
    and should raise it again: no client is left to read a response. Like
    `asyncio.CancelledError` it is not an `Exception`, so that a broad `except Exception` around
    a query does not mistake it for a database error.
    """
