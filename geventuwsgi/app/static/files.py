"""Static files: find the file of a request, and send it (uWSGI's static-*).

- Files are looked up for GET and HEAD after the rules and before the application, which gets
  the request if there is no file or it must not be served.
- The real path of the opened file has to be below the root or a `static-safe` directory. It
  comes from the kernel, so replacing a symbolic link later changes nothing.
"""

import errno
import logging
import mimetypes
import os
import re
import stat
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from io import FileIO
from typing import Any, NamedTuple

from ...protocol.response import imf_fixdate
from ..environ import Environ
from ..wsgi import FileWrapper
from .conditional import Validators, byte_range, precondition

log = logging.getLogger("geventuwsgi.error")

# There is no file, or it cannot be opened: the application may know the path.
_NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP,
            errno.EISDIR, errno.ENXIO, errno.EINVAL, errno.EPERM}
# Parts that a path can have or not have and still name the same file.
_DETOUR = re.compile(r"/(?:\.{0,2}/|\.{1,2}$)")
# A FIFO or a device must neither block the worker nor become its terminal.
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
MIME_TYPES = "/etc/mime.types"


class Expiry(NamedTuple):
    """A rule of `static-expires*`.

    Attributes:
        subject: what is searched: "name" (the file's path), "uri", "path" (PATH_INFO) or
            "type" (the whole media type).
        pattern: a regular expression that is searched anywhere in it.
        seconds: how long the response stays fresh.
        from_mtime: counted from the file's modification, not from the request.
    """

    subject: str
    pattern: re.Pattern[str]
    seconds: int
    from_mtime: bool


class Gzipped(NamedTuple):
    """The files that may have a compressed twin, `<name>.gz` (`static-gzip*`)."""

    all: bool = False
    patterns: tuple[re.Pattern[str], ...] = ()
    prefixes: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()

    def covers(self, name: str) -> bool:
        return (self.all or name.startswith(self.prefixes) or name.endswith(self.suffixes)
                or any(pattern.search(name) for pattern in self.patterns))


class Found(NamedTuple):
    """An open regular file that may be served.

    Attributes:
        name: its real path.
        file: the file, which the response closes.
        info: the result of `fstat`.
    """

    name: str
    file: FileIO
    info: os.stat_result


class Reply(NamedTuple):
    """A response with a file.

    Attributes:
        status: the status code.
        headers: its header fields.
        first: the first octet to send, None if there is no body.
        file: the open file, which the response has to close.
    """

    status: int
    headers: list[tuple[str, str]]
    first: int | None
    file: FileIO


