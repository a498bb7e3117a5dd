"""Types of values: each turns the text of an option into a value, or reports what is wrong.

A line in a [uwsgi] section keeps uWSGI's meaning. Where that is a trap (an inline comment becomes
part of a path, `0666` stops the startup) the type does what was plainly meant and adds a warning.
Elsewhere a text that is not a value is an error.

A type looks at no other option, and does nothing to the process.
"""

import grp
import ipaddress
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from geventuwsgi.config.values.origin import CastContext
from geventuwsgi.errors import BindError
from geventuwsgi.log.loggers import NOT_A_PATTERN
from geventuwsgi.net import address

TRUE = ("true", "on", "yes")
FALSE = ("false", "off", "no")
COMMENT = re.compile(r"(^|\s+)[;#].*$", re.DOTALL)
_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
_PORTLESS = re.compile(r"\d+\.\d+\.\d+\.\d+|localhost")
_PARSERS = ("auto", "h11", "httptools", "1", "2")   # --http of uvicorn and granian
_ONE_OF_SEVERAL = re.compile(r"^[/@]|:\d+$")
MAX_ID = 2 ** 32 - 2   # the highest uid or gid; -1 is "unchanged" in chown(2)
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2


class ValueType:
    """Any text, unchanged; the base class of all types."""

    metavar = "TEXT"
    flag = False       # has no value on the command line; never uses the next argument
    optional = ""      # a regular expression: uses the next argument only if it matches
    repeats = False    # the value is a tuple, repeated lines append
    comments = False   # inline comments are cut (uWSGI has none, but 9 % of files have them),
    #                    and so are quotes around the whole text, as no path or number has them
    octal = False      # written in octal digits

    def cast(self, text: str | None, context: CastContext) -> object:
        """Return the value of the text; None is a key without a value.

        Raises:
            ConfigError: naming the place, if the text is not a value of this type.
        """
        return self.value(self.uncomment(text or "", context), context)

    def value(self, text: str, context: CastContext) -> object:
        """Return the value of a text without its inline comment."""
        return text

    def uncomment(self, text: str, context: CastContext) -> str:
        """Cut an inline comment, unless `;` and `#` may be part of the value."""
        if not self.comments or context.origin.kind not in ("file", "environment"):
            return text
        cut = self.without_comment(text) if context.origin.kind == "file" else text
        if cut != text and context.origin.uwsgi:
            context.warn(f"the inline comment {text[len(cut):].strip()!r} is cut off; in uWSGI it "
                         f"is part of the value: put it on a line of its own")
        if _QUOTED.fullmatch(cut):
            if context.origin.uwsgi:
                context.warn(f"the quotes around {cut} are cut off; in uWSGI they are part of the "
                             "value")
            cut = cut[1:-1]
        return cut

    def without_comment(self, text: str) -> str:
        """Return a text without the inline comment at its end."""
        return COMMENT.sub("", text)


def check_pattern(text: str, context: CastContext) -> None:
    """Refuse a text that is not a regular expression."""
    try:
        re.compile(text)
    except re.error as error:
        context.fail(NOT_A_PATTERN.format(text, error))


def check_command(text: str, context: CastContext) -> None:
    """Refuse a command line of the shell that is empty or contains NUL."""
    if not text.strip():
        context.fail("needs a command")
    if "\0" in text:
        context.fail("a command cannot contain NUL")


class Switch(ValueType):
    """A flag whose text is not used."""

    metavar = ""
    flag = True


class Path(ValueType):
    """A file or directory as written; `resolve.paths` makes relative ones absolute."""

    metavar = "PATH"
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        if not text:
            context.fail("needs a path")
        if "\0" in text:
            context.fail("a path cannot contain NUL")
        return text


class Name(ValueType):
    """A text that is not empty."""

    metavar = "NAME"

    def value(self, text: str, context: CastContext) -> object:
        return text or context.fail("needs a value")


