"""Internal routing: rules for a request, applied before the application (uWSGI's route*).

    subject regex action        route, route-uri, route-host, ...
    condition action            route-if, route-if-not
    action                      route-run
    label                       route-label

The same options with the prefixes `error-`, `response-` and `final-` are applied later: before
a response with a status of 400 or more is sent, before any response, and after it.

Rules are applied in the order in which they were written, across all options. An action
continues with the next rule, ends the rules, or responds to the request. Text of a request
never names a file above the directory in the rule.
"""

import ipaddress
import logging
import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ..wsgi import WsgiExchange
from .actions import ACTIONS, FINISHED, GOTO, RuleContext
from .variables import Template

log = logging.getLogger("geventuwsgi.error")

SUBJECTS = {"route": "PATH_INFO", "route-uri": "REQUEST_URI", "route-host": "HTTP_HOST",
            "route-qs": "QUERY_STRING", "route-remote-addr": "REMOTE_ADDR",
            "route-user-agent": "HTTP_USER_AGENT", "route-remote-user": "REMOTE_USER",
            "route-referer": "HTTP_REFERER"}
# The prefixes of options whose rules are applied later.
PHASES = ("error-", "response-", "final-")


class Rule(NamedTuple):
    """One rule.

    Attributes:
        matches: whether the rule applies; may set the captures of the context.
        action: a name of `ACTIONS`.
        argument: the text after the action's colon.
        label: the label of a rule that is only a target of `goto`.
    """

    matches: Callable[[RuleContext], bool]
    action: str
    argument: Template
    label: str = ""


class Filters(NamedTuple):
    """The options about fields of all requests or responses.

    Attributes:
        removed: response fields that are not sent, in lower case (del-header).
        collected: (response field in lower case, variable that gets its value)
            (collect-header).
        auto_gzip: compress responses with `uWSGI-Encoding: gzip` (http-auto-gzip).
        host_named: SERVER_NAME of HTTP requests is Host (http-server-name-as-http-host).
    """

    removed: frozenset[str] = frozenset()
    collected: tuple[tuple[str, str], ...] = ()
    auto_gzip: bool = False
    host_named: bool = False


class Routes:
    """The rules of an instance.

    Args:
        texts: for each rule the name of the option, a blank and its text, in order.
        filters: the options about fields.
        worker: the worker's number.

    Attributes:
        later: there are rules or options for responses.
        final: there are rules for the time after a response.
    """

    def __init__(self, texts: Iterable[str], filters: Filters = Filters(),
                 worker: int = 0) -> None:
        rules: dict[str, list[Rule]] = {phase: [] for phase in ("", *PHASES)}
        for text in texts:
            option, _, rest = text.partition(" ")
            phase = next((phase for phase in PHASES if option.startswith(phase)), "")
            rules[phase].append(rule_of(option.removeprefix(phase), rest))
        self._request, self._error = rules[""], rules["error-"]
        self._response, self._final = rules["response-"], rules["final-"]
        self.filters = filters
        self.worker = worker
        self.later = bool(self._error or self._response or filters.collected
                          or filters.auto_gzip)
        self.final = bool(self._final)

    def follow(self, exchange: WsgiExchange) -> RuleContext:
        """Apply the rules to a request. The environ is changed in place; the returned context
        says what to do with the response."""
        context = RuleContext(exchange, self, self.filters.removed)
        if self.filters.host_named and not exchange.raw and "HTTP_HOST" in exchange.environ:
            exchange.environ["SERVER_NAME"] = exchange.environ["HTTP_HOST"]
        if not _follow(self._request, context):
            # The rules at the label may deny access, so there is no response, as in uWSGI.
            log.error("%s %s: no label %r follows its goto; closed", exchange.method,
                      exchange.uri, context.label)
            exchange.transport.persists = False
            context.closed = True
        return context

    def respond(self, context: RuleContext, status: str,
                headers: Iterable[tuple[str, str]]) -> Callable[..., Any] | None:
        """Apply the rules to a response before it is sent.

        Returns:
            The application that responds instead, if a rule says so.
        """
        context.status = _number(status[:3])
        context.replacement = None
        for field, variable in self.filters.collected:
            for name, value in headers:
                if name.lower() == field:
                    context.environ[variable] = value
        if context.status >= 400:
            _follow(self._error, context)
        if context.replacement is None:
            _follow(self._response, context)
        return context.replacement

    def finish(self, context: RuleContext) -> None:
        """Apply the final rules, after the response and before the request is logged."""
        context.status = context.exchange.status
        _follow(self._final, context)


