"""HTTP/1.1 responses: check the status and headers of an application, and frame its body.

- A header name that is not a token, or a value with CR, LF, NUL or another control character,
  is the application's error (`ResponseError`) and is never sent (CVE-2018-1000164,
  CVE-2023-27522).
- `Response.head()` alone decides framing and keep-alive; `encode()` never returns more bytes
  than Content-Length allows.
- Hop-by-hop fields belong to the server (PEP 3333): the application's are dropped, but its
  `Connection: close` is honoured.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from http import HTTPStatus
from types import MappingProxyType

from ..errors import ResponseError
from . import grammar
from .message import TWO_LENGTHS

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

# The kinds of fields that the server treats specially; `_PLAIN` ones are sent unchanged.
_PLAIN, _LENGTH, _CONNECTION, _UPGRADE, _HOP_BY_HOP = range(5)
_CLOSE, _DATE, _SERVER = 8, 16, 32  # flags of `Response._own`: the application set the field
_SPECIAL = {
    "content-length": _LENGTH, "connection": _CONNECTION, "upgrade": _UPGRADE,
    "transfer-encoding": _HOP_BY_HOP, "keep-alive": _HOP_BY_HOP, "te": _HOP_BY_HOP,
    "proxy-connection": _HOP_BY_HOP,
    "date": _DATE, "server": _SERVER}

# Final responses that have no body whatever the method (RFC 9112 section 6.3).
_BODILESS = frozenset((101, 204, 304))
# RFC 9110 section 8.6: no Content-Length in 1xx and 204.
_WITHOUT_LENGTH = frozenset((101, 204))

PLAIN = "text/plain; charset=utf-8"
CHUNKED = "Transfer-Encoding: chunked\r\n"
KEEP_ALIVE = "Connection: keep-alive\r\n"
# With a 503: a slot may become free at any moment.
RETRY = (("Retry-After", "1"),)

# Caches of names and statuses. They are bounded for applications that copy input into them.
_CACHED_TEXTS = 1024
_kinds: dict[str, int] = {}
_statuses: dict[str, tuple[int, str]] = {}
_codes: dict[int, str] = {}
# Longer values (cookies, policies with a nonce) are not cached, as they rarely repeat.
_LINE = 128
_lines: dict[object, tuple[int, str, str, str, int]] = {}

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def imf_fixdate(seconds: float) -> str:
    """Format a unix time for the Date field (RFC 9110 section 5.6.7).

    strftime is not used, because it depends on the locale of the process.
    """
    t = datetime.fromtimestamp(seconds, timezone.utc)
    return (f"{_WEEKDAYS[t.weekday()]}, {t.day:02d} {_MONTHS[t.month - 1]} {t.year:04d} "
            f"{t.hour:02d}:{t.minute:02d}:{t.second:02d} GMT")


def check_fields(headers: Iterable[tuple[str, str]]) -> str:
    """Check header fields as `Response` does, and return them as lines ended by CRLF.

    This is for fields of the configuration (`add-header`) and of 103 responses (RFC 8297).
    """
    lines = []
    for name, value in headers:
        _check_value(name, value)
        if name not in _kinds:
            _kind(name)
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines)


def informational(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """Return a 1xx response (RFC 9110 section 15.2), such as 103 Early Hints (RFC 8297)."""
    return (f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
            f"{check_fields(headers)}\r\n").encode("latin-1")


class ResponseDefaults:
    """The fields of all responses, joined once a second and not per response.

    Args:
        server: value of the Server field, "" to omit it.
        with_date: whether to send Date (RFC 9110 section 6.6.1).
        added: further (name, value) pairs, from `add-header`. A `Server` replaces ours.
            `Connection: close` closes every connection; its other options, like all fields about
            one connection, are decided by the server and not sent.
        pages: HTML pages for errors by status, from `error-page`.

    Attributes:
        close: no connection is kept.
        raw_server: the Server field for the uwsgi protocol, whose peer has its own; "" if none
            was added.
    """

    __slots__ = ("server", "date", "added", "pages", "text", "close", "raw_server", "_with_date",
                 "_second")

    def __init__(self, server: str, with_date: bool, added: Iterable[tuple[str, str]] = (),
                 pages: Mapping[int, bytes] = MappingProxyType({})) -> None:
        self.pages = pages
        fields = []
        self.close = False
        self.raw_server = ""
        for name, value in added:
            kind = _SPECIAL.get(name.lower(), _PLAIN)
            if kind == _SERVER:
                self.raw_server = check_fields([(name, value)])
            elif kind == _CONNECTION:
                self.close = self.close or "close" in value.lower()
            elif kind == _PLAIN:
                fields.append((name, value))
        self.server = self.raw_server or (check_fields([("Server", server)]) if server else "")
        self.added = check_fields(fields)
        self.date = ""
        self._with_date = with_date
        self._second = -1
        self.text = self.server + self.added

    def tick(self, now: float) -> None:
        """Set the unix time of the responses that follow."""
        if self._with_date and int(now) != self._second:
            self._second = int(now)
            self.date = f"Date: {imf_fixdate(now)}\r\n"
            self.text = self.server + self.date + self.added

    def without(self, date: bool, server: bool) -> str:
        """Return the fields without those that the response itself has."""
        return ("" if server else self.server) + ("" if date else self.date) + self.added


class Response:
    """One response, from `start_response` to its last byte.

    Args:
        status: code and reason phrase as in PEP 3333 ("200 OK"); a bare code gets its
            standard phrase, as in uWSGI.
        headers: (name, value) pairs of native strings, latin-1.

    Raises:
        ResponseError: the status or a header must not be sent.

    Attributes:
        code: the status code.
        length: the Content-Length of the application, else None.
        header_count: the number of the application's fields that are sent.
        keep_alive, chunked, bodiless: set by `head()`.
        remaining: octets of the body that are still due, None without a Content-Length;
            negative if the body was too long.
        head_size: octets of the head.
    """

    __slots__ = ("code", "length", "header_count", "keep_alive", "chunked", "bodiless",
                 "remaining", "head_size", "_line", "_fields", "_own")

    def __init__(self, status: str, headers: Iterable[tuple[str, str]]) -> None:
        self.code, self._line = _statuses.get(status) or _status(status)
        self.length: int | None = None
        self.remaining: int | None = None
        self._own: int = 0
        fields = ""
        count = 0
        kinds = _kinds
        try:
            for name, value in headers:
                kind = kinds[name] if name in kinds else _kind(name)
                if kind:
                    if kind == _LENGTH and self.length is None:
                        self.length = _octets(value)
                        if self.code in _WITHOUT_LENGTH:
                            continue
                    elif self._drop(kind, name, value):
                        continue
                elif not (value.isprintable() and value.isascii()):
                    _check_value(name, value)
                fields += f"{name}: {value}\r\n"
                count += 1
        except (TypeError, ValueError, AttributeError) as error:
            raise ResponseError(f"headers are not a list of (str, str) pairs: {error}") from error
        self._fields = fields
        self.header_count = count
        self.keep_alive = self.chunked = self.bodiless = False
        self.head_size = 0

    @classmethod
    def from_octets(cls, code: int, headers: Iterable[Iterable[bytes]]) -> "Response":
        """Make a response from a bare status and pairs of octets, as in ASGI.

        Checked lines are cached, as applications send the same few pairs again and again.
        Field names are sent unchanged.
        """
        response = cls.__new__(cls)  # the same as __init__, without its loop
        response.code, response._line = (
            _statuses.get(_codes.get(code, "")) or _status(_code(code)))
        if response.code < 200:
            raise ResponseError(f"{response.code} is not a final status")
        response.length = response.remaining = None
        response._own = response.head_size = 0
        response.keep_alive = response.chunked = response.bodiless = False
        fields = ""
        count = 0
        lines = _lines
        try:
            for pair in headers:
                known = lines.get(pair) if type(pair) is tuple else None
                if known is None:
                    known = _line(pair)
                kind, name, value, line, length = known
                if kind:
                    if kind == _LENGTH and response.length is None:
                        response.length = length
                        if code in _WITHOUT_LENGTH:
                            continue
                    elif response._drop(kind, name, value):
                        continue
                fields += line
                count += 1
        except (TypeError, ValueError, AttributeError) as error:
            raise ResponseError(
                f"headers are not a list of (bytes, bytes) pairs: {error}") from error
        response._fields = fields
        response.header_count = count
        return response

    def _drop(self, kind: int, name: str, value: str) -> bool:
        """Process a special field; return whether it is not sent."""
        _check_value(name, value)
        if kind == _LENGTH:
            raise ResponseError(TWO_LENGTHS)
        if kind == _CONNECTION:
            if "close" in value.lower():
                self._own |= _CLOSE
            return self.code != 101
        if kind == _UPGRADE:
            # RFC 9110 section 7.8: part of the handshake in 101, and required in 426.
            return self.code not in (101, 426)
        if kind == _DATE or kind == _SERVER:
            self._own |= kind
        return kind == _HOP_BY_HOP

    def head(self, defaults: ResponseDefaults, http11: bool, is_head: bool, keep_alive: bool,
             known: int | None = None) -> bytes:
        """Decide framing and persistence, and return the octets of the head.

        Args:
            defaults: the fields of all responses.
            http11: the client speaks HTTP/1.1, so a body without length may be chunked.
            is_head: the request's method was HEAD.
            keep_alive: the request allows to keep the connection.
            known: length of the body in octets if the server has all of it, else None; for
                the first piece of a longer one its length if it `exceeds` Content-Length.
        """
        code = self.code
        length = self.length
        framing = ""
        if is_head or code in _BODILESS:
            self.bodiless = True
        if code < 200:
            keep_alive = False
        elif length is not None:
            self.remaining = length
            if known is not None and known != length and not self.bodiless:
                keep_alive = False  # the response is wrong, and its head already says so
        elif known is not None and (not is_head or known) and code not in (204, 304):
            self.remaining = known
            framing = f"Content-Length: {known}\r\n"
        elif not self.bodiless:
            if http11:
                self.chunked = True
                framing = CHUNKED
            else:
                keep_alive = False
        own = self._own
        if own & _CLOSE or defaults.close:
            keep_alive = False
        self.keep_alive = keep_alive
        if not keep_alive:
            if code >= 200:
                framing += "Connection: close\r\n"
        elif not http11:
            framing += KEEP_ALIVE
        text = defaults.text
        if own & (_DATE | _SERVER):
            text = self.default_fields(defaults)
        octets = f"{self._line}{self._fields}{framing}{text}\r\n".encode("latin-1")
        self.head_size = len(octets)
        return octets

    def default_fields(self, defaults: ResponseDefaults) -> str:
        """Return the fields of all responses without those that this one has itself."""
        return defaults.without(bool(self._own & _DATE), bool(self._own & _SERVER))

    def trailer(self, headers: Iterable[Iterable[bytes]]) -> bytes:
        """End a chunked body with trailer fields (RFC 9112 section 7.1.2).

        Raises:
            ResponseError: a field must not be in a trailer.
        """
        lines = ["0\r\n"]
        for pair in headers:
            _, name, _, line, _ = _line(pair)
            if name.lower().encode("latin-1") in grammar.FORBIDDEN_TRAILERS:
                raise ResponseError(f"{name} must not be a trailer field")
            lines.append(line)
        return "".join((*lines, "\r\n")).encode("latin-1")

    def raw_head(self, defaults: ResponseDefaults, is_head: bool,
                 known: int | None = None) -> bytes:
        """Return the head of a response over the uwsgi protocol: never chunked, always closed.

        nginx does not decode chunks of a uwsgi upstream, and adds Date, Server and Connection
        itself, so as in uWSGI only the fields of `add-header` are added.
        """
        code = self.code
        self.bodiless = is_head or code in _BODILESS
        self.remaining = self.length
        framing = ""
        if self.length is None and known and not self.bodiless:
            self.remaining = known
            framing = f"Content-Length: {known}\r\n"
        server = "" if self._own & _SERVER else defaults.raw_server
        octets = (f"{self._line}{self._fields}{framing}{server}{defaults.added}\r\n"
                  .encode("latin-1"))
        self.head_size = len(octets)
        return octets

    def exceeds(self, size: int) -> bool:
        """Whether so many octets are more than Content-Length allows."""
        return self.length is not None and size > self.length

    def encode(self, data: bytes) -> bytes:
        """Frame a piece of the body; b"" if the response has none (HEAD, 204, 304).

        Octets beyond Content-Length are cut off; `remaining` is negative then.
        """
        if self.remaining is not None:
            left = self.remaining
            self.remaining = left - len(data) if left >= 0 else left
            if self.remaining < 0:
                data = data[:max(left, 0)]
        if self.bodiless:
            return b""
        if self.chunked and data:
            return b"%x\r\n%b\r\n" % (len(data), data)
        return data

    def end(self) -> bytes:
        """Return the octets that end the body."""
        return LAST_CHUNK if self.chunked else b""

    @property
    def fields(self) -> str:
        """The application's field lines, as sent."""
        return self._fields

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The same as (name, value) pairs, for logs; built on each access."""
        split = (line.partition(": ") for line in self._fields.split("\r\n")[:-1])
        return [(name, value) for name, _, value in split]

    @property
    def until_close(self) -> bool:
        """Whether the end of the connection ends the body."""
        return self.remaining is None and not (self.chunked or self.bodiless)

    @property
    def length_error(self) -> str:
        """How a body differs from its Content-Length; "" if it does not."""
        remaining = self.remaining
        if not remaining:
            return ""
        if remaining > 0:
            return f"the body is {remaining} bytes shorter than its Content-Length"
        return (f"the body is {-remaining} bytes longer than its Content-Length; "
                "they were not sent")


def error_response(status: int, defaults: ResponseDefaults, *, is_head: bool = False,
                   extra: Iterable[tuple[str, str]] = (), detail: str = "",
                   text: bytes = b"", media: str = PLAIN) -> bytes:
    """Return a whole response, which closes the connection, for an error.

    Its page contains nothing of the request (CVE-2022-39348 class).

    Args:
        status: of the response.
        defaults: the fields of all responses, and the pages of the configuration.
        is_head: the request's method was HEAD.
        extra: further header fields.
        detail: a constant sentence for the server's own page.
        text: the body instead of any page.
        media: the type of `text`.
    """
    phrase = HTTPStatus(status).phrase
    body = text
    if not body and status in defaults.pages and not detail:
        media, body = "text/html", defaults.pages[status]
    if not body:
        body = f"{status} {phrase}\n{detail}{chr(10) * bool(detail)}".encode("latin-1")
    response = Response(f"{status} {phrase}", [("Content-Type", media), *extra])
    head = response.head(defaults, http11=True, is_head=is_head, keep_alive=False,
                         known=len(body))
    return head if is_head else head + body


def _status(status: str) -> tuple[int, str]:
    if not isinstance(status, str):
        raise ResponseError(f"the status is {type(status).__name__}, not str")
    match = grammar.STATUS.fullmatch(status)
    if match is None:
        raise ResponseError(f"malformed status {status!r}")
    code = int(match[1])
    if code < 200 and code != 101:
        raise ResponseError(f"{code} is not a final status")
    given = status
    if len(status) == 3:
        try:
            status = f"{status} {HTTPStatus(code).phrase}"
        except ValueError:
            status += " "
    _latin1("the status", status)
    known = code, f"HTTP/1.1 {status}\r\n"
    if len(_statuses) < _CACHED_TEXTS:
        _statuses[given] = known
    return known


def _code(code: int) -> str:
    if type(code) is not int and not isinstance(code, int):
        raise ResponseError(f"the status is {type(code).__name__}, not int")
    text = str(int(code))
    if len(_codes) < _CACHED_TEXTS:
        _codes[code] = text
    return text


def _line(pair: Iterable[bytes]) -> tuple[int, str, str, str, int]:
    """Check one pair; return (kind, name, value, line, Content-Length)."""
    octets_name, octets_value = pair
    if not isinstance(octets_name, bytes) or not isinstance(octets_value, bytes):
        raise ResponseError(f"a header is not a pair of bytes: {pair!r}")
    name, value = octets_name.decode("latin-1"), octets_value.decode("latin-1")
    kind = _kinds[name] if name in _kinds else _kind(name)
    _check_value(name, value)
    length = _octets(value) if kind == _LENGTH else 0
    found = kind, name, value, f"{name}: {value}\r\n", length
    if len(value) <= _LINE:
        if len(_lines) >= _CACHED_TEXTS:
            _lines.clear()  # the values differ between responses
        _lines[octets_name, octets_value] = found
    return found


def _kind(name: str) -> int:
    if not isinstance(name, str):
        raise ResponseError(f"header name {name!r} is {type(name).__name__}, not str")
    if not grammar.TOKEN.fullmatch(name):
        raise ResponseError(f"malformed header name {name!r}")
    kind = _SPECIAL.get(name.lower(), _PLAIN)
    if len(_kinds) < _CACHED_TEXTS:
        _kinds[name] = kind
    return kind


def _octets(value: str) -> int:
    """Parse a Content-Length (RFC 9110 section 8.6)."""
    if value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    raise ResponseError(f"malformed Content-Length {value!r}")


def _check_value(name: str, value: str) -> None:
    if not isinstance(value, str):
        raise ResponseError(f"value of header {name!r} is {type(value).__name__}, not str")
    if grammar.FORBIDDEN_IN_VALUE.search(value):
        raise ResponseError(f"control character in the value of header {name!r}")
    _latin1(f"header {name!r}", value)


def _latin1(what: str, text: str) -> None:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise ResponseError(f"{what} has a character beyond latin-1") from error