class StaticFiles:
    """The files that a worker serves itself.

    Args:
        maps: (prefix, directory or file): the rest of the path is looked up there.
        whole_maps: (prefix, directory): the whole path is looked up there (static-map2).
        roots: directories in which every path is looked up (check-static).
        docroot: DOCUMENT_ROOT of the request is such a directory (check-static-docroot).
        index: file names for a directory.
        skip: endings that are never served.
        safe: directories outside the roots that symbolic links may lead to.
        expiries: rules for the Expires field; the first that matches counts.
        gzipped: the files that may have a compressed twin.
        mime_files: files with media types besides those that Python knows; the default is
            /etc/mime.types.
        offload: "x-sendfile" or "x-accel-redirect": the web server in front sends the file.
        ranges: serve byte ranges.
        wrapper: how files are sent.
        guarded: there are rules for paths, so a file is found only by one spelling of its
            path: a path that a rule does not match must not lead to the file (in uWSGI it
            does).
    """

    def __init__(self, *, maps: Sequence[tuple[str, str]] = (),
                 whole_maps: Sequence[tuple[str, str]] = (), roots: Sequence[str] = (),
                 docroot: bool = False, index: Sequence[str] = (), skip: Sequence[str] = (),
                 safe: Sequence[str] = (), expiries: Sequence[Expiry] = (),
                 gzipped: Gzipped = Gzipped(), mime_files: Sequence[str] = (),
                 offload: str = "", ranges: bool = True,
                 wrapper: type[FileWrapper] = FileWrapper, guarded: bool = False) -> None:
        self._guarded = guarded
        self._maps = tuple(maps)
        self._whole_maps = tuple(whole_maps)
        self._roots = tuple(roots)
        self._docroot = docroot
        self._index = tuple(index)
        self._skip = tuple(skip)
        self._safe = tuple(safe)
        self._expiries = tuple(expiries)
        self._gzipped = gzipped
        self._offload = offload
        self._ranges = ranges
        self._wrapper = wrapper
        self._types = mimetypes.MimeTypes()
        for file in mime_files or (MIME_TYPES,):
            if os.path.exists(file):
                self._types.read(file)
            elif mime_files:
                log.error("!!! no %s file found !!!", file)
        self.served = 0

    def find(self, environ: Environ) -> Found | None:
        """Open the file of a request, if there is one that may be served."""
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return None
        path = environ["PATH_INFO"]
        if "\0" in path or path.endswith(self._skip):
            return None
        if self._guarded and _DETOUR.search(path):
            return None
        path = os.fsdecode(path.encode("latin-1"))
        for root, rest in self._places(path, environ):
            found = self._open(root, rest)
            if found is not None:
                return found
        return None

    def _places(self, path: str, environ: Environ) -> Iterable[tuple[str, str]]:
        """Yield each root to look in, and the path to look up there."""
        if self._docroot and environ.get("DOCUMENT_ROOT"):
            yield environ["DOCUMENT_ROOT"], path
        for root in self._roots:
            yield root, path
        for prefix, root in self._maps:
            if path.startswith(prefix):
                rest = path[len(prefix):]
                if self._guarded and rest and "/" not in (prefix[-1:], rest[0]):
                    continue  # /medialogo.png is not /media/logo.png
                yield root, rest
        for prefix, root in self._whole_maps:
            if path.startswith(prefix):
                yield root, path

    def _open(self, root: str, rest: str) -> Found | None:
        name = f"{root}/{rest.lstrip('/')}" if rest else root
        found = self._regular(name)
        if found is None:
            for index in self._index:
                if os.path.isdir(name) and (found := self._regular(f"{name}/{index}")):
                    break
        if found is None:
            return None
        return self._contained(found, root)

    def open_within(self, root: str, name: str) -> Found | None:
        """Open the regular file `name` if its real path is below the directory `root`."""
        found = None if "\0" in name else self._regular(os.fsdecode(name.encode("latin-1")))
        return found and self._contained(found, root)

    def _contained(self, found: Found, root: str) -> Found | None:
        """Return a file that is below its root or a safe directory; close any other."""
        for allowed in (root, *self._safe):
            real = os.path.realpath(allowed)
            if found.name == real or found.name.startswith(real.rstrip("/") + "/"):
                return found
        log.error("[uwsgi-fileserve] security error: %s is not under %s or a safe path",
                  found.name, root)
        found.file.close()
        return None

    @staticmethod
    def _regular(name: str) -> Found | None:
        """Open a regular file and get its real path from the kernel."""
        try:
            fd = os.open(name, _OPEN)
        except OSError as error:
            if error.errno not in _NO_FILE:
                log.error("cannot serve %s: %s", name, error.strerror)
            return None
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            os.close(fd)
            return None
        try:
            real = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:  # no /proc here
            real = os.path.realpath(name)
        return Found(real, FileIO(fd), info)

    def respond(self, found: Found, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Respond with the file that `find` opened; a WSGI application except for its first
        argument. The descriptor is closed with the returned iterable, or before."""
        reply = self._reply(found, environ)
        file = reply.file
        try:
            start_response(str(reply.status), reply.headers)
            if reply.first:
                file.seek(reply.first)
        except BaseException:
            file.close()
            raise
        if reply.first is None:
            file.close()
            return []
        return self._wrapper(file)

    async def respond_asgi(self, found: Found, environ: Environ, scope: object, receive: object,
                           send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        """As `respond`; an ASGI application except for its first two arguments."""
        reply = self._reply(found, environ)
        with reply.file:
            await send({"type": "http.response.start", "status": reply.status, "headers": [
                (name.encode("latin-1"), os.fsencode(value)) for name, value in reply.headers]})
            if reply.first is None:
                await send({"type": "http.response.body"})
            else:   # as much as the Content-Length says
                await send({"type": "http.response.zerocopysend", "file": reply.file,
                            "offset": reply.first})

    def _reply(self, found: Found, environ: Environ) -> Reply:
        self.served += 1
        headers: list[tuple[str, str]] = []
        media, encoding = self._types.guess_type(found.name)
        if encoding is not None:
            media = "application/gzip" if encoding == "gzip" else "application/octet-stream"
        if media is not None:
            headers.append(("Content-Type", media))
        if self._gzipped.covers(found.name):
            headers.append(("Vary", "Accept-Encoding"))
            twin = self._twin(found, environ)
            if twin is not None:
                found.file.close()
                found = twin
                headers.append(("Content-Encoding", "gzip"))
        file = found.file
        if self._offload:
            headers += [(self._offload, found.name),
                        ("Last-Modified", imf_fixdate(int(found.info.st_mtime)))]
            return Reply(200, headers, None, file)
        status, first = self._describe(found, environ, media or "", headers)
        return Reply(status, headers, first, file)

    def _describe(self, found: Found, environ: Environ, media: str,
                  headers: list[tuple[str, str]]) -> tuple[int, int | None]:
        """Complete the headers; return the status and the first octet to send, None if the
        response has no body."""
        size = found.info.st_size
        modified = int(found.info.st_mtime)
        validators = Validators(f'"{found.info.st_mtime_ns:x}-{size:x}"', modified,
                                imf_fixdate(modified))
        headers += [("Last-Modified", validators.last_modified), ("ETag", validators.etag)]
        expires = self._expires(found, environ, media)
        if expires:
            headers.append(("Expires", expires))
        status = precondition(environ, validators)
        if status != 200:
            return status, None
        first = 0
        if self._ranges:
            headers.append(("Accept-Ranges", "bytes"))
            part = byte_range(environ, validators, size)
            if part == (0, 0):
                headers.append(("Content-Range", f"bytes */{size}"))
                return 416, None
            if part is not None:
                first, count = part
                headers.append(("Content-Range", f"bytes {first}-{first + count - 1}/{size}"))
                status, size = 206, count
        headers.append(("Content-Length", str(size)))
        return status, first

    def _twin(self, found: Found, environ: Environ) -> Found | None:
        """Open the compressed twin of a file if the client accepts it."""
        if not accepts_gzip(environ.get("HTTP_ACCEPT_ENCODING", "")):
            return None
        twin = self._regular(found.name + ".gz")
        if twin is not None and twin.name != found.name + ".gz":
            twin.file.close()  # a link to another file
            return None
        return twin

    def _expires(self, found: Found, environ: Environ, media: str) -> str:
        subjects = {"name": found.name, "type": media, "path": environ["PATH_INFO"],
                    "uri": environ.get("REQUEST_URI", "")}
        for rule in self._expiries:
            if rule.pattern.search(subjects[rule.subject]):
                begin = found.info.st_mtime if rule.from_mtime else time.time()
                return imf_fixdate(int(begin) + rule.seconds)
        return ""


def accepts_gzip(field: str) -> bool:
    """Whether an Accept-Encoding field accepts gzip (RFC 9110 section 12.5.3)."""
    any_coding = False
    for one in field.lower().split(","):
        coding, _, weight = (part.strip(" \t") for part in one.partition(";"))
        if coding in ("gzip", "x-gzip", "*"):
            refused = re.fullmatch(r"q=0(\.0{0,3})?", weight) is not None
            if coding != "*":
                return not refused
            any_coding = not refused
    return any_coding


def pair(text: str) -> tuple[str, str]:
    """Split `/prefix=path` or `type=seconds`."""
    left, _, right = text.partition("=")
    return left, right


def expiries(subject: str, texts: Iterable[str], from_mtime: bool) -> Iterable[Expiry]:
    """Make the rules of one `static-expires*` option.

    Args:
        subject: see `Expiry`.
        texts: `REGEX SECONDS`; for the subject "type" `media/type=SECONDS`.
        from_mtime: see `Expiry`.
    """
    for text in texts:
        if subject == "type":
            media, seconds = pair(text)
            pattern = f"^{re.escape(media)}$"
        else:
            pattern, _, seconds = text.rpartition(" ")
        yield Expiry(subject, re.compile(pattern), int(seconds), from_mtime)
