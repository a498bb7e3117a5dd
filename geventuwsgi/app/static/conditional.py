"""Conditional and range requests (RFC 9110 sections 13 and 14), as pure functions.

A malformed field is ignored; only a range after the end of the representation is an error.
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

_ETAGS = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")|(,)|([ \t]+)|(.)')
_RANGE = re.compile(r"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.ASCII | re.IGNORECASE)


class Validators(NamedTuple):
    """The values that distinguish the versions of a resource.

    Attributes:
        etag: the strong entity tag, with its quotes.
        modified: unix time in whole seconds.
        last_modified: the same as an IMF-fixdate.
    """

    etag: str
    modified: int
    last_modified: str


def precondition(environ: Mapping[str, str], validators: Validators) -> int:
    """Evaluate the conditions of a GET or HEAD in the order of RFC 9110 section 13.2.2.

    Returns:
        200 to continue, 304 (Not Modified) or 412 (Precondition Failed).
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
    """Return the requested part of a representation.

    For several ranges the whole representation is sent, as the RFC allows.

    Args:
        environ: the request's variables.
        validators: of the representation.
        size: of the representation, in octets.

    Returns:
        (first octet, number of octets); (0, 0) for a 416, if the range has no octet; None for
        the whole representation.
    """
    value = environ.get("HTTP_RANGE")
    if value is None or environ.get("REQUEST_METHOD") != "GET":
        return None
    match = _RANGE.fullmatch(value)
    if match is None or not (match[1] or match[2]) or not _same(environ, validators):
        return None
    if not match[1]:
        count = min(int(match[2]), size)
        return (size - count, count) if count else (0, 0)
    first = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < first:
        return None  # RFC 9110 section 14.1.1: invalid, so it is ignored
    if first >= size:
        return 0, 0
    return first, last - first + 1


def _same(environ: Mapping[str, str], validators: Validators) -> bool:
    """Whether If-Range (RFC 9110 section 13.1.5) is missing or names this version."""
    value = environ.get("HTTP_IF_RANGE")
    if value is None:
        return True
    if '"' in value:
        return value.strip(" \t") == validators.etag
    return value.strip(" \t") == validators.last_modified


def _listed(field: str, etag: str, strong: bool) -> bool:
    """Whether an entity tag is in the list of a field; "*" matches every tag."""
    if field.strip(" \t") == "*":
        return True
    found = False
    for weak, tag, _, _, other in _ETAGS.findall(field):
        if other:
            return False  # not a list of entity tags
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
