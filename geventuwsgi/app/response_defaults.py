"""What all responses of a worker or router have in common, as the options say it.

The rules of this room: plain arguments, and files are read once, before requests come.
"""

import logging
from collections.abc import Collection, Iterable

from ..protocol.response import ResponseDefaults

log = logging.getLogger("geventuwsgi.error")


def standing_of(*, server: bool, date: bool, added: Iterable[str], removed: Collection[str],
                pages: Iterable[str]) -> ResponseDefaults:
    """Make the standing fields and pages.

    Args:
        server, date: whether to send Server and Date.
        added: texts `Name: value` of add-header.
        removed: names of del-header; Server and Date among them are not sent either.
        pages: texts `STATUS=FILE` of error-page.
    """
    names = {name.lower() for name in removed}
    fields = [(name.strip(), value.strip())
              for name, _, value in (text.partition(":") for text in added)]
    return ResponseDefaults("geventuwsgi" if server and "server" not in names else "",
                            date and "date" not in names, fields, read(pages))


def read(texts: Iterable[str]) -> dict[int, bytes]:
    """Read the pages for errors; of several for one status the first that can be read counts,
    as in uWSGI. One that cannot is told, and the next or the usual page serves."""
    pages: dict[int, bytes] = {}
    for text in texts:
        status, _, path = text.partition("=")
        if int(status) in pages:
            continue
        try:
            with open(path, "rb") as file:
                pages[int(status)] = file.read()
        except OSError as error:
            log.error("error-page-%s: cannot read %s: %s", status, path, error.strerror)
    return pages
