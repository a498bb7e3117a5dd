"""Options in the environment: `UWSGI_*` and `GEVENTUWSGI_*`.

`UWSGI_FOO_BAR=x` is `foo-bar = x` in a [uwsgi] section, as in uWSGI. `GEVENTUWSGI_FOO_BAR`
is the same for every option of the table, between files and the command line; an empty one
counts as not set. `GEVENTUWSGI_CMD_ARGS` is part of a command line.

`PORT`, `WEB_CONCURRENCY` and `FORWARDED_ALLOW_IPS` are defaults (`resolve.resolve`).
"""

from collections.abc import Iterator, Mapping

from geventuwsgi.config.options.option import Entry
from geventuwsgi.config.values.origin import Origin

ARGUMENTS = "GEVENTUWSGI_CMD_ARGS"
# uWSGI sets these for its own processes; they are not options (uwsgi.h, uwsgi_apply_config_pass).
_NOT_OPTIONS = frozenset((
    "UWSGI_RELOADS", "UWSGI_VASSALS_DIR", "UWSGI_EMPEROR_FD", "UWSGI_EMPEROR_FD_CONFIG",
    "UWSGI_EMPEROR_PROXY", "UWSGI_BROODLORD_NUM", "UWSGI_JAIL_PID", "UWSGI_ORIGINAL_PROC_NAME",
))


def uwsgi(environ: Mapping[str, str]) -> Iterator[Entry]:
    """Yield the options in `UWSGI_*` variables."""
    for name, text in environ.items():
        if name.startswith("UWSGI_") and name not in _NOT_OPTIONS:
            yield Entry(_key(name, "UWSGI_"), text, Origin("environment", option=name))


def own(environ: Mapping[str, str]) -> Iterator[Entry]:
    """Yield the options in `GEVENTUWSGI_*` variables."""
    for name, text in environ.items():
        if name.startswith("GEVENTUWSGI_") and name != ARGUMENTS and text:
            yield Entry(_key(name, "GEVENTUWSGI_"), text, Origin("environment", option=name))


def _key(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower().replace("_", "-")
