"""The options of internal routing, and the syntax of a rule.

A rule is checked completely when the configuration is read, so that app.rules can run it without
further checks. The message for an action of uWSGI's that is not supported says what to use instead.
"""

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus

from geventuwsgi.config.options.option import Option
from geventuwsgi.config.values.origin import CastContext, Origin
from geventuwsgi.config.values.types import Many, ValueType, check_pattern

# Condition -> number of its operands.
CONDITIONS = {
    "exists": 1, "isfile": 1, "isdir": 1, "islink": 1, "isexec": 1, "empty": 1,
    "equal": 2, "eq": 2, "==": 2, "startswith": 2, "endswith": 2, "contains": 2,
    "regexp": 2, "re": 2, "ishigher": 2, ">": 2, "ishigherequal": 2, ">=": 2,
    "islower": 2, "<": 2, "islowerequal": 2, "<=": 2, "ipv4in": 2, "ipv6in": 2}
FUNCTIONS = ("cookie", "qs", "time", "httptime", "uwsgi", "mime", "base64", "hex")
# The arguments of functions that have a fixed set of them.
WORDS = {"uwsgi": ("pid", "wid", "uuid", "status", "rsize"), "time": ("unix", "micros")}
# Action -> whether it needs an argument after its colon.
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
                    "a request cannot choose which code runs: use mount"),
    **dict.fromkeys(("http", "httpdumb", "httpconnect", "uwsgi", "uwsgidumb", "hash"),
                    "rules do not pass requests on: use the web server in front, or http-to"),
    **dict.fromkeys(("cache", "cachestore", "cacheset", "cache-continue", "memcached",
                     "memcachedstore", "redis", "redisstore"),
                    "responses are not cached here: use the web server in front"),
    **dict.fromkeys(("setmodifier1", "setmodifier2"), "this server runs only Python"),
    **dict.fromkeys(("metricinc", "metricdec", "metricmul", "metricdiv", "metricset"),
                    "there are no metrics of the application"),
    **dict.fromkeys(("toupper", "tofile", "template", "xslt"),
                    "change response bodies in the application"),
    **dict.fromkeys(("ldapauth", "spnego", "radius"), "authenticate in the application, or in "
                    "the web server in front; there is also basicauth"),
    **dict.fromkeys(("offload", "donotoffload"), "there are no offload threads: leave it out"),
    "expires": "use addheader:Expires: ${httptime[SECONDS]}",
    "alarm": "there are no alarms: use log", "harakiri": "use harakiri-path",
    "setprocname": "a process serves several requests at once",
    **dict.fromkeys(("send", "send-crnl", "flush", "disableheaders", "clearheaders",
                     "resetheaders", "fixcl", "forcecl"),
                    "it would break the framing of HTTP; use addheader, delheader or return"),
}
# Actions that make no sense after the application has run, and those allowed in final rules.
_REQUEST_ONLY = {"rewrite", "rewrite-last", "setscriptname", "setmethod", "seturi", "setpathinfo",
                 "setdocroot", "fixpathinfo", "setscheme", "basicauth", "basicauth-next"}
_FINAL = {"continue", "last", "goto", "log", "donotlog", "logvar", "addvar", "setuser",
          "setremoteaddr"}
PHASES = ("error-", "response-", "final-")
_REFERENCES = re.compile(r"\$\{([^}]*)\}")
_REFERENCE = re.compile(r"(\w+)(?:\[([^\]]*)\])?")