class Source(Name):
    """A module, a file or the name of an application, maybe the call of a factory."""

    comments = True

    def without_comment(self, text: str) -> str:
        """Cut an inline comment; within quotes `;` and `#` belong to an argument of a factory."""
        comment = COMMENT.search(_QUOTED.sub(lambda quoted: "_" * len(quoted[0]), text))
        return text[:comment.start()] if comment else text


class Boolean(ValueType):
    """True without a text and with any text except false, off, no and 0, as in uWSGI."""

    metavar = ""
    flag = True
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        word = text.lower()
        if word in FALSE or text == "0":
            return False
        if word not in (*TRUE, "", "1"):
            if not context.origin.uwsgi:
                context.fail(f"{text!r} is neither true nor false")
            context.warn(f"{text!r} counts as true, like any text except false, off, no and 0")
        return True


class Octal(ValueType):
    """A mask or mode in octal digits; the value is a number."""

    metavar = "OCTAL"
    comments = True
    octal = True

    def value(self, text: str, context: CastContext) -> object:
        if not re.fullmatch(r"(0o?)?[0-7]{1,4}", text):
            context.fail(f"{text!r} is not an octal number")
        return int(text, 8)


class SocketMode(Octal):
    """The mode of unix sockets: three octal digits, and 666 without a value."""

    optional = r"0?[0-7]{3}"
    metavar = "MODE"

    def value(self, text: str, context: CastContext) -> object:
        if text.lower() in ("", "1", "true"):
            return 0o666
        if not re.fullmatch(r"0?[0-7]{3}", text):
            context.fail(f"{text!r} is not a mode of three octal digits, such as 660")
        if len(text) == 4 and context.origin.uwsgi:
            context.warn(f"{text} is read as {text[1:]}; uWSGI refuses to start with it")
        return int(text, 8)


class Choice(ValueType):
    """One of several words.

    Args:
        words: the words; one with a dot is another server's, accepted but not listed.
        also: other spellings, in lower case, and the words that they mean.
        reasons: the messages for other words that are often written.
    """

    comments = True

    def __init__(self, *words: str, also: Mapping[str, str] = MappingProxyType({}),
                 **reasons: str) -> None:
        self.words = words
        self.also = also
        self.reasons = reasons
        self.metavar = "|".join(word for word in words if "." not in word)

    def value(self, text: str, context: CastContext) -> object:
        word = self.also.get(text.lower(), text.lower())
        if word in self.words:
            return word
        if word in self.reasons:
            context.fail(f"{text}: {self.reasons[word]}")
        context.fail(f"{text!r} is not one of {self.metavar.replace('|', ', ')}")


class Address(ValueType):
    """An address to listen on, in the forms of uWSGI and gunicorn (`net.address`)."""

    metavar = "ADDRESS"
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        if not text:
            context.fail("needs an address, such as 127.0.0.1:8000, [::1]:8000 or /run/app.sock")
        if re.search(r"\s", text):
            context.fail(f"{text!r}: an address cannot contain blanks")
        text = self._corrected(text, context)
        try:
            address.parse(text)
        except BindError as error:
            context.fail(str(error))
        return text

    def _corrected(self, text: str, context: CastContext) -> str:
        """Return the address that was meant, where uWSGI would create a file of this name."""
        port = text.isascii() and text.isdigit()
        if port and int(text) > 65535:
            context.fail(f"{text!r} is not a port (0 to 65535)")
        if port and context.origin.uwsgi:
            context.warn(f"{text} is read as :{text}, the port on all IPv4 addresses; uWSGI "
                         f"creates a unix socket of this name (./{text})")
            return f":{text}"
        if text in _PARSERS and context.origin.option == "http" and not context.origin.uwsgi:
            context.fail(f"{text} is a parser's name or a version in uvicorn and granian: leave it "
                         f"out, or write ./{text} for a unix socket")
        if _PORTLESS.fullmatch(text):
            context.fail(f"{text!r} has no port: write {text}:8000, or ./{text} for a unix socket")
        if port:
            context.fail(f"{text!r} is a file name: write :{text}, or ./{text} for a unix socket")
        scheme = re.match(r"(https?|uwsgi)://", text)
        if scheme:
            context.fail(f"{text!r} is a URL: leave {scheme[0]} out, the option sets the protocol")
        parts = text.split(",")
        if len(parts) > 1 and all(_ONE_OF_SEVERAL.search(part) for part in parts):
            context.fail(f"{text!r}: only one address per line: write a line for each")
        return text


