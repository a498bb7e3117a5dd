"""Texts with placeholders for values of a request: `$1`, `${VAR}`, `${cookie[name]}`.

As in uWSGI, a missing value is empty.
"""

import base64
import mimetypes
import os
import re
import time
import uuid
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl

from ...protocol.response import imf_fixdate

_PLACEHOLDERS = re.compile(r"\$(?:(\d)|\{(\w+)\}|\{(\w+)\[([^\]]*)\]\})")


def _cookie(environ: dict[str, Any], name: str) -> str:
    try:
        morsel = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(name)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""


def _query(environ: dict[str, Any], name: str) -> str:
    for key, value in parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True):
        if key == name:
            return value
    return ""


def _time(environ: dict[str, Any], name: str) -> str:
    now = time.time()
    return {"unix": str(int(now)), "micros": str(int(now * 1e6))}.get(name, "")


def _http_time(environ: dict[str, Any], name: str) -> str:
    seconds = int(name) if re.fullmatch(r"-?[0-9]{1,10}", name) else 0
    return imf_fixdate(int(time.time()) + seconds)


def _media(environ: dict[str, Any], name: str) -> str:
    return mimetypes.guess_type(str(environ.get(name, "")))[0] or ""


# Values of the server and of the response: ${uwsgi[...]}.
SERVER: dict[str, Callable[[Any], str]] = {
    "pid": lambda context: str(os.getpid()), "wid": lambda context: str(context.rules.worker),
    "uuid": lambda context: str(uuid.uuid4()), "status": lambda context: str(context.status),
    "rsize": lambda context: str(context.exchange.body_size)}


def _text(environ: dict[str, Any], name: str) -> bytes:
    return str(environ.get(name, "")).encode("latin-1", "replace")


FUNCTIONS: dict[str, Callable[[dict[str, Any], str], str]] = {
    "cookie": _cookie, "qs": _query, "time": _time, "httptime": _http_time, "mime": _media,
    "base64": lambda environ, name: base64.b64encode(_text(environ, name)).decode(),
    "hex": lambda environ, name: _text(environ, name).hex()}


class Template:
    """A text with placeholders.

    Args:
        text: with `$1` to `$9` for the groups of the rule's pattern (`$0` is the whole match),
            `${VAR}` for a variable of the request, and `${function[argument]}` for a value
            of `FUNCTIONS`.

    Attributes:
        text: the same.
        directory: the directory in the text before the first placeholder.
    """

    __slots__ = ("text", "directory", "_filled")

    def __init__(self, text: str) -> None:
        self.text = text
        self._filled = _PLACEHOLDERS.search(text) is not None
        self.directory = _PLACEHOLDERS.split(text, maxsplit=1)[0].rpartition("/")[0] or "/"

    def fill(self, context: Any) -> str:
        """Return the text for the request of a `RuleContext`."""
        if not self._filled:
            return self.text
        captures, environ = context.captures, context.environ

        def value(match: re.Match[str]) -> str:
            number, variable, function, argument = match.groups()
            if number is not None:
                index = int(number)
                return captures[index] if index < len(captures) else ""
            if variable is not None:
                found = environ.get(variable, "")
                return found if isinstance(found, str) else ""
            if function == "uwsgi":
                return SERVER[argument](context)
            return FUNCTIONS[function](environ, argument)
        return _PLACEHOLDERS.sub(value, self.text)
