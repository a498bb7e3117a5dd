"""The actions of the rules of internal routing, and their context for a request.

An action returns None to continue with the next rule, `FINISHED` to end the rules, or `GOTO`.
"""

import hmac
import logging
from base64 import b64decode
from collections.abc import Callable, Iterable
from functools import cache
from http import HTTPStatus
from typing import Any

from ..static.files import StaticFiles
from ..wsgi import WsgiExchange
from .variables import Template

log = logging.getLogger("geventuwsgi.error")

FINISHED = object()
GOTO = object()


class RuleContext:
    """The state of a request in the rules.

    Attributes:
        exchange, environ: the request.
        captures: the groups of the last pattern that matched; the first is the whole match.
        label: the target of the last `goto`.
        replacement: the WSGI application that responds instead, or None.
        closed: close the connection without a response.
        added, removed, gzip: changes of the response.
        rules: the `Routes`, with the rules for responses.
        status: of the response, 0 before there is one.
    """

    __slots__ = ("exchange", "environ", "captures", "label", "replacement", "closed", "added",
                 "removed", "gzip", "rules", "status")

    def __init__(self, exchange: WsgiExchange, rules: Any, removed: Iterable[str]) -> None:
        self.exchange = exchange
        self.rules = rules
        self.status = 0
        self.environ = exchange.environ
        self.captures: tuple[str, ...] = ()
        self.label = ""
        self.replacement: Callable[..., Any] | None = None
        self.closed = False
        self.added: list[tuple[str, str]] = []
        self.removed = set(removed)
        self.gzip = False

    def finish(self) -> None:
        """Apply the final rules."""
        if self.rules.final:
            self.rules.finish(self)

    def reply(self, status: str, body: bytes, *headers: tuple[str, str]) -> object:
        """Respond with this, and end the rules."""
        def application(environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
            start_response(status, list(headers))
            return [body]
        return self.respond_with(application)

    def respond_with(self, application: Callable[..., Any]) -> object:
        """Respond by this application, and end the rules."""
        self.replacement = application
        self.gzip = False
        return FINISHED


# The actions.

def _break(context: RuleContext, argument: Template) -> object:
    """As in uWSGI, `break:` closes, and `break:403 Forbidden` responds without a body."""
    status = argument.fill(context).strip()
    context.exchange.transport.persists = False
    if status:
        return context.reply(status, b"", ("Content-Type", "text/plain"))
    context.closed = True
    return FINISHED


def _return(context: RuleContext, argument: Template) -> object:
    code = argument.fill(context).strip()[:3]
    phrase = HTTPStatus(int(code)).phrase
    return context.reply(f"{code} {phrase}", phrase.encode(), ("Content-Type", "text/plain"))


def _redirect(status: str) -> Callable[[RuleContext, Template], object]:
    # uWSGI's bodies: "Moved" for 302, the phrase for 301.
    body = b"Moved Permanently" if status.startswith("301") else b"Moved"
    return lambda context, argument: context.reply(
        status, body, ("Content-Type", "text/plain"), ("Location", _line(context, argument)))


def _line(context: RuleContext, argument: Template) -> str:
    """Fill a template for a header, without control characters: no text of a request can add
    a line."""
    text = argument.fill(context)
    return "".join(char for char in text if char >= " " and char != "\x7f").strip()


def _set(name: str, *others: str) -> Callable[[RuleContext, Template], None]:
    def action(context: RuleContext, argument: Template) -> None:
        value = argument.fill(context)
        for key in (name, *others):
            context.environ[key] = value
    return action


def _rewrite(context: RuleContext, argument: Template) -> None:
    """`rewrite:/path?query` sets the path; the client's query is kept after that of the rule."""
    path, _, query = argument.fill(context).partition("?")
    context.environ["PATH_INFO"] = path
    context.environ["QUERY_STRING"] = "&".join(
        filter(None, (query, context.environ.get("QUERY_STRING"))))


def _rewrite_last(context: RuleContext, argument: Template) -> object:
    _rewrite(context, argument)
    return FINISHED


def _fix_path(context: RuleContext, argument: Template) -> None:
    """`fixpathinfo:` removes SCRIPT_NAME from the path, which nginx sends with it."""
    script, path = context.environ.get("SCRIPT_NAME", ""), context.environ["PATH_INFO"]
    if script and path.startswith(script):
        context.environ["PATH_INFO"] = path[len(script):]


def _variable(context: RuleContext, argument: Template) -> None:
    name, _, value = argument.fill(context).partition("=")
    if "." not in name:  # not wsgi.input and other variables of the server
        context.environ[name] = value


def _log_variable(context: RuleContext, argument: Template) -> None:
    name, _, value = argument.fill(context).partition("=")
    exchange = context.exchange
    exchange.logvars = {**(exchange.logvars or {}), name: value}


def _header(context: RuleContext, argument: Template) -> None:
    name, _, value = _line(context, argument).partition(":")
    context.added.append((name.strip(), value.strip()))


def _remove_header(context: RuleContext, argument: Template) -> None:
    context.removed.add(argument.fill(context).strip().rstrip(":").lower())


def _log(context: RuleContext, argument: Template) -> None:
    log.info("%s", _line(context, argument))


def _do_not_log(context: RuleContext, argument: Template) -> None:
    context.exchange.logged = False


def _goto(context: RuleContext, argument: Template) -> object:
    context.label = argument.fill(context).strip()
    return GOTO


def _gzip(context: RuleContext, argument: Template) -> None:
    context.gzip = True


def _file(context: RuleContext, argument: Template) -> object:
    """Serve a file. Text of the request must not lead above the directory in the rule."""
    files = _files()
    found = files.open_within(argument.directory, argument.fill(context))
    if found is None:
        page = context.exchange.transport.response_defaults.pages.get(404)
        if page is not None:
            return context.reply("404 Not Found", page, ("Content-Type", "text/html"))
        return context.reply("404 Not Found", b"Not Found", ("Content-Type", "text/plain"))
    return context.respond_with(lambda environ, start: files.respond(found, environ, start))


@cache
def _files() -> StaticFiles:
    return StaticFiles()


def _scheme(context: RuleContext, argument: Template) -> None:
    scheme = argument.fill(context).lower()
    if scheme in ("http", "https"):
        context.environ["wsgi.url_scheme"] = context.environ["REQUEST_SCHEME"] = scheme


def _basic_auth(context: RuleContext, argument: Template) -> object:
    if _authorized(context, argument):
        return None
    realm = argument.text.partition(",")[0]
    return context.reply("401 Authorization Required", b"Unauthorized",
                         ("Content-Type", "text/plain"),
                         ("WWW-Authenticate", f'Basic realm="{realm}"'))


def _basic_auth_next(context: RuleContext, argument: Template) -> object:
    """The same, but without the right credentials a later rule may still allow the request."""
    return FINISHED if _authorized(context, argument) else None


def _authorized(context: RuleContext, argument: Template) -> bool:
    """Check the credentials of RFC 7617 against `realm,user:password`; set REMOTE_USER."""
    scheme, _, encoded = context.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        given = b64decode(encoded.strip(), validate=True)
    except ValueError:
        return False
    wanted = argument.text.partition(",")[2].encode()
    if not hmac.compare_digest(given, wanted):
        return False
    context.environ["REMOTE_USER"] = given.partition(b":")[0].decode("latin-1")
    context.environ["AUTH_TYPE"] = "Basic"
    return True


def _continue(context: RuleContext, argument: Template) -> object:
    return FINISHED


def _chunked(context: RuleContext, argument: Template) -> None:
    """`chunked:` has no effect, as responses without a length are always chunked."""


ACTIONS: dict[str, Callable[[RuleContext, Template], object]] = {
    "continue": _continue, "last": _continue, "break": _break,
    "return": _return, "break-with-status": _return,
    "redirect": _redirect("302 Found"), "redirect-302": _redirect("302 Found"),
    "redirect-301": _redirect("301 Moved Permanently"),
    "redirect-permanent": _redirect("301 Moved Permanently"),
    "rewrite": _rewrite, "rewrite-last": _rewrite_last, "goto": _goto, "log": _log,
    "donotlog": _do_not_log, "logvar": _log_variable, "addvar": _variable,
    "addheader": _header, "delheader": _remove_header, "remheader": _remove_header,
    "setuser": _set("REMOTE_USER"), "setscriptname": _set("SCRIPT_NAME"),
    "setmethod": _set("REQUEST_METHOD"), "seturi": _set("REQUEST_URI", "RAW_URI"),
    "setremoteaddr": _set("REMOTE_ADDR"), "setpathinfo": _set("PATH_INFO"),
    "setdocroot": _set("DOCUMENT_ROOT"), "fixpathinfo": _fix_path, "setscheme": _scheme,
    "static": _file, "file": _file, "sendfile": _file, "gzip": _gzip, "chunked": _chunked,
    "basicauth": _basic_auth, "basicauth-next": _basic_auth_next}
