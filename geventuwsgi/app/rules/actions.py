"""What the rules of internal routing do to one request, and want done to its response.

The rules of this room: an action returns None to go on to the next rule, `FINISHED` to
end the rules, or `GOTO`. An answer is a WSGI application.
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
    """One request on its way through the rules.

    Attributes:
        exchange, environ: the request.
        captures: what the last pattern that matched captured, all of it first.
        label: where `goto` leads.
        answer: the application that answers instead; None if none does.
        closed: the connection is to be closed without an answer.
        added, removed, gzip: what is done to the response.
        rules: what knows the rules for responses.
        status: of the response, 0 before there is one.
    """

    __slots__ = ("exchange", "environ", "captures", "label", "answer", "closed", "added",
                 "removed", "gzip", "rules", "status")

    def __init__(self, exchange: WsgiExchange, rules: Any, removed: Iterable[str]) -> None:
        self.exchange = exchange
        self.rules = rules
        self.status = 0
        self.environ = exchange.environ
        self.captures: tuple[str, ...] = ()
        self.label = ""
        self.answer: Callable[..., Any] | None = None
        self.closed = False
        self.added: list[tuple[str, str]] = []
        self.removed = set(removed)
        self.gzip = False

    def finish(self) -> None:
        """The response has left: follow the rules for that."""
        if self.rules.final:
            self.rules.finish(self)

    def reply(self, status: str, body: bytes, *headers: tuple[str, str]) -> object:
        """Answer with this, and end the rules."""
        def answer(environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
            start_response(status, list(headers))
            return [body]
        return self.answered(answer)

    def answered(self, answer: Callable[..., Any]) -> object:
        """Have an application answer instead, and end the rules."""
        self.answer = answer
        self.gzip = False
        return FINISHED


# The actions.

def _break(visit: RuleContext, argument: Template) -> object:
    """`break:` closes, `break:403 Forbidden` answers without a body; both as uWSGI."""
    status = argument.fill(visit).strip()
    visit.exchange.transport.persists = False
    if status:
        return visit.reply(status, b"", ("Content-Type", "text/plain"))
    visit.closed = True
    return FINISHED


def _return(visit: RuleContext, argument: Template) -> object:
    code = argument.fill(visit).strip()[:3]
    phrase = HTTPStatus(int(code)).phrase
    return visit.reply(f"{code} {phrase}", phrase.encode(), ("Content-Type", "text/plain"))


def _redirect(status: str) -> Callable[[RuleContext, Template], object]:
    # uWSGI's words: "Moved" for 302, the phrase for 301.
    body = b"Moved Permanently" if status.startswith("301") else b"Moved"
    return lambda visit, argument: visit.reply(
        status, body, ("Content-Type", "text/plain"), ("Location", _line(visit, argument)))


def _line(visit: RuleContext, argument: Template) -> str:
    """Fill a template that goes into a header: a request cannot bring in another line."""
    return "".join(char for char in argument.fill(visit) if char >= " " and char != "\x7f").strip()


def _set(name: str, *others: str) -> Callable[[RuleContext, Template], None]:
    def action(visit: RuleContext, argument: Template) -> None:
        value = argument.fill(visit)
        for key in (name, *others):
            visit.environ[key] = value
    return action


def _rewrite(visit: RuleContext, argument: Template) -> None:
    """`rewrite:/path?query` sets the path; the client's query stays, behind that of the rule."""
    path, _, query = argument.fill(visit).partition("?")
    visit.environ["PATH_INFO"] = path
    visit.environ["QUERY_STRING"] = "&".join(
        filter(None, (query, visit.environ.get("QUERY_STRING"))))


def _rewrite_last(visit: RuleContext, argument: Template) -> object:
    _rewrite(visit, argument)
    return FINISHED


