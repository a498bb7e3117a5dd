"""The rows of internal routing, and what may stand in a rule.

A rule is checked here, word by word, so that the room which follows it for each request
finds nothing wrong. What of uWSGI's language is not here is named with what to do instead.
"""

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus

from geventuwsgi.config.options.option import Option
from geventuwsgi.config.values.origin import CastContext, Origin
from geventuwsgi.config.values.types import ValueType, Many

# Condition -> number of its operands.
CONDITIONS = {
    "exists": 1, "isfile": 1, "isdir": 1, "islink": 1, "isexec": 1, "empty": 1,
    "equal": 2, "eq": 2, "==": 2, "startswith": 2, "endswith": 2, "contains": 2,
    "regexp": 2, "re": 2, "ishigher": 2, ">": 2, "ishigherequal": 2, ">=": 2,
    "islower": 2, "<": 2, "islowerequal": 2, "<=": 2, "ipv4in": 2, "ipv6in": 2}
FUNCTIONS = ("cookie", "qs", "time", "httptime", "uwsgi", "mime", "base64", "hex")
# What may stand between their brackets, where that is no name of the client's or a variable's.
WORDS = {"uwsgi": ("pid", "wid", "uuid", "status", "rsize"), "time": ("unix", "micros")}
# Action -> whether an argument has to stand behind its colon.
ACTIONS = {
    "continue": False, "last": False, "break": False, "return": True, "break-with-status": True,
    "redirect": True, "redirect-302": True, "redirect-301": True, "redirect-permanent": True,
    "rewrite": True, "rewrite-last": True, "goto": True, "log": True, "donotlog": False,
    "logvar": True, "addvar": True, "addheader": True, "delheader": True, "remheader": True,
    "setuser": False, "setscriptname": False, "setmethod": True, "seturi": True,
    "setremoteaddr": True, "setpathinfo": True, "setdocroot": True, "fixpathinfo": False,
    "setscheme": True, "static": True, "file": True, "sendfile": True, "gzip": False,
    "chunked": False, "basicauth": True, "basicauth-next": True}
INSTEAD = {
    **dict.fromkeys(("setapp", "sethome", "setfile", "chdir", "call", "rpc", "rpcret", "signal"),
                    "a request does not choose what code runs here: use mount"),
    **dict.fromkeys(("http", "httpdumb", "httpconnect", "uwsgi", "uwsgidumb", "hash"),
                    "requests are not passed on by rules: use the web server in front, or http-to"),
    **dict.fromkeys(("cache", "cachestore", "cacheset", "cache-continue", "memcached",
                     "memcachedstore", "redis", "redisstore"),
                    "responses are not cached here: use the web server in front"),
    **dict.fromkeys(("setmodifier1", "setmodifier2"), "this server runs Python alone"),
    **dict.fromkeys(("metricinc", "metricdec", "metricmul", "metricdiv", "metricset"),
                    "there are no metrics of the application's here"),
    **dict.fromkeys(("toupper", "tofile", "template", "xslt"),
                    "bodies are the application's to change"),
    **dict.fromkeys(("ldapauth", "spnego", "radius"), "this is for the application, or the web "
                    "server in front; there is basicauth"),
    **dict.fromkeys(("offload", "donotoffload"), "there are no threads that send: leave it out"),
    "expires": "use addheader:Expires: ${httptime[SECONDS]}",
    "alarm": "there are no alarms: use log", "harakiri": "use harakiri-path",
    "setprocname": "a process serves several requests at a time",
    **dict.fromkeys(("send", "send-crnl", "flush", "disableheaders", "clearheaders",
                     "resetheaders", "fixcl", "forcecl"),
                    "it would break the framing of HTTP; use addheader, delheader or return"),
}
# What has no sense any more when the application has answered, and what has when all is done.
_BEFORE = {"rewrite", "rewrite-last", "setscriptname", "setmethod", "seturi", "setpathinfo",
           "setdocroot", "fixpathinfo", "setscheme", "basicauth", "basicauth-next"}
