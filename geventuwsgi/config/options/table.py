"""Every option, one row: the only place where an option is written down.

uWSGI's names come first, gunicorn's are aliases. The rows are in the order of `--help`
and of the reference. `rows_uwsgi` holds the rows of uWSGI's options that have no effect
here, each with its reason.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from geventuwsgi.config.options.aliases import GUNICORN_ROWS, UVICORN_ROWS
from geventuwsgi.config.options.application import (
    APPLICATION, ASGI, PYTHON, PYTHON_PROCESSES, PYTHON_ROWS,
)
from geventuwsgi.config.options.configuration import CONFIGURATION, DIALECT, LOGIC
from geventuwsgi.config.options.hooks import ROWS as HOOKS_ROWS
from geventuwsgi.config.options.hooks import WITHOUT
from geventuwsgi.config.options.logging import LOGGING, LOGGING_ROWS, WITHOUT_ALARMS
from geventuwsgi.config.options.option import Option
from geventuwsgi.config.options.processes import (
    CHEAPER, DEVELOPMENT, MORE_SOCKETS, OPERATION, OPERATION_ROWS, PROCESSES, RECYCLING, RELOAD,
    RIGHTS,
)
from geventuwsgi.config.options.requests import (
    HTTP_REQUESTS, HTTP_RESPONSES, HTTP_ROWS, HTTP_SOCKETS, REQUESTS, RESPONSES, STUCK, TRUST,
)
from geventuwsgi.config.options.router import ROUTER, SUBSCRIPTION
from geventuwsgi.config.options.rules import ROUTES
from geventuwsgi.config.options.sockets import SOCKETS, TLS
from geventuwsgi.config.options.static import STATIC
from geventuwsgi.config.options.unsupported import FACILITY_ROWS, ROUTERS_ROWS, UWSGI_ROWS

OPTIONS: tuple[Option, ...] = (
    *CONFIGURATION,
    *DIALECT,
    *APPLICATION,
    *PYTHON,
    *ASGI,
    *SOCKETS,
    *HTTP_SOCKETS,
    *MORE_SOCKETS,
    *TLS,
    *PROCESSES,
    *PYTHON_PROCESSES,
    *RIGHTS,
    *ROUTER,
    *SUBSCRIPTION,
    *RELOAD,
    *DEVELOPMENT,
    *RECYCLING,
    *CHEAPER,
    *HOOKS_ROWS,
    *OPERATION,
    *REQUESTS,
    *HTTP_REQUESTS,
    *STUCK,
    *TRUST,
    *RESPONSES,
    *HTTP_RESPONSES,
    *STATIC,
    *ROUTES,
    *LOGGING,
    *LOGGING_ROWS,
    *LOGIC,
    *UWSGI_ROWS,
    *HTTP_ROWS,
    *PYTHON_ROWS,
    *ROUTERS_ROWS,
    *FACILITY_ROWS,
    *OPERATION_ROWS,
    *GUNICORN_ROWS,
    *UVICORN_ROWS,
    *WITHOUT,
    *WITHOUT_ALARMS,
)

BY_NAME: Mapping[str, Option] = MappingProxyType(
    {name: option for option in OPTIONS for name in option.names})
BY_LETTER: Mapping[str, Option] = MappingProxyType(
    {letter: option for option in OPTIONS for letter in option.letters})


def row(name: str, uwsgi: bool = False) -> Option | None:
    """Find the row of a name.

    Args:
        name: a long name.
        uwsgi: whether it stands in a [uwsgi] section or a `UWSGI_*` variable, where
            gunicorn's names are placeholders.
    """
    option = BY_NAME.get(name)
    if option is None or (uwsgi and (name in option.gunicorn or not option.everywhere)):
        return None
    return option


def nearest(name: str, uwsgi: bool = False, likeness: float = 0.75,
            among: Iterable[str] = ()) -> str | None:
    """Return the option that a mistyped name most likely means.

    Args:
        name: the name.
        uwsgi: as for `row`.
        likeness: how alike both have to be. With 0.75 `vaccum`, `process` and `chmod-sock` are
            found, `project` is not.
        among: other names than those of the table.
    """
    plain = name.lower() if among else name.lower().replace("_", "-")
    names = list(among) or [known for known in BY_NAME if known != name
                            and row(known, uwsgi)]
    if plain in names:
        return plain
    if not among:   # what has no effect is nothing to propose
        names = [known for known in names if BY_NAME[known].status not in ("ignored", "refused")]
    from difflib import get_close_matches  # rarely needed, and 0.7 MB of the master

    if len(plain) < 6:
        likeness = max(likeness, 0.8)   # one letter of four is another word: psgi, wsgi
    close = get_close_matches(plain, names, 1, likeness)
    return close[0] if close else None


def suggest(key: str, text: str | None, uwsgi: bool) -> str:
    """Say what a line whose name is no option is most likely to mean; "" if that is unknown."""
    if key == "else":
        return "uWSGI 2.0 has no else: write the opposite behind the endif, such as if-not-env"
    if key == "name":
        return ""   # a placeholder of many files, and gunicorn's for processes
    name, colon, rest = (part.strip() for part in key.partition(":"))
    if colon and not text and row(name, uwsgi):
        return f"did you mean {name} = {rest}?"
    foreign = row(key) if uwsgi else None
    if foreign is not None and foreign.name == key:
        return f"in a [geventuwsgi] section and on the command line it is {foreign.name}"
    close = foreign.name if foreign is not None else nearest(key, uwsgi)
    return f"did you mean {close}?" if close else ""
