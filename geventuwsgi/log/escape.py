r"""Escape text from outside, so that it adds no lines or terminal sequences to a log.

The text of a client is latin-1 (PEP 3333). All but printable ASCII is written as `\xNN`, as
nginx does: some terminals interpret C1 controls, and some readers fail on incomplete UTF-8.
"""

import json
import re

_UNPRINTABLE = re.compile(r"[^ -~]")
_QUOTABLE = re.compile(r'[^ !#-\[\]-~]')
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_RECORD_LOOKALIKE = re.compile(r"\n(?=\[)")


def _code(match: re.Match[str]) -> str:
    character = match.group()
    if character in '"\\':
        return "\\" + character
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def plain(text: str) -> str:
    """Escape text that is not quoted."""
    if text.isascii() and text.isprintable():
        return text
    return _UNPRINTABLE.sub(_code, text)


def quoted(text: str) -> str:
    """Escape text between double quotes: the quote and the backslash as well."""
    return _QUOTABLE.sub(_code, text)


def in_json(text: str) -> str:
    """Escape the text of a client inside a JSON string.

    Text that is UTF-8 (a path typed into a browser's address bar) is decoded; other text
    stays latin-1.
    """
    try:
        text = text.encode("latin-1").decode()
    except UnicodeError:
        pass
    return json.dumps(text)[1:-1]


def json_text(text: str) -> str:
    """Escape text that is already decoded inside a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def lines(text: str) -> str:
    """Escape all control characters but line breaks and tabs: text for a terminal."""
    return text if text.isprintable() else _CONTROL.sub(_code, text)


def message(text: str) -> str:
    r"""Escape a message of the error log, which may have many lines.

    Line breaks and tabs stay. A later line that starts with `[` is indented by one blank, so
    that it cannot pass for a record.
    """
    if text.isprintable():
        return text
    return _RECORD_LOOKALIKE.sub("\n ", lines(text))
