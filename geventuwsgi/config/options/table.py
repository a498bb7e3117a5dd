"""All options in one table, in the order of `--help` and of the reference.

Their texts are in the modules of this package, one per topic. Options without effect come last.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from geventuwsgi.config.options import (
    aliases, application, configuration, hooks, logging, processes, requests, router,
    rules, sockets, static, unsupported,
)
from geventuwsgi.config.options.option import Option

NO_SUCH_OPTION = "there is no such option"   # the message for an unknown name

OPTIONS: tuple[Option, ...] = (
    *configuration.CONFIGURATION,
    *application.APPLICATION,
    *application.ASGI,
    *sockets.SOCKETS,
    *sockets.TLS,
    *processes.PROCESSES,
    *router.ROUTER,
    *router.SUBSCRIPTION,
    *processes.RELOAD,
    *processes.DEVELOPMENT,
    *processes.RECYCLING,
    *processes.CHEAPER,
    *hooks.HOOKS,
    *hooks.DAEMONS,
    *hooks.LIMITS,
    *processes.OPERATION,
    *processes.STATISTICS,
    *requests.REQUESTS,
    *requests.STUCK,
    *requests.TRUST,
    *requests.RESPONSES,
    *static.STATIC,
    *rules.RULES,
    *logging.LOGGING,
    *logging.LOG_FILES,
    *configuration.LOGIC,
    *unsupported.SERVER,
    *configuration.UNSUPPORTED,
    *application.UNSUPPORTED,
    *sockets.UNSUPPORTED,
    *processes.UNSUPPORTED,
    *router.UNSUPPORTED,
    *requests.UNSUPPORTED,
    *hooks.UNSUPPORTED,
    *logging.UNSUPPORTED,
    *unsupported.BACKGROUND,
    *unsupported.DEPLOYMENT,
    *aliases.GUNICORN,
    *aliases.UVICORN,
    *aliases.GRANIAN,
    *aliases.HYPERCORN,
)

BY_NAME: Mapping[str, Option] = MappingProxyType(
    {name: option for option in OPTIONS for name in option.names})
BY_LETTER: Mapping[str, Option] = MappingProxyType(
    {letter: option for option in OPTIONS for letter in option.letters})


def row(name: str, uwsgi: bool = False) -> Option | None:
    """Find the option of a name.

    Args:
        name: a long name.
        uwsgi: whether it is in a [uwsgi] section or a `UWSGI_*` variable, where gunicorn's
            names are placeholders.
    """
    option = BY_NAME.get(name)
    if option is None or (uwsgi and (name in option.gunicorn or not option.everywhere)):
        return None
    return option


def nearest(name: str, uwsgi: bool = False, cutoff: float = 0.75,
            among: Iterable[str] = ()) -> str | None:
    """Return the option that a mistyped name most likely means.

    Args:
        name: the name.
        uwsgi: as for `row`.
        cutoff: how similar both have to be, as for `difflib.get_close_matches`. With 0.75
            `vaccum`, `process` and `chmod-sock` have a match, `project` has none.
        among: the names to compare with, if not those of the table.
    """
    plain = name.lower() if among else name.lower().replace("_", "-")
    names = list(among) or [known for known in BY_NAME if known != name
                            and row(known, uwsgi)]
    if plain in names:
        return plain
    if not among:   # do not suggest an option without effect
        names = [known for known in names if BY_NAME[known].status not in ("ignored", "refused")]
    from difflib import get_close_matches  # rarely needed, and 0.7 MB of the master

    if len(plain) < 6:
        cutoff = max(cutoff, 0.8)   # one letter of four is another word: psgi, wsgi
    close = get_close_matches(plain, names, 1, cutoff)
    return close[0] if close else None


def suggest(key: str, text: str | None, uwsgi: bool) -> str:
    """Suggest what a line with an unknown option was meant to be; "" without a suggestion."""
    if key == "else":
        return "uWSGI 2.0 has no else: write the opposite after the endif, such as if-not-env"
    if key == "name":
        return ""   # a placeholder in many files, and gunicorn's option for process names
    name, colon, rest = (part.strip() for part in key.partition(":"))
    if colon and not text and row(name, uwsgi):
        return f"did you mean {name} = {rest}?"
    foreign = row(key) if uwsgi else None
    if foreign is not None and foreign.status in ("ignored", "refused"):
        return ""   # most likely a placeholder: another server's option that has no effect here
    if foreign is not None and foreign.name == key:
        return f"in a [geventuwsgi] section and on the command line it is {foreign.name}"
    close = foreign.name if foreign is not None else nearest(key, uwsgi)
    return f"did you mean {close}?" if close else ""