class Network(ValueType):
    """An address or a network in CIDR form, or `*`."""

    metavar = "NETWORK[,...]"
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        if text in ("*", ""):
            return text
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            context.fail(f"{text!r} is not an IP address, a network such as 10.0.0.0/8, or *")
        alone = network.num_addresses == 1
        return str(network.network_address if alone else network)


class Account(ValueType):
    """A user or a group, by name or number. An unknown name is an error at once."""

    comments = True

    def __init__(self, group: bool = False) -> None:
        self.group = group
        self.metavar = "GROUP" if group else "USER"

    def value(self, text: str, context: CastContext) -> object:
        noun = self.metavar.lower()
        if not text:
            context.fail(f"needs a {noun}")
        number = text.isascii() and text.isdigit()
        if number and (len(text) > 10 or int(text) > MAX_ID):
            context.fail(f"{text} is above {MAX_ID}, the highest {noun} id")
        if not number and not self.known(text):
            context.fail(f"there is no {noun} {text!r}")
        return text

    def known(self, name: str) -> bool:
        try:
            if self.group:
                grp.getgrnam(name)
            else:
                pwd.getpwnam(name)
        except (KeyError, ValueError):  # ValueError: a NUL
            return False
        return True


class Owner(ValueType):
    """`user`, `user:group` or `:group`, by name or number."""

    metavar = "USER[:GROUP]"
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        user, _, group = text.partition(":")
        if not (user or group):
            context.fail("needs a user or :group")
        for name, account in ((user, Account()), (group, Account(group=True))):
            if name:
                account.value(name, context)
        return text


class Assignment(ValueType):
    """`NAME=VALUE` for the environment. Blanks around the first `=` are cut."""

    metavar = "NAME=VALUE"

    def value(self, text: str, context: CastContext) -> object:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            context.fail(f"{text!r} is not of the form NAME=VALUE")
        if "\0" in text:
            context.fail("a variable cannot contain NUL")
        if name != name.strip() or value != value.lstrip():
            context.warn(f"blanks around '=' in {text!r} are cut; uWSGI makes them part of name "
                         f"and value")
        return f"{name.strip()}={value.lstrip()}"


class Variable(Assignment):
    """`NAME=VALUE` of `env`, or another line of a file of variables (`for-readline`).

    In uWSGI's dialect the value of an empty line or a comment is "", and a name without `=` removes
    the variable, as uWSGI's putenv(3) does.
    """

    def value(self, text: str, context: CastContext) -> object:
        if not context.origin.uwsgi:
            return super().value(text, context)
        line = text.strip()
        if not line or line[0] in "#;":
            return ""
        if line.startswith("export "):
            context.warn(f"'export' of {text!r} is cut; uWSGI makes it part of the name")
            line = line.removeprefix("export ").lstrip()
        if "=" not in line and "\0" not in line:
            context.warn(f"{text!r} has no '=': the variable is removed, as in uWSGI")
            return line
        return super().value(line, context)


# No fixed text of these is right for every response.
_FRAMING_FIELDS = ("content-length", "transfer-encoding", "trailer", "te", "upgrade", "date",
                   "proxy-connection")