_BEHIND = {"continue", "last", "goto", "log", "donotlog", "logvar", "addvar", "setuser",
           "setremoteaddr"}
PHASES = ("error-", "response-", "final-")
_PLACES = re.compile(r"\$\{([^}]*)\}")
_GIVEN = re.compile(r"(\w+)(?:\[([^\]]*)\])?")


class Rule(ValueType):
    """One rule; the value is the option's name and the text, for rules have one order."""

    def __init__(self, option: str) -> None:
        self.option = option
        self.phase = next((phase for phase in PHASES if option.startswith(phase)), "")
        self.kind = option.removeprefix(self.phase)
        self.metavar = {
            "route-label": "NAME", "route-run": "ACTION", "route-if": "CONDITION ACTION",
            "route-if-not": "CONDITION ACTION"}.get(self.kind, "REGEX ACTION")

    def value(self, text: str, context: CastContext) -> object:
        text = text.strip()
        if not text:
            context.fail(f"a rule is of the form {self.metavar}")
        if self.kind == "route-label":
            return f"{self.option} {text}"
        action = text
        if self.kind != "route-run":
            subject, blank, action = text.partition(" ")
            if not blank or not action.strip():
                context.fail(f"{text!r} is not of the form {self.metavar}")
            if self.kind.startswith("route-if"):
                self.condition(subject, context)
            else:
                self.pattern(subject, context)
        self.action(action.strip(), context)
        return f"{self.option} {text}"

    def condition(self, text: str, context: CastContext) -> None:
        name, colon, argument = text.partition(":")
        if name not in CONDITIONS or not colon:
            context.fail(f"{name!r} is no condition; there are {', '.join(CONDITIONS)}")
        operands = argument.split(";")
        if len(operands) != CONDITIONS[name]:
            context.fail(f"{name} takes {CONDITIONS[name]} operand{'s'[:CONDITIONS[name] - 1]}, "
                         f"with ';' between them")
        if name in ("regexp", "re"):
            self.pattern(operands[1], context)
            if "$" in _PLACES.sub("", operands[1]).rstrip("$") or _PLACES.search(operands[1]):
                context.fail(f"{operands[1]!r}: a pattern holds nothing of the request")
        self.places(argument, context)

    @staticmethod
    def pattern(text: str, context: CastContext) -> None:
        try:
            re.compile(text)
        except re.error as error:
            context.fail(f"{text!r} is no regular expression: {error}")

    def action(self, text: str, context: CastContext) -> None:
        name, _, argument = text.partition(":")
        if name in INSTEAD:
            context.fail(f"{name} is not done here: {INSTEAD[name]}")
        if name not in ACTIONS:
            context.fail(f"{name!r} is no action; there are {', '.join(ACTIONS)}")
        self.timely(name, argument, context)
        if ACTIONS[name] and not argument.strip():
            context.fail(f"{name} wants an argument behind its colon")
        if name in ("return", "break-with-status") or name == "break" and argument.strip():
            self.status(argument.strip(), context)
        if name.startswith("basicauth") and not re.fullmatch(r'[^,"]+,[^:,]+:.+', argument):
            context.fail(f"{argument!r} is not of the form realm,user:password; files of passwords "
                         f"are left to the web server in front")
        if name == "addheader" and ":" not in argument:
            context.fail(f"{argument!r} is not of the form Name: value")
        if name in ("addvar", "logvar") and "=" not in argument:
            context.fail(f"{argument!r} is not of the form name=value")
        self.places(argument, context)

    def timely(self, name: str, argument: str, context: CastContext) -> None:
        """Refuse an action that comes too late for the request, or for its response."""
        if self.phase == "final-" and name not in _BEHIND:
            context.fail(f"{name}: the response has left: there are {', '.join(sorted(_BEHIND))}")
        if self.phase and (name in _BEFORE or name == "break" and not argument.strip()):
            context.fail(f"{name}: the application has answered already: write it without "
                         f"{self.phase} in front")

    @staticmethod
    def status(text: str, context: CastContext) -> None:
        try:
            code = int(text[:3])
            HTTPStatus(code)
        except ValueError:
            code = 0
        if not 200 <= code <= 599 or text[3:4].strip():
            context.fail(f"{text!r} does not begin with a status of HTTP")

    @staticmethod
    def places(text: str, context: CastContext) -> None:
        for place in _PLACES.findall(text):
            match = _GIVEN.fullmatch(place)
            if match is None or ("[" in place and match[1] not in FUNCTIONS):
                context.fail(f"${{{place}}} is not known here; besides variables there are "
                             f"{', '.join(name + '[]' for name in FUNCTIONS)}")
            if match[2] is not None and match[2] not in WORDS.get(match[1], (match[2],)):
                context.fail(f"${{{place}}} is not known here; there are "
                             f"{', '.join(f'{match[1]}[{word}]' for word in WORDS[match[1]])}")


