"""Texts with places to fill from a request: `$1`, `${VAR}`, `${cookie[name]}`.

The rules of this room: what a request does not have is empty, as in uWSGI.
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

_PLACES = re.compile(r"\$(?:(\d)|\{(\w+)\}|\{(\w+)\[([^\]]*)\]\})")


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
    seconds = int(name) if name.lstrip("-").isdigit() else 0
    return imf_fixdate(int(time.time()) + seconds)


def _media(environ: dict[str, Any], name: str) -> str:
    return mimetypes.guess_type(str(environ.get(name, "")))[0] or ""


# What the server knows of itself and of a response: ${uwsgi[...]}.
SERVER: dict[str, Callable[[Any], str]] = {
    "pid": lambda visit: str(os.getpid()), "wid": lambda visit: str(visit.rules.worker),
    "uuid": lambda visit: str(uuid.uuid4()), "status": lambda visit: str(visit.status),
    "rsize": lambda visit: str(visit.exchange.body_size)}


def _text(environ: dict[str, Any], name: str) -> bytes:
    return str(environ.get(name, "")).encode("latin-1", "replace")


FUNCTIONS: dict[str, Callable[[dict[str, Any], str], str]] = {
    "cookie": _cookie, "qs": _query, "time": _time, "httptime": _http_time, "mime": _media,
    "base64": lambda environ, name: base64.b64encode(_text(environ, name)).decode(),
    "hex": lambda environ, name: _text(environ, name).hex()}


class Template:
    """A text that is filled for each request.

    Args:
        text: with `$1` to `$9` for what the rule's pattern captured (`$0` is all of it),
            `${VAR}` for a variable of the request and `${function[argument]}` for what
            `FUNCTIONS` give.

    Attributes:
        text: the same.
        directory: the directory that the text names in front of its first place.
    """

    __slots__ = ("text", "directory", "_filled")

    def __init__(self, text: str) -> None:
        self.text = text
        self._filled = _PLACES.search(text) is not None
        self.directory = _PLACES.split(text, maxsplit=1)[0].rpartition("/")[0] or "/"

    def fill(self, visit: Any) -> str:
        """Return the text of one request."""
        if not self._filled:
            return self.text
        captures, environ = visit.captures, visit.environ

        def value(match: re.Match[str]) -> str:
            number, variable, function, argument = match.groups()
            if number is not None:
                index = int(number)
                return captures[index] if index < len(captures) else ""
            if variable is not None:
                found = environ.get(variable, "")
                return found if isinstance(found, str) else ""
            if function == "uwsgi":
                return SERVER[argument](visit)
            return FUNCTIONS[function](environ, argument)
        return _PLACES.sub(value, self.text)
