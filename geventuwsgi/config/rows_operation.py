"""The rows of operating an instance: what it waits for at a start, and who may order it about."""

from geventuwsgi.config.kinds import Many, Path
from geventuwsgi.config.option import Option

_OPERATION = "Operation"

OPERATION: tuple[Option, ...] = (
    Option("master-fifo", Many(Path()), "take orders of one character from a named pipe; may be "
           "repeated, for up to ten slots", _OPERATION, default=(), merge=True,
           difference="``R``, ``w`` and ``W`` are graceful reloads of the whole, and what is no "
                      "order is told in the log"),
    Option("pause", Path(), "have the workers of this pid file's server take no connections, "
           "then end", _OPERATION, aliases=("suspend",), status="command",
           difference="a second order changes nothing; there it is what resumes"),
    Option("resume", Path(), "have them take connections again, then end", _OPERATION,
           status="command", difference="of workers that do not pause it changes nothing"),
)