def _fix_path(visit: RuleContext, argument: Template) -> None:
    """`fixpathinfo:` takes SCRIPT_NAME off the path (nginx sends it with the path)."""
    script, path = visit.environ.get("SCRIPT_NAME", ""), visit.environ["PATH_INFO"]
    if script and path.startswith(script):
        visit.environ["PATH_INFO"] = path[len(script):]


def _variable(visit: RuleContext, argument: Template) -> None:
    name, _, value = argument.fill(visit).partition("=")
    if "." not in name:  # the server's own: wsgi.input and the like
        visit.environ[name] = value


def _log_variable(visit: RuleContext, argument: Template) -> None:
    name, _, value = argument.fill(visit).partition("=")
    exchange = visit.exchange
    exchange.logvars = {**(exchange.logvars or {}), name: value}


def _header(visit: RuleContext, argument: Template) -> None:
    name, _, value = _line(visit, argument).partition(":")
    visit.added.append((name.strip(), value.strip()))


def _remove_header(visit: RuleContext, argument: Template) -> None:
    visit.removed.add(argument.fill(visit).strip().rstrip(":").lower())


def _log(visit: RuleContext, argument: Template) -> None:
    log.info("%s", _line(visit, argument))


def _do_not_log(visit: RuleContext, argument: Template) -> None:
    visit.exchange.logged = False


def _goto(visit: RuleContext, argument: Template) -> object:
    visit.label = argument.fill(visit).strip()
    return GOTO


def _gzip(visit: RuleContext, argument: Template) -> None:
    visit.gzip = True


def _file(visit: RuleContext, argument: Template) -> object:
    """Serve a file. What the request brought along may not lead above the directory that
    the rule names."""
    files = _files()
    found = files.open_within(argument.directory, argument.fill(visit))
    if found is None:
        page = visit.exchange.transport.standing.pages.get(404)
        if page is not None:
            return visit.reply("404 Not Found", page, ("Content-Type", "text/html"))
        return visit.reply("404 Not Found", b"Not Found", ("Content-Type", "text/plain"))
    return visit.answered(lambda environ, start: files.answer(found, environ, start))


@cache
def _files() -> StaticFiles:
    return StaticFiles()


def _scheme(visit: RuleContext, argument: Template) -> None:
    scheme = argument.fill(visit).lower()
    if scheme in ("http", "https"):
        visit.environ["wsgi.url_scheme"] = visit.environ["REQUEST_SCHEME"] = scheme


def _basic_auth(visit: RuleContext, argument: Template) -> object:
    if _authorized(visit, argument):
        return None
    realm = argument.text.partition(",")[0]
    return visit.reply("401 Authorization Required", b"Unauthorized",
                       ("Content-Type", "text/plain"),
                       ("WWW-Authenticate", f'Basic realm="{realm}"'))


def _basic_auth_next(visit: RuleContext, argument: Template) -> object:
    """The same, but who is not let in here may be by a later rule: who is, is done."""
    return FINISHED if _authorized(visit, argument) else None


def _authorized(visit: RuleContext, argument: Template) -> bool:
    """Check the credentials of RFC 7617 against `realm,user:password`; set REMOTE_USER."""
    scheme, _, encoded = visit.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        given = b64decode(encoded.strip(), validate=True)
    except ValueError:
        return False
    wanted = argument.text.partition(",")[2].encode()
    if not hmac.compare_digest(given, wanted):
        return False
    visit.environ["REMOTE_USER"] = given.partition(b":")[0].decode("latin-1")
    visit.environ["AUTH_TYPE"] = "Basic"
    return True


def _continue(visit: RuleContext, argument: Template) -> object:
    return FINISHED


def _nothing(visit: RuleContext, argument: Template) -> None:
    """`chunked:`: responses without a length are chunked anyway."""


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
    "static": _file, "file": _file, "sendfile": _file, "gzip": _gzip, "chunked": _nothing,
    "basicauth": _basic_auth, "basicauth-next": _basic_auth_next}
