"""The grammar of HTTP/1.1, each expression under the rule it implements.

Expressions for `str` expect text decoded as latin-1, so that one character is one octet. None
of them backtracks by more than one repetition, because the character that ends a part is
never a member of that part; the time is linear in the length of the text.
"""

import re

# RFC 9110 section 5.6.2: token = 1*tchar
TCHAR = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
TOKEN = re.compile(rf"{TCHAR}+")

# RFC 9110 section 5.5: field-value = *field-content, field-vchar = VCHAR / obs-text.
# Optional whitespace around it (OWS) is SP or HTAB, so one class covers both. The characters
# that it excludes (controls, CR, LF, NUL, DEL) also exclude obs-fold (RFC 9112 5.2).
FIELD_CHAR = r"[^\x00-\x08\x0a-\x1f\x7f]"
FIELD_LINE = re.compile(rf"{TCHAR}+:{FIELD_CHAR}*")
FORBIDDEN_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

# RFC 9112 section 3: request-line = method SP request-target SP HTTP-version.
# Departure: obs-text (0x80-0xff) is allowed in the target, as curl and old browsers send raw
# UTF-8 there. "#" is not: a fragment is never sent (RFC 9110 section 4.2.5).
TARGET_CHAR = r"[!-\"$-~\x80-\xff]"
REQUEST_LINE = re.compile(rf"({TCHAR}+) ({TARGET_CHAR}+) HTTP/([0-9])\.([0-9])")

# RFC 9112 section 2.1, the whole head of a request in one pass at C speed.
# Groups: method, target, minor version, field block (each line with its CRLF).
HEAD = re.compile(
    rf"({TCHAR}+) ({TARGET_CHAR}+) HTTP/1\.([0-9])\r\n((?:{TCHAR}+:{FIELD_CHAR}*\r\n)*)\r\n")

# The fields that decide framing and persistence, from the LF before them to the end of the
# line. Classes instead of IGNORECASE keep the search on its fast path: 1.0 us instead of
# 8.2 us for the head of a browser.
FRAMING = re.compile(
    r"\n(?:[Hh][Oo][Ss][Tt]"
    r"|[Cc][Oo][Nn](?:[Nn][Ee][Cc][Tt][Ii][Oo][Nn]|[Tt][Ee][Nn][Tt]-[Ll][Ee][Nn][Gg][Tt][Hh])"
    r"|[Tt][Rr][Aa][Nn][Ss][Ff][Ee][Rr]-[Ee][Nn][Cc][Oo][Dd][Ii][Nn][Gg]"
    r"|[Ee][Xx][Pp][Ee][Cc][Tt]):[^\r]*")

# RFC 3986 section 3.2.2 and RFC 9110 section 7.2: Host = uri-host [ ":" port ], with no
# userinfo. The value is empty if the target has no authority.
_REG_NAME = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*"
_IP_LITERAL = r"\[(?:[0-9A-Fa-f:.]+|v[0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+)\]"
HOST = re.compile(rf"(?:{_IP_LITERAL}|{_REG_NAME})(?::[0-9]{{0,5}})?")

# RFC 9112 section 3.2.2: absolute-form. Groups: scheme, authority, path with query.
ABSOLUTE_FORM = re.compile(r"([A-Za-z][A-Za-z0-9+\-.]*)://([^/?]*)([/?].*)?", re.DOTALL)

# RFC 9112 section 3.2.3: authority-form = uri-host ":" port, for CONNECT only.
AUTHORITY_FORM = re.compile(rf"(?:{_IP_LITERAL}|{_REG_NAME}):[0-9]{{1,5}}")

# RFC 9112 section 7.1: chunk-size = 1*HEXDIG, chunk-ext = *( BWS ";" BWS name [ BWS "="
# BWS ( token / quoted-string ) ] ). Sizes of more than 15 digits overflow 60 bits and are
# rejected before they are parsed.
_BTCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t !-~\x80-\xff])*"'
CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]+)((?:[ \t]*;[ \t]*" + _BTCHAR
    + rb"+(?:[ \t]*=[ \t]*(?:" + _BTCHAR + rb"+|" + _QUOTED + rb"))?)*)\r\n")
CHUNK_SIZE_DIGITS = 15

# RFC 9112 section 7.1.2: trailer-section = *( field-line CRLF )
TRAILER_LINE = re.compile(rb"(" + _BTCHAR + rb"+):[^\x00-\x08\x0a-\x1f\x7f]*\r\n")

# RFC 9110 section 6.5.1: fields for framing, routing, authentication or the description of
# the content must not come after it.
FORBIDDEN_TRAILERS = frozenset((
    b"age", b"authorization", b"cache-control", b"connection", b"content-encoding",
    b"content-length", b"content-range", b"content-type", b"cookie", b"expect", b"forwarded",
    b"host", b"keep-alive", b"max-forwards", b"pragma", b"proxy-authorization",
    b"proxy-connection", b"range", b"set-cookie", b"te", b"trailer", b"transfer-encoding",
    b"upgrade", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-ssl"))

# RFC 9112 section 4: status-line = HTTP-version SP status-code SP [ reason-phrase ]
# Codes from 600 on are no HTTP statuses, but applications use them (RFC 9110 section 15).
STATUS = re.compile(r"([1-9][0-9]{2})(?: [^\x00-\x08\x0a-\x1f\x7f]*)?")