class Header(ValueType):
    """`Name: value` of a response header (RFC 9110 section 5)."""

    metavar = "'NAME: VALUE'"

    def value(self, text: str, context: CastContext) -> object:
        name, colon, value = text.partition(":")
        if not colon or not TOKEN.fullmatch(name):
            context.fail(f"{text!r} is not a header of the form 'Name: value'")
        if re.search(r"[\0\r\n]", value):
            context.fail("a header cannot contain CR, LF or NUL")
        field, value = name.lower(), value.strip()
        if field in _FRAMING_FIELDS:
            context.fail(f"{name}: the server writes this field itself, as it differs from "
                         "response to response")
        if field == "keep-alive" or (field == "connection" and value.lower() != "close"):
            context.warn(f"{name}: {value} has no effect: the server itself says whether it keeps "
                         "a connection (http-keepalive, keepalive)")
        return f"{name}: {value}"


class Mount(Source):
    """`/prefix=module:callable`, `/prefix=file.py` or `/prefix=file.ini` (PasteDeploy).

    With vhost also `HOST|/prefix=...`.
    """

    metavar = "[HOST|]/PREFIX=APP"
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        prefix, equals, application = (part.strip() for part in text.partition("="))
        if not equals or not application:
            context.fail(f"{text!r} is not of the form /prefix=module:callable")
        host, bar, path = prefix.rpartition("|")
        if path and not path.startswith("/"):
            context.fail(f"{prefix!r}: a prefix begins with '/'; with vhost = true a host may "
                         f"precede it, as in {path}|/prefix")
        if bar and not re.fullmatch(r"[\w.-]+(:\d+)?|\[[\da-fA-F:.]+\](:\d+)?", host):
            context.fail(f"{host!r} is not a host")
        return f"{prefix}={application}"


class PathLimit(ValueType):
    """`/prefix=SECONDS`: a time for the requests below a path."""

    metavar = "/PREFIX=SECONDS"
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        prefix, equals, seconds = (part.strip() for part in text.rpartition("="))
        if not equals or not re.fullmatch(r"\d+(\.\d+)?s?", seconds):
            context.fail(f"{text!r} is not of the form /prefix=SECONDS, such as /reports/=120")
        if not prefix.startswith("/") or re.search(r"[\s?#*]", prefix):
            context.fail(f"{prefix!r} is not a path prefix: it begins with '/', and has no "
                         f"blanks, patterns or query")
        return f"{prefix}={float(seconds.rstrip('s')):g}"


class Plugins(ValueType):
    """uWSGI's plugins, with a warning for those whose function is not built in."""

    metavar = "PLUGIN"
    built_in = re.compile(r"(python|pypy|gevent|http|logfile|logsocket|corerouter|router_|rsyslog"
                          r"|syslog|systemd_logger|spooler"
                          r"|symcall|signal|rpc|cache|ping|transformation|stats)\w*")

    def value(self, text: str, context: CastContext) -> object:
        for name in re.split(r"[\s,]+", text):
            plain = re.sub(r"^\d+:", "", name.rpartition("/")[2])    # MODIFIER:PLUGIN
            if name and not self.built_in.fullmatch(plain):
                context.warn(f"there is no plugin {name!r}: this server runs only Python")
        return text


@dataclass(frozen=True)
class Many(ValueType):
    """A repeatable option: the value is a tuple to which each line appends.

    Args:
        of: the type of each item.
        split: a character that separates items within a line.
        split_in_uwsgi: whether it also does so in uWSGI's dialect.
    """

    of: ValueType
    split: str = ""
    split_in_uwsgi: bool = True

    repeats = True

    @property
    def metavar(self) -> str:  # type: ignore[override]
        return self.of.metavar

    def cast(self, text: str | None, context: CastContext) -> tuple[object, ...]:
        text = self.of.uncomment(text or "", context)
        if not self.split or (context.origin.uwsgi and not self.split_in_uwsgi):
            return (self.of.value(text, context),)
        items = [item.strip() for item in text.split(self.split)]
        return tuple(self.of.value(item, context) for item in items if item)
