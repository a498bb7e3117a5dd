"""Applications that PasteDeploy builds, from `config:app.ini#name` or `egg:Package#name`.

PasteDeploy itself handles composites, pipelines and filters. Errors are reported like those
of any other application that does not load.
"""

import logging.config
import os
import re
from collections.abc import Iterable, Mapping
from configparser import Error as ParserError
from typing import Any

from ..errors import AppLoadError

SCHEMES = ("config:", "egg:")
# The file of `use = config:other.ini#name` and similar lines.
_FILES = re.compile(r"(?m)^[^#;\n=]*=[ \t]*config:([^#\s]+)")


def is_uri(spelling: str) -> bool:
    """Whether the text is a PasteDeploy URI, or the path of an INI file."""
    return spelling.startswith(SCHEMES) or spelling.partition("#")[0].endswith(".ini")


def variables(texts: Iterable[str]) -> dict[str, str]:
    """Parse `NAME=VALUE` lines; the last one for a name wins."""
    split = (text.partition("=") for text in texts)
    return {name: value for name, _, value in split}


def given(path: str, global_conf: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a global_conf that its file, which is read again later, lacks."""
    others = {name: value for name, value in global_conf.items()
              if name not in ("here", "__file__")}
    if not others:
        return {}
    from paste.deploy.loadwsgi import ConfigLoader  # type: ignore[import-untyped]
    loader = ConfigLoader(path)
    own = set(loader.parser._defaults)
    loader.update_defaults(others, overwrite=False)
    found = loader.parser.defaults()
    return {name: value for name, value in others.items()
            if name not in own or found[name] != value}


def load(spelling: str, variables: Mapping[str, str]) -> Any:
    """Build the application of a URI; relative paths start at the working directory.

    Args:
        spelling: a URI, or the path of an INI file.
        variables: for `%(NAME)s`, where [DEFAULT] overrides them, and for global_conf.

    Raises:
        AppLoadError: PasteDeploy is not installed, or there is no such file.
    """
    try:
        from paste.deploy import loadapp  # type: ignore[import-untyped]
    except ImportError as error:
        raise AppLoadError(f"{spelling}: PasteDeploy is not installed: "
                           "pip install PasteDeploy") from error
    uri = spelling if spelling.startswith(SCHEMES) else f"config:{spelling}"
    path = file_of(uri)
    if path and not os.path.isfile(path):
        raise AppLoadError(f"{spelling}: no such file (looked in {os.getcwd()})")
    return loadapp(uri, relative_to=os.getcwd(), global_conf=dict(variables))


def file_of(uri: str) -> str:
    """Return the path of a `config:` URI, or of an INI file, without its section; "" for others."""
    return "" if uri.startswith("egg:") else uri.removeprefix("config:").partition("#")[0]


def files_of(spellings: Iterable[str | None]) -> list[str]:
    """Return the INI files that PasteDeploy reads for these applications, absolute.

    Args:
        spellings: as for `load`; those that are not PasteDeploy's are ignored.
    """
    found: list[str] = []
    pending = [one.removeprefix("config:").partition("#")[0] for one in spellings
               if one and is_uri(one) and not one.startswith("egg:")]
    while pending:
        path = os.path.abspath(pending.pop())
        if path in found:
            continue
        found.append(path)
        here = os.path.dirname(path)
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                named = _FILES.findall(file.read())
        except OSError:
            continue
        pending += [os.path.join(here, one.replace("%(here)s", here)) for one in named]
    return found


def configure_logging(path: str, variables: Mapping[str, str]) -> None:
    """Set up logging from the `[loggers]` of an INI file (logging.config.fileConfig).

    A file without these sections changes nothing. Existing loggers are kept.

    Raises:
        AppLoadError: the sections are wrong, or the file cannot be read.
    """
    directory = os.path.dirname(os.path.abspath(path))
    try:
        with open(path, encoding="utf-8") as file:
            if not any(line.strip() == "[loggers]" for line in file):
                return
        logging.config.fileConfig(
            path, {"here": directory, "__file__": os.path.abspath(path), **variables},
            disable_existing_loggers=False)
    except (OSError, ParserError, KeyError, ValueError, RuntimeError) as error:
        raise AppLoadError(f"{path}: logging cannot be set up: {error!r}") from error
