"""The rows of files that the workers serve themselves."""

import re

from geventuwsgi.config.options.option import Option
from geventuwsgi.config.values.origin import CastContext
from geventuwsgi.config.values.types import Boolean, Choice, ValueType, Many, Path


class MappedPath(ValueType):
    """`/prefix=PATH`."""

    metavar = "/PREFIX=PATH"
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        prefix, equals, path = (part.strip() for part in text.partition("="))
        if not equals or not path:
            context.fail(f"{text!r} is not of the form /prefix=directory")
        if not prefix.startswith("/"):
            context.fail(f"{prefix!r}: a prefix begins with '/', or no path would ever match")
        return f"{prefix}={path}"


class Pattern(ValueType):
    """A regular expression."""

    metavar = "REGEX"

    def value(self, text: str, context: CastContext) -> object:
        self.check(text, context)
        return text

    @staticmethod
    def check(text: str, context: CastContext) -> None:
        try:
            re.compile(text)
        except re.error as error:
            context.fail(f"{text!r} is no regular expression: {error}")


class PatternSeconds(Pattern):
    """A regular expression, a blank, and a number of seconds."""

    metavar = "REGEX SECONDS"
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        pattern, _, seconds = text.strip().rpartition(" ")
        if context.origin.uwsgi and seconds.startswith("$("):
            context.warn(f"{seconds} is not set and counts as 0")
            seconds = "0"
        if not pattern or not seconds.isascii() or not seconds.isdigit():
            context.fail(f"{text!r} is not of the form REGEX SECONDS")
        self.check(pattern.strip(), context)
        return f"{pattern.strip()} {int(seconds)}"


class TypeSeconds(ValueType):
    """`media/type=SECONDS`."""

    metavar = "TYPE=SECONDS"
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        media, equals, seconds = (part.strip() for part in text.partition("="))
        if not equals or not media or not seconds.isascii() or not seconds.isdigit():
            context.fail(f"{text!r} is not of the form media/type=SECONDS")
        return f"{media}={int(seconds)}"


_FILES = "Static files"


def _expires(name: str, kind: ValueType, about: str) -> tuple[Option, Option]:
    """Make the two rows of one subject: from the request on, and from the file's change."""
    return (
        Option(name, Many(kind), f"send Expires, so many seconds ahead, with files whose {about}; "
               "may be repeated, the first that fits counts", _FILES, default=(), merge=True),
        Option(f"{name}-mtime", Many(kind), "the same, counted from the file's last change",
               _FILES, default=(), merge=True))


STATIC = (
    Option("static-map", Many(MappedPath()), "serve files of a directory, or one file, for paths "
           "that begin so, as in /static=/srv/shop/static; a file that is not there is left to "
           "the application; may be repeated", _FILES, default=(), merge=True,
           difference="ETag, conditions and byte ranges of RFC 9110 are honoured; a file sent to a "
                      "slow client takes no slot of gevent"),
    Option("static-map2", Many(MappedPath()), "the same, with the whole path behind the directory",
           _FILES, default=(), merge=True),
    Option("check-static", Many(Path()), "serve every path that is a file in this directory; may "
           "be repeated", _FILES, default=(), merge=True, aliases=("static-check",)),
    Option("check-static-docroot", Boolean(), "serve every path that is a file in the "
           "DOCUMENT_ROOT that the web server sends", _FILES, default=False),
    Option("static-index", Many(ValueType()), "the file that stands for a directory, such as "
           "index.html; may be repeated", _FILES, default=(), merge=True),
    Option("static-skip-ext", Many(ValueType()), "never serve files whose names end so; may be "
           "repeated", _FILES, default=(), merge=True),
    Option("static-safe", Many(Path()), "a directory beyond the mapped ones that symbolic links "
           "may lead to; may be repeated", _FILES, default=(), merge=True),
    *_expires("static-expires", PatternSeconds(), "path on disk matches"),
    *_expires("static-expires-uri", PatternSeconds(), "REQUEST_URI matches"),
    *_expires("static-expires-path-info", PatternSeconds(), "PATH_INFO matches"),
    *_expires("static-expires-type", TypeSeconds(), "media type is this one"),
    Option("static-gzip", Many(Pattern()), "send the compressed file beside a file, its name with "
           ".gz behind, to clients that take gzip, where the path on disk matches; may be repeated",
           _FILES, default=(), merge=True),
    Option("static-gzip-all", Boolean(), "the same for all files", _FILES, default=False),
    Option("static-gzip-dir", Many(Path()), "the same for files below a directory; may be "
           "repeated", _FILES, default=(), merge=True, aliases=("static-gzip-prefix",)),
    Option("static-gzip-ext", Many(ValueType()), "the same for names that end so; may be repeated",
           _FILES, default=(), merge=True, aliases=("static-gzip-suffix",)),
    Option("mimefile", Many(Path()), "where the media types of files are read from; may be "
           "repeated", _FILES, default=(), merge=True, aliases=("mime-file",),
           derived="/etc/mime.types",
           difference="without the file those that Python knows are left"),
    Option("file-serve-mode", Choice("x-sendfile", "x-accel-redirect", "nginx"),
           "leave the sending to the web server in front: answer with X-Sendfile, or with nginx's "
           "X-Accel-Redirect", _FILES, aliases=("fileserve-mode",), derived="files are sent here"),
    Option("honour-range", Boolean(), "serve byte ranges of static files", _FILES, default=True,
           aliases=("honor-range",), difference="on unless switched off"),
)
