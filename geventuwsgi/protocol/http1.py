"""HTTP/1.0 and 1.1 requests: parse bytes into a checked head and a decoded body.

- One `RequestParser` parses the requests of one connection. Call `head()` until it returns
  True, then `body()` until `body_complete`.
- What RFC 9112 calls an error is an error, and after an error nothing more is parsed: a
  request pipelined after it is never served.
- The fast path is one regular expression over a whole head. Only a head that does not match
  is checked line by line, to name the first fault in the order of the stream.
"""

from ..errors import ProtocolError
from . import grammar
from .message import (
    LENGTH_DIGITS, TRUNCATED_BODY, TWO_FRAMINGS, TWO_LENGTHS, UNKNOWN_CODING, Limits, Message,
)

_SCHEMES = ("http", "https")

_match = grammar.HEAD.match
_framing = grammar.FRAMING.findall

# content_length, chunked, keep_alive, expect_continue, upgrade.
Framing = tuple[int | None, bool, bool, bool, bool]
# A cache from the framing fields of a head and its minor version to the framing. Most
# requests of all connections share few combinations; it is bounded for peers that invent
# Host fields.
_facts: dict[str, Framing] = {}
# The same for heads with a body, separate because there are many lengths.
_lengths: dict[str, Framing] = {}
_CACHED_FRAMINGS = 512
_LONGEST = 256


