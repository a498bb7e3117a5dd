"""Conditional and range requests (RFC 9110 sections 13 and 14), as pure functions.

The rules of this room: what a client says that cannot be understood is as if it had not
said it, except a range that lies behind the end.
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

_ETAGS = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")|(,)|([ \t]+)|(.)')
_RANGE = re.compile(r"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.ASCII | re.IGNORECASE)


class Validators(NamedTuple):
    """What tells one version of a resource from another.

    Attributes:
        etag: strong, with its quotes.
        modified: unix time in whole seconds.
        last_modified: the same as an IMF-fixdate.
    """

    etag: str
    modified: int
    last_modified: str


def precondition(environ: Mapping[str, str], validators: Validators) -> int:
    """Evaluate the conditions of a GET or HEAD in the order of RFC 9110 section 13.2.2.

    Returns:
        200 to go on, 304 (Not Modified) or 412 (Precondition Failed).
    """
    match = environ.get("HTTP_IF_MATCH")
    if match is not None:
        if not _listed(match, validators.etag, strong=True):
            return 412
    else:
        since = environ.get("HTTP_IF_UNMODIFIED_SINCE")
        if since is not None:
            then = _date(since, validators)
            if then is not None and validators.modified > then:
                return 412
    none_match = environ.get("HTTP_IF_NONE_MATCH")
    if none_match is not None:
        return 304 if _listed(none_match, validators.etag, strong=False) else 200
    since = environ.get("HTTP_IF_MODIFIED_SINCE")
    if since is not None:
        then = _date(since, validators)
        if then is not None and validators.modified <= then:
            return 304
    return 200


def byte_range(environ: Mapping[str, str], validators: Validators,
               size: int) -> tuple[int, int] | None:
    """Find the part of a representation that is asked for.

    Several ranges at once are answered with the whole, as the RFC allows.

    Args:
        size: of the whole, in octets.

    Returns:
        (first octet, number of octets); (0, 0) if no octet of the range is there, which is
        a 416; None for the whole.
    """
    said = environ.get("HTTP_RANGE")
    if said is None or environ.get("REQUEST_METHOD") != "GET":
        return None
    match = _RANGE.fullmatch(said)
    if match is None or not (match[1] or match[2]) or not _same(environ, validators):
        return None
    if not match[1]:
        count = min(int(match[2]), size)
        return (size - count, count) if count else (0, 0)
    first = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < first:
        return None  # RFC 9110 section 14.1.1: invalid, so as if there was none
    if first >= size:
        return 0, 0
    return first, last - first + 1


def _same(environ: Mapping[str, str], validators: Validators) -> bool:
    """Whether If-Range (RFC 9110 section 13.1.5), if there is one, names this version."""
    said = environ.get("HTTP_IF_RANGE")
    if said is None:
        return True
    if '"' in said:
        return said.strip(" \t") == validators.etag
    return said.strip(" \t") == validators.last_modified


def _listed(field: str, etag: str, strong: bool) -> bool:
    """Whether an entity tag is in the list of a field; "*" is every one."""
    if field.strip(" \t") == "*":
        return True
    found = False
    for weak, tag, _, _, other in _ETAGS.findall(field):
        if other:
            return False  # no list of entity tags: nothing in it is believed
        if tag == etag and not (strong and weak):
            found = True
    return found


def _date(text: str, validators: Validators) -> float | None:
    if text == validators.last_modified:
        return validators.modified
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
