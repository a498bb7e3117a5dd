r"""Make text from outside harmless in a log: no line of a client's making, no terminal sequence.

What a client sends reaches the log as latin-1 text (PEP 3333). Whatever is not printable
ASCII is written as `\xNN`, as nginx writes it: a C1 control is a terminal sequence to
some terminals, and half a UTF-8 character is an error to some readers.
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
    """Escape text that stands bare in a line."""
    if text.isascii() and text.isprintable():
        return text
    return _UNPRINTABLE.sub(_code, text)


def quoted(text: str) -> str:
    """Escape text that stands between double quotes: also the quote and the backslash."""
    return _QUOTABLE.sub(_code, text)


def in_json(text: str) -> str:
    """Escape text that stands inside a JSON string.

    Bytes that are UTF-8 (a path typed into a browser's address line) become their
    characters; others stay latin-1.
    """
    try:
        text = text.encode("latin-1").decode()
    except UnicodeError:
        pass
    return json.dumps(text)[1:-1]


def json_text(text: str) -> str:
    """Escape text of our own encoding that stands inside a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def message(text: str) -> str:
    r"""Escape a message of the error log, which may be a traceback of many lines.

    Lines and tabs stay. A further line that starts with `[` is moved in by one blank,
    so that none can pass for a record of its own.
    """
    if text.isprintable():
        return text
    return _RECORD_LOOKALIKE.sub("\n ", _CONTROL.sub(_code, text))