def _follow(rules: Iterable[Rule], context: RuleContext) -> bool:
    """Apply rules; return False if a `goto` did not find its label."""
    sought: str | None = None
    for rule in rules:
        if sought is not None:
            if rule.label != sought or not sought:
                continue
            sought = None
        if rule.label or not rule.matches(context):
            continue
        result = ACTIONS[rule.action](context, rule.argument)
        if result is FINISHED:
            return True
        if result is GOTO:
            sought = context.label
    return sought is None


def rule_of(option: str, text: str) -> Rule:
    """Compile the rule of a line that was checked with the configuration."""
    if option == "route-label":
        return Rule(_always, "", Template(""), text.strip())
    matches: Callable[[RuleContext], bool] = _always
    if option == "route-run":
        rest = text.strip()
    else:
        subject, _, rest = text.strip().partition(" ")
        if option in ("route-if", "route-if-not"):
            matches = _condition(subject, option == "route-if-not")
        elif option == "route-status":
            matches = _status(re.compile(subject))
        else:
            matches = _pattern(SUBJECTS[option], re.compile(subject))
    action, _, argument = rest.strip().partition(":")
    return Rule(matches, action, Template(argument))


def _always(context: RuleContext) -> bool:
    return True


def _pattern(variable: str, pattern: re.Pattern[str]) -> Callable[[RuleContext], bool]:
    def matches(context: RuleContext) -> bool:
        found = pattern.search(context.environ.get(variable) or "")
        if found is not None:
            context.captures = (found[0], *(group or "" for group in found.groups()))
        return found is not None
    return matches


def _status(pattern: re.Pattern[str]) -> Callable[[RuleContext], bool]:
    return lambda context: pattern.search(str(context.status)) is not None


def _condition(text: str, negated: bool) -> Callable[[RuleContext], bool]:
    name, _, argument = text.partition(":")
    test = CONDITIONS[name]
    operands = [Template(operand) for operand in argument.split(";")]
    if name in ("regexp", "re"):
        return _pattern_condition(operands, negated)
    return lambda context: test([operand.fill(context) for operand in operands]) is not negated


def _pattern_condition(operands: Sequence[Template], negated: bool) -> Callable[[RuleContext],
                                                                                bool]:
    def matches(context: RuleContext) -> bool:
        subject, pattern = (operand.fill(context) for operand in operands)
        found = re.search(pattern, subject)
        if found is not None:
            context.captures = (found[0], *(group or "" for group in found.groups()))
        return (found is not None) is not negated
    return matches


def _numbers(compare: Callable[[int, int], bool]) -> Callable[[Sequence[str]], bool]:
    return lambda operands: compare(_number(operands[0]), _number(operands[1]))


def _number(text: str) -> int:
    """Parse a number as C's atoi does: any other text is 0."""
    match = re.match(r"\s*[+-]?\d{1,18}", text, re.ASCII)
    return int(match[0]) if match else 0


def _within(operands: Sequence[str]) -> bool:
    try:
        return ipaddress.ip_address(operands[0]) in ipaddress.ip_network(operands[1], False)
    except ValueError:
        return False


CONDITIONS: dict[str, Callable[[Sequence[str]], bool]] = {
    "exists": lambda operands: os.path.exists(operands[0]),
    "isfile": lambda operands: os.path.isfile(operands[0]),
    "isdir": lambda operands: os.path.isdir(operands[0]),
    "islink": lambda operands: os.path.islink(operands[0]),
    "isexec": lambda operands: os.access(operands[0], os.X_OK),
    "equal": lambda operands: operands[0] == operands[1],
    "startswith": lambda operands: operands[0].startswith(operands[1]),
    "endswith": lambda operands: operands[0].endswith(operands[1]),
    "contains": lambda operands: operands[1] in operands[0],
    "regexp": lambda operands: re.search(operands[1], operands[0]) is not None,
    "empty": lambda operands: not operands[0],
    "ishigher": _numbers(lambda a, b: a > b),
    "ishigherequal": _numbers(lambda a, b: a >= b),
    "islower": _numbers(lambda a, b: a < b),
    "islowerequal": _numbers(lambda a, b: a <= b),
    "ipv4in": _within,
    "ipv6in": _within,
}
CONDITIONS.update({
    "eq": CONDITIONS["equal"], "==": CONDITIONS["equal"], "re": CONDITIONS["regexp"],
    ">": CONDITIONS["ishigher"], ">=": CONDITIONS["ishigherequal"],
    "<": CONDITIONS["islower"], "<=": CONDITIONS["islowerequal"]})