class Rule(ValueType):
    """One rule; the value is the option's name and the text, as all rules form one sequence."""

    def __init__(self, option: str) -> None:
        self.option = option
        self.phase = next((phase for phase in PHASES if option.startswith(phase)), "")
        self.form = option.removeprefix(self.phase)
        self.metavar = {
            "route-label": "NAME", "route-run": "ACTION", "route-if": "CONDITION ACTION",
            "route-if-not": "CONDITION ACTION"}.get(self.form, "REGEX ACTION")

    def value(self, text: str, context: CastContext) -> object:
        text = text.strip()
        if not text:
            context.fail(f"a rule is of the form {self.metavar}")
        if self.form == "route-label":
            return f"{self.option} {text}"
        action = text
        if self.form != "route-run":
            subject, blank, action = text.partition(" ")
            if not blank or not action.strip():
                context.fail(f"{text!r} is not of the form {self.metavar}")
            if self.form.startswith("route-if"):
                self.condition(subject, context)
            else:
                check_pattern(subject, context)
        self.action(action.strip(), context)
        return f"{self.option} {text}"

    def condition(self, text: str, context: CastContext) -> None:
        name, colon, argument = text.partition(":")
        if name not in CONDITIONS or not colon:
            context.fail(f"{name!r} is not a condition; the conditions are {', '.join(CONDITIONS)}")
        operands = argument.split(";")
        if len(operands) != CONDITIONS[name]:
            context.fail(f"{name} takes {CONDITIONS[name]} operand{'s'[:CONDITIONS[name] - 1]}, "
                         "separated by ';'")
        if name in ("regexp", "re"):
            check_pattern(operands[1], context)
            if (_REFERENCES.search(operands[1])
                    or "$" in _REFERENCES.sub("", operands[1]).rstrip("$")):
                context.fail(f"{operands[1]!r}: a pattern may not contain variables of the request")
        self.references(argument, context)

    def action(self, text: str, context: CastContext) -> None:
        name, _, argument = text.partition(":")
        if name in INSTEAD:
            context.fail(f"{name} is not supported: {INSTEAD[name]}")
        if name not in ACTIONS:
            context.fail(f"{name!r} is not an action; the actions are {', '.join(ACTIONS)}")
        self.check_phase(name, argument, context)
        if ACTIONS[name] and not argument.strip():
            context.fail(f"{name} needs an argument after its colon")
        if name in ("return", "break-with-status") or name == "break" and argument.strip():
            self.status(argument.strip(), context)
        if name.startswith("basicauth") and not re.fullmatch(r'[^,"]+,[^:,]+:.+', argument):
            context.fail(f"{argument!r} is not of the form realm,user:password; for password "
                         f"files use the web server in front")
        if name == "addheader" and ":" not in argument:
            context.fail(f"{argument!r} is not of the form Name: value")
        if name in ("addvar", "logvar") and "=" not in argument:
            context.fail(f"{argument!r} is not of the form name=value")
        self.references(argument, context)

    def check_phase(self, name: str, argument: str, context: CastContext) -> None:
        """Refuse an action that is too late for the request, or for its response."""
        if self.phase == "final-" and name not in _FINAL:
            context.fail(f"{name}: the response has been sent: the actions are "
                         f"{', '.join(sorted(_FINAL))}")
        if self.phase and (name in _REQUEST_ONLY or name == "break" and not argument.strip()):
            context.fail(f"{name}: the application has already responded: write it without the "
                         f"prefix {self.phase}")

    @staticmethod
    def status(text: str, context: CastContext) -> None:
        try:
            code = int(text[:3])
            HTTPStatus(code)
        except ValueError:
            code = 0
        if not 200 <= code <= 599 or text[3:4].strip():
            context.fail(f"{text!r} does not begin with an HTTP status")

    @staticmethod
    def references(text: str, context: CastContext) -> None:
        for reference in _REFERENCES.findall(text):
            match = _REFERENCE.fullmatch(reference)
            if match is None or ("[" in reference and match[1] not in FUNCTIONS):
                context.fail(f"${{{reference}}} is unknown; besides variables there are "
                             f"{', '.join(name + '[]' for name in FUNCTIONS)}")
            if match[2] is not None and match[2] not in WORDS.get(match[1], (match[2],)):
                context.fail(f"${{{reference}}} is unknown; there are "
                             f"{', '.join(f'{match[1]}[{word}]' for word in WORDS[match[1]])}")


def check_labels(rules: Sequence[str], origins: Sequence[Origin]) -> None:
    """Refuse a `goto` without a label: uWSGI drops the connection of such a request.

    Args:
        rules: all rules in their order, as `Rule` returns them.
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
            raise origin.error(f"goto:{label}: there is no {phase}route-label = {label} after it")


_ROUTING = "Internal routing"


def _row(name: str, about: str) -> Option:
    return Option(name, Many(Rule(name)), about + "; may be repeated", _ROUTING, default=(),
                  merge=True, to="" if name == "route" else "route",
                  derived="" if name == "route" else "no rules")


def _rules(phase: str, about: str, variables: Iterable[tuple[str, str]]) -> tuple[Option, ...]:
    """Make the rows of one phase; the first of them says what the phase is."""
    return (
        _row(f"{phase}route", about),
        *(_row(f"{phase}route-{name}", f"as {phase}route, if {variable} matches")
          for name, variable in variables),
        _row(f"{phase}route-if", "run an action if a condition is true"),
        _row(f"{phase}route-if-not", "run an action if a condition is false"),
        _row(f"{phase}route-run", "run an action for each request that reaches this rule"),
        _row(f"{phase}route-label", "a label for goto"))


_VARIABLES = (
    ("uri", "REQUEST_URI"), ("host", "HTTP_HOST"), ("qs", "QUERY_STRING"),
    ("remote-addr", "REMOTE_ADDR"), ("user-agent", "HTTP_USER_AGENT"),
    ("remote-user", "REMOTE_USER"), ("referer", "HTTP_REFERER"))
_LATER = (("status", "status"), *_VARIABLES)
RULES: tuple[Option, ...] = (
    *_rules("", "run an action for requests whose PATH_INFO matches, as in "
            "^/healthz$ donotlog:; the rules of all these options are run in their order",
            _VARIABLES),
    *_rules("error-", "run an action before a response with a status of 400 or more is sent, if "
            "PATH_INFO matches; for responses of the server itself see error-page",
            _LATER),
    *_rules("response-", "run an action before any response is sent, if PATH_INFO matches", _LATER),
    *_rules("final-", "run an action after the response is sent and before the request is logged, "
            "if PATH_INFO matches", _LATER),
)
