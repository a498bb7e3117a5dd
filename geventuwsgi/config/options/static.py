"""The options on static files, which the workers serve themselves."""

from geventuwsgi.config.options.option import ON_BY_DEFAULT, Option
from geventuwsgi.config.values.origin import CastContext
from geventuwsgi.config.values.types import Boolean, Choice, Many, Path, ValueType, check_pattern


class MappedPath(ValueType):
    """`/prefix=PATH`."""

    metavar = "/PREFIX=PATH"
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        prefix, equals, path = (part.strip() for part in text.partition("="))
        if not equals or not path:
            context.fail(f"{text!r} is not of the form /prefix=directory")
        if not prefix.startswith("/"):
            context.fail(f"{prefix!r}: a prefix begins with '/', as every path does")
        return f"{prefix}={path}"


class Pattern(ValueType):
    """A regular expression."""

    metavar = "REGEX"

    def value(self, text: str, context: CastContext) -> object:
        check_pattern(text, context)
        return text


class PatternSeconds(ValueType):
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
        check_pattern(pattern.strip(), context)
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


_STATIC = "Static files"


def _expires(name: str, value_type: ValueType, about: str) -> tuple[Option, Option]:
    """Make two rows: expiry counted from the request, and from the file's last change."""
    return (
        Option(name, Many(value_type), f"send Expires, this many seconds ahead, with files whose "
               f"{about}; may be repeated, the first match wins", _STATIC, default=(), merge=True),
        Option(f"{name}-mtime", Many(value_type), f"as {name}, counted from the file's last change",
               _STATIC, default=(), merge=True))


STATIC: tuple[Option, ...] = (
    Option("static-map", Many(MappedPath()), "serve files of a directory, or one file, for paths "
           "with a prefix, as in /static=/srv/shop/static; if the file does not exist, the "
           "request goes to the application; may be repeated", _STATIC, default=(), merge=True,
           difference="ETag, conditional requests and byte ranges (RFC 9110) are supported; a file "
                      "sent to a slow client does not occupy an application slot"),
    Option("static-map2", Many(MappedPath()), "as static-map, with the whole path appended to the "
           "directory", _STATIC, default=(), merge=True),
    Option("check-static", Many(Path()), "serve every path that is a file in this directory; may "
           "be repeated", _STATIC, default=(), merge=True, aliases=("static-check",)),
    Option("check-static-docroot", Boolean(), "serve every path that is a file in the "
           "DOCUMENT_ROOT that the web server sends", _STATIC, default=False),
    Option("static-index", Many(ValueType()), "the file to serve for a directory, such as "
           "index.html; may be repeated", _STATIC, default=(), merge=True),
    Option("static-skip-ext", Many(ValueType()), "never serve files whose names have this ending; "
           "may be repeated", _STATIC, default=(), merge=True),
    Option("static-safe", Many(Path()), "an additional directory that symbolic links may point "
           "into; may be repeated", _STATIC, default=(), merge=True),
    *_expires("static-expires", PatternSeconds(), "path on disk matches"),
    *_expires("static-expires-uri", PatternSeconds(), "REQUEST_URI matches"),
    *_expires("static-expires-path-info", PatternSeconds(), "PATH_INFO matches"),
    *_expires("static-expires-type", TypeSeconds(), "media type is this one"),
    Option("static-gzip", Many(Pattern()), "if the path on disk matches, send the compressed file "
           "beside it, with .gz appended to its name, to clients that accept gzip; may be repeated",
           _STATIC, default=(), merge=True),
    Option("static-gzip-all", Boolean(), "as static-gzip, for all files", _STATIC, default=False),
    Option("static-gzip-dir", Many(Path()), "as static-gzip, for files below a directory; may be "
           "repeated", _STATIC, default=(), merge=True, aliases=("static-gzip-prefix",)),
    Option("static-gzip-ext", Many(ValueType()), "as static-gzip, for names with this ending; may "
           "be repeated", _STATIC, default=(), merge=True, aliases=("static-gzip-suffix",)),
    Option("mimefile", Many(Path()), "a file that maps file name extensions to media types; "
           "may be repeated", _STATIC, default=(), merge=True, aliases=("mime-file",),
           derived="/etc/mime.types",
           difference="if it does not exist, Python's own table is used"),
    Option("file-serve-mode", Choice("x-sendfile", "x-accel-redirect", "nginx"),
           "let the web server in front send the files: respond with X-Sendfile, or with nginx's "
           "X-Accel-Redirect", _STATIC, aliases=("fileserve-mode",),
           derived="this server sends them"),
    Option("honour-range", Boolean(), "serve byte ranges of static files", _STATIC, default=True,
           aliases=("honor-range",), difference=ON_BY_DEFAULT),
)