class RequestParser(Message):
    """Parse the requests of one connection (RFC 9112).

    Attributes, valid once `head()` returned True:
        method, target: as sent, decoded as latin-1.
        path: the target's path and query in origin-form; "" for authority-form and "*".
        version: "HTTP/1.0" or "HTTP/1.1" (a higher minor version counts as 1.1,
            RFC 9110 section 2.5); http11 is the same as a bool.
        fields: the field block, lines ended by CRLF, latin-1, checked.
        authority: host[:port] of an absolute-form target, which replaces the Host field
            (RFC 9112 section 3.2.2), else None.
        content_length: the body's length in octets, None if the request does not say.
        chunked: the body is chunked, so its length is not known beforehand.
        keep_alive: the client allows further requests on the connection (RFC 9112
            section 9.3).
        upgrade: Connection has the option "upgrade" (RFC 9110 section 7.8).
        expect_continue: the client waits for 100 (Continue) before it sends the body.
        head_size: octets of the head with its last CRLF.
        body_complete: `body()` has returned the whole body, or there is none.
        repeated: the head has the same octets as the one before it on this connection, and
            neither has a body, so what was derived from that one is still valid. Clients that
            poll and health checks send such heads: comparing takes 0.05 us, parsing 1.3 to 5.
    """

    __slots__ = (
        "method", "target", "path", "version", "http11", "fields", "authority",
        "content_length", "expect_continue", "upgrade", "repeated", "_last", "_lines", "_walked")

    def __init__(self, limits: Limits = Limits()) -> None:
        super().__init__(limits)
        self.method = self.target = self.path = self.fields = ""
        self.version = "HTTP/1.1"
        self.http11 = True
        self.authority: str | None = None
        self.content_length: int | None = None
        self.expect_continue = self.upgrade = self.repeated = False
        self._last: bytes | None = None
        self._walked: bytes | None = None
        self._lines = 0

    def head(self, data: bytes) -> bool:
        """Add bytes; return whether the head of the next request is complete.

        Args:
            data: received bytes; b"" to parse what is buffered.

        Raises:
            ProtocolError: 400, 414, 417, 431, 501 or 505; close the connection.
        """
        if self.buffered:
            data = self.buffered + data
            self.buffered = b""
        elif data == self._last:
            self.repeated = True
            return True
        if data[-4:] == b"\r\n\r\n":
            text = data.decode("latin-1")
        else:
            text = self._first_head(data)
            if not text:
                return False
        match = _match(text, 2 if data[0] == 13 and data[1] == 10 else 0)
        if match is None:
            self._walk(data[:len(text)])
            raise ProtocolError(400, "malformed request head")
        method, target, minor, fields = match.groups()
        start, size = match.span(4)
        size += 2
        if size > self.limits.harmless:
            self._measure(data, start, size, fields)
        if size < len(data):
            self.buffered = data[size:]
        self._checked = self._lines = 0
        self.head_size = size
        self.method = method
        self.target = target
        self.fields = fields
        self.http11 = http11 = minor != "0"
        self.version = "HTTP/1.1" if http11 else "HTTP/1.0"
        self.authority = None
        if target[0] == "/" and method != "CONNECT":
            self.path = target
        else:
            self._other_form(method, target)
        framing = _framing(text, start - 1, size)
        key = "".join(framing) + minor
        facts = _facts.get(key) or _lengths.get(key) or self._remember(key, framing)
        (self.content_length, self.chunked, self.keep_alive, self.expect_continue,
         self.upgrade) = facts
        if self.chunked:
            self.expect_chunks()
        else:
            self._left = self.content_length or 0
            self.body_complete = not self._left
        self.repeated = False
        self._last = data if self.body_complete and not self.buffered else None
        return True

    def _first_head(self, data: bytes) -> str:
        """Return the first head of the data, "" if it is not complete."""
        end = data.find(b"\r\n\r\n", max(self._checked - 3, 0))
        if end < 0:
            self._walk(data)
            self.buffered = data
            return ""
        return data[:end + 4].decode("latin-1")

    def _remember(self, key: str, framing: list[str]) -> Framing:
        """Decide the framing, and cache it for heads with the same framing fields."""
        facts = self._frame(framing)
        if len(key) <= _LONGEST:
            memory = _lengths if facts[0] or facts[1] else _facts
            if len(memory) >= _CACHED_FRAMINGS:
                memory.clear()
            memory[key] = facts
        return facts

    def first_line(self) -> tuple[str, str, str]:
        """Return (method, target, version) of a rejected head, "-" for missing parts.

        For a log: the texts are as received, cut at the limit of the request line.
        """
        if self._walked is None:
            return self.method, self.target, self.version
        line = self._walked[:self.limits.line].lstrip(b"\r\n").partition(b"\r\n")[0]
        words = [*line.decode("latin-1").split(" ", 2), "", "", ""]
        return words[0] or "-", words[1] or "-", words[2] or "-"

    def eof(self) -> None:
        """Process the end of the connection.

        Raises:
            ProtocolError: 400, it ended within a head or a body.
        """
        if not self.body_complete:
            raise ProtocolError(400, TRUNCATED_BODY)
        if self.buffered.lstrip(b"\r\n"):
            raise ProtocolError(400, "the connection ended inside the request head")

    # The slow path of a head: find the line that is wrong.

    def _walk(self, data: bytes) -> None:
        """Raise for the first fault in `data`; return if it is only incomplete.

        Lines that were checked before are skipped, so that a head that comes byte by byte
        costs linear time.
        """
        limits = self.limits
        self._walked = data
        # One octet above the limit is enough, and gives the same error as octets that come
        # one by one.
        data = data[:limits.head + 1]
        at = self._checked
        if at == 0 and data.startswith(b"\r\n"):
            # RFC 9112 section 2.2: ignore one empty line before a request.
            at = 2
        while True:
            if self._lines == 0 and at < len(data):
                self._first_octet(data, at)
            end = data.find(b"\n", at)
            line = data[at:] if end < 0 else data[at:end]
            size = len(line) - line.endswith(b"\r")
            if self._lines == 0:
                if size > limits.line:
                    raise ProtocolError(414, f"request line of more than {limits.line} bytes")
            elif size > limits.field:
                raise ProtocolError(431, f"header field of more than {limits.field} bytes")
            if at + len(line) + (end >= 0) > limits.head:
                raise ProtocolError(431, f"request head of more than {limits.head} bytes")
            if end < 0:
                break
            if size == len(line):
                raise ProtocolError(400, "bare LF in the request head")
            self._check_line(line[:-1].decode("latin-1"))
            at = self._checked = end + 1
            self._lines += 1

    @staticmethod
    def _first_octet(data: bytes, at: int) -> None:
        octet = data[at:at + 1]
        if octet == b"\x16":
            raise ProtocolError(400, "a TLS handshake on a plain HTTP socket")
        if octet == b"\0":  # modifier1
            raise ProtocolError(400, "a uwsgi packet? nginx uwsgi_pass instead of proxy_pass?")
        if octet == b"\r" and at:
            raise ProtocolError(400, "empty lines in front of the request")
        if data == b"\r":
            return  # may be the one empty line that is ignored
        if not grammar.TOKEN.match(octet.decode("latin-1")):
            raise ProtocolError(400, "the request does not start with a method")

    def _check_line(self, line: str) -> None:
        if self._lines == 0:
            match = grammar.REQUEST_LINE.fullmatch(line)
            if match is None:
                raise ProtocolError(400, "malformed request line")
            if match[3] != "1":
                raise ProtocolError(505, f"HTTP/{match[3]}.{match[4]} is not supported")
            return
        if self._lines > self.limits.fields and line:
            raise ProtocolError(431, f"more than {self.limits.fields} header fields")
        if line and not grammar.FIELD_LINE.fullmatch(line):
            raise ProtocolError(400, self._fault(line))

    @staticmethod
    def _fault(line: str) -> str:
        name, colon, value = line.partition(":")
        if line[0] in " \t":
            return "obsolete line folding in the header"
        if not colon:
            return "header line without a colon"
        if name[-1:] in (" ", "\t"):
            return "whitespace between field name and colon"
        if not name or not grammar.TOKEN.fullmatch(name):
            return "malformed field name"
        return "control character in a field value"

    def _measure(self, data: bytes, start: int, size: int, fields: str) -> None:
        """Raise if a head larger than `Limits.harmless` exceeds a limit.

        Args:
            data: begins with the head.
            start: where the field block begins.
            size: of the whole head.
            fields: the field block.
        """
        limits = self.limits
        if (size > limits.head or start - 2 > limits.line
                or len(fields) > limits.field or fields.count("\n") > limits.fields):
            self._checked = self._lines = 0
            self._walk(data[:size])

    def _other_form(self, method: str, target: str) -> None:
        """Parse a target that does not start with "/" (RFC 9112 sections 3.2.2 to 3.2.4)."""
        self.path = ""
        self._walked = None
        if method == "CONNECT":
            if not grammar.AUTHORITY_FORM.fullmatch(target):
                raise ProtocolError(400, "CONNECT without host:port")
            return
        if target == "*":
            if method != "OPTIONS":
                raise ProtocolError(400, "asterisk-form is for OPTIONS only")
            return
        match = grammar.ABSOLUTE_FORM.fullmatch(target)
        if match is None or match[1].lower() not in _SCHEMES:
            raise ProtocolError(400, "malformed request target")
        authority, path = match[2], match[3] or ""
        if not authority or not grammar.HOST.fullmatch(authority) or authority[0] == ":":
            raise ProtocolError(400, "malformed authority in the request target")
        self.authority = authority
        self.path = path if path.startswith("/") else "/" + path

    def _frame(self, lines: list[str]) -> Framing:
        """Check Host, and decide framing and persistence from the framing fields."""
        self._walked = None
        values: dict[str, list[str]] = {
            "host": [], "content-length": [], "transfer-encoding": [], "connection": [],
            "expect": []}
        for line in lines:
            name, _, value = line[1:].partition(":")
            values[name.lower()].append(value.strip(" \t"))
        self._check_host(values["host"])
        options = {o.strip(" \t").lower() for v in values["connection"] for o in v.split(",")}
        keep_alive = "close" not in options and (self.http11 or "keep-alive" in options)
        length, chunked = self._body_length(values["content-length"], values["transfer-encoding"])
        expect_continue = False
        if values["expect"] and self.http11:
            if len(values["expect"]) > 1 or values["expect"][0].lower() != "100-continue":
                raise ProtocolError(417, "unknown expectation")
            expect_continue = chunked or bool(length)
        return length, chunked, keep_alive, expect_continue, "upgrade" in options

    def _check_host(self, hosts: list[str]) -> None:
        """RFC 9112 section 3.2: exactly one valid Host on 1.1, at most one on 1.0."""
        if len(hosts) > 1:
            raise ProtocolError(400, "more than one Host field")
        if not hosts:
            if self.http11:
                raise ProtocolError(400, "no Host field")
        elif not grammar.HOST.fullmatch(hosts[0]):
            raise ProtocolError(400, "malformed Host field")

    def _body_length(self, lengths: list[str], codings: list[str]) -> tuple[int | None, bool]:
        """Return the length and whether the body is chunked (RFC 9112 section 6.3). Stricter
        than the RFC demands: two lengths are an error even if they are equal."""
        if codings:
            if lengths:
                raise ProtocolError(400, TWO_FRAMINGS)
            if not self.http11:
                raise ProtocolError(400, "Transfer-Encoding in an HTTP/1.0 request")
            if len(codings) > 1:
                raise ProtocolError(400, "more than one Transfer-Encoding field")
            if codings[0].lower() != "chunked":
                raise ProtocolError(501, UNKNOWN_CODING)
            return None, True
        if not lengths:
            return None, False
        if len(lengths) > 1:
            raise ProtocolError(400, TWO_LENGTHS)
        text = lengths[0]
        if not (text.isascii() and text.isdigit()):
            raise ProtocolError(400, "malformed Content-Length")
        if len(text) > LENGTH_DIGITS:
            raise ProtocolError(413, "Content-Length of more than 18 digits")
        return int(text), False