def check_labels(rules: Sequence[str], origins: Sequence[Origin]) -> None:
    """Refuse a `goto` that leads nowhere: uWSGI drops the connection of such a request.

    Args:
        rules: all rules in their order, as `Rule` has them.
        origins: where each was written.
    Raises:
        ConfigError: no label of that name follows in the same phase.
    """
    known: dict[str, set[str]] = {}
    for text, origin in reversed(list(zip(rules, origins))):
        option, _, rest = text.partition(" ")
        phase = next((phase for phase in PHASES if option.startswith(phase)), "")
        labels = known.setdefault(phase, set())
        if option.endswith("route-label"):
            labels.add(rest)
            continue
        action = rest if option.endswith("route-run") else rest.partition(" ")[2].strip()
        name, _, label = action.partition(":")
        label = label.strip()
        if name == "goto" and "$" not in label and label not in labels:
            raise origin.error(f"goto:{label}: there is no {phase}route-label = {label} behind it")


_ROUTING = "Internal routing"


def _rule(name: str, about: str) -> Option:
    return Option(name, Many(Rule(name)), about + "; may be repeated", _ROUTING, default=(),
                  merge=True, to="" if name == "route" else "route",
                  derived="" if name == "route" else "no rules")


def _rules(phase: str, about: str, variables: Iterable[tuple[str, str]]) -> tuple[Option, ...]:
    """Make the rows of one phase; the first of them says what the phase is."""
    return (
        _rule(f"{phase}route", about),
        *(_rule(f"{phase}route-{name}", f"the same for those whose {variable} matches")
          for name, variable in variables),
        _rule(f"{phase}route-if", "do something with requests for which a condition holds"),
        _rule(f"{phase}route-if-not", "do something with requests for which a condition does not "
              "hold"),
        _rule(f"{phase}route-run", "do something with all requests that come to this rule"),
        _rule(f"{phase}route-label", "where a goto goes on"))


_VARIABLES = (
    ("uri", "REQUEST_URI"), ("host", "HTTP_HOST"), ("qs", "QUERY_STRING"),
    ("remote-addr", "REMOTE_ADDR"), ("user-agent", "HTTP_USER_AGENT"),
    ("remote-user", "REMOTE_USER"), ("referer", "HTTP_REFERER"))
_LATER = (("status", "status"), *_VARIABLES)
ROUTES = (
    *_rules("", "do something with requests whose PATH_INFO matches, as in "
            "^/healthz$ donotlog:; the rules of all these options are followed in their order",
            _VARIABLES),
    *_rules("error-", "do something with a response with a status of 400 or more that is about to "
            "leave, where PATH_INFO matches; what the server answers by itself has error-page",
            _LATER),
    *_rules("response-", "do something with any response that is about to leave, where PATH_INFO "
            "matches", _LATER),
    *_rules("final-", "do something when the response has left and before the request is logged, "
            "where PATH_INFO matches", _LATER),
)
