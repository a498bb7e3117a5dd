"""Build the `ResponseDefaults` of a worker or router from the values of options."""

import logging
from collections.abc import Collection, Iterable

from ..protocol.response import ResponseDefaults

log = logging.getLogger("geventuwsgi.error")


def defaults_of(*, server: bool, date: bool, added: Iterable[str], removed: Collection[str],
                pages: Iterable[str]) -> ResponseDefaults:
    """Make the fields of all responses, and read the error pages.

    Args:
        server, date: whether to send Server and Date.
        added: texts `Name: value` of add-header.
        removed: names of del-header; may include Server and Date.
        pages: texts `STATUS=FILE` of error-page.
    """
    names = {name.lower() for name in removed}
    fields = [(name.strip(), value.strip())
              for name, _, value in (text.partition(":") for text in added)]
    return ResponseDefaults("geventuwsgi" if server and "server" not in names else "",
                            date and "date" not in names, fields, read_pages(pages))


def read_pages(texts: Iterable[str]) -> dict[int, bytes]:
    """Read the error pages. If a status has several, the first readable one counts, as in
    uWSGI; one that cannot be read is logged."""
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
