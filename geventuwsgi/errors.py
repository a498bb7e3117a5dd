"""All that may go wrong, one small tree: whose fault it is, and what follows from it.

An error of the operator knows the exit status of the process (`exit_status`); an
error of the peer or of the application knows the HTTP status it deserves
(`status`). One room turns the latter into responses (`protocol.response`), one
turns the former into exit codes (`cli`). Nothing here imports anything of ours.
"""


class GeventuwsgiError(Exception):
    """Anything this server raises on purpose.

    `exit_status` is what a process that cannot go on because of it ends with; `fallback`
    the configuration that is to be tried then (`fallback-config`).
    """

    exit_status = 1
    fallback: str | None = None


def written(option: str | None) -> str:
    """Write an option as on the command line: `--name`, or `-n` for a letter."""
    return ("--" if len(option or "") > 1 else "-") + (option or "")


class ConfigError(GeventuwsgiError):
    """The operator's configuration cannot be carried out (exit status 1).

    Args:
        message: what is wrong, in one sentence, without the place.
        file: the configuration file, where the value came from one.
        line: its line number, from 1.
        option: the option's name as it was written.

    `others` are the further lines that cannot be carried out either.
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
    """The configuration itself ends the start, with a status of its own (`exit = N`)."""

    def __init__(self, status: int, *, file: str | None, line: int | None,
                 option: str | None) -> None:
        super().__init__(f"the configuration ends the start here, with status {status}",
                         file=file, line=line, option=option)
        self.exit_status = status


class UsageError(ConfigError):
    """The command line itself is wrong (exit status 2, as argparse and click)."""

    exit_status = 2


class BindError(GeventuwsgiError):
    """A socket could not be bound or inherited (exit status 1)."""


class BootError(GeventuwsgiError):
    """The workers could not boot (exit status 3, as gunicorn's WORKER_BOOT_ERROR).

    Args:
        message: what is wrong, in one sentence.
        traceback: as of `AppLoadError`.
    """

    exit_status = 3

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class HookError(GeventuwsgiError):
    """A hook of the start failed (exit status 1, as in uWSGI)."""


class AppLoadError(GeventuwsgiError):
    """The application could not be imported or found.

    The exit status is 4, as gunicorn's APP_LOAD_ERROR.

    Args:
        message: what is wrong, in one sentence.
        traceback: the application's traceback as text without frames of this server, or
            "" where there is nothing to see in one.
    """

    exit_status = 4

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class ProtocolError(GeventuwsgiError):
    """The peer sent what its protocol forbids or what a limit refuses.

    Args:
        status: the HTTP status code that answers it (RFC 9110 section 15).
        reason: why, for the log; never shown to the peer.
        fields: header fields that the status requires.
    """

    def __init__(self, status: int, reason: str, fields: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(f"{reason} ({status})")
        self.status = status
        self.reason = reason
        self.fields = fields


class NotOurProtocol(ProtocolError):
    """Bytes of another protocol altogether; the connection is closed without an answer."""


class Overloaded(ProtocolError):
    """The worker has no free slot, and as many requests wait as may (`queue-limit`)."""

    def __init__(self) -> None:
        super().__init__(503, "all slots are busy and the queue is full")


class ResponseError(GeventuwsgiError):
    """The application's response cannot be sent as it stands (500)."""

    status = 500


class ClientDisconnected(OSError):
    """The client went away, or stopped sending, in the middle of a request or a response.

    An `OSError`, so that an application that guards its `wsgi.input.read()` as
    it does under uWSGI goes on working.
    """


class Harakiri(BaseException):
    """A request exceeded `harakiri` seconds; raised in its greenlet.

    Not an `Exception`, so that an application's broad `except Exception`
    cannot keep the request alive.
    """


class RequestCancelled(BaseException):
    """The client went away while the application worked for it (`cancel-on-disconnect`).

    Raised in the request's greenlet, wherever it waits. Applications may catch it to undo
    what they have begun, and should let it pass: nobody reads their answer any more. Not
    an `Exception`, as `asyncio.CancelledError` is none: a broad `except Exception` around
    a query must not take it for a failure of the database.
    """
