"""Internal routing: rules that look at a request before the application does (uWSGI's route*).

    subject regex action        route, route-uri, route-host, ...
    condition action            route-if, route-if-not
    action                      route-run
    label                       route-label

The same options with `error-`, `response-` and `final-` in front are followed later: when a
response with a status of 400 and more is about to leave, when any is, and when it has left.

The rules of this room: rules are followed in the order they were written, across all
options. An action goes on to the next rule, ends the rules, or answers the request. What
a request brings along never names a file above the directory that the rule wrote.
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
# What stands in front of an option whose rules are followed later.
PHASES = ("error-", "response-", "final-")


class Rule(NamedTuple):
    """One rule.

    Attributes:
        matches: whether the rule is meant; it may set the visit's captures.
        action: a name of `ACTIONS`.
        argument: what stands behind the action's colon.
        label: where `goto` may lead, for a rule that does nothing else.
    """

    matches: Callable[[RuleContext], bool]
    action: str
    argument: Template
    label: str = ""


class Filters(NamedTuple):
    """What is done to the fields of each request or response, as options say it.

    Attributes:
        removed: the fields that are not sent, in small letters (del-header).
        collected: (field in small letters, variable): the value is put into the variable
            (collect-header).
        auto_gzip: a response with `uWSGI-Encoding: gzip` is compressed (http-auto-gzip).
        host_named: over HTTP SERVER_NAME is the Host field (http-server-name-as-http-host).
    """

    removed: frozenset[str] = frozenset()
    collected: tuple[tuple[str, str], ...] = ()
    auto_gzip: bool = False
    host_named: bool = False


class Routes:
    """The rules of an instance.

    Args:
        texts: the option's name, a blank and its text, in the order written.
        filters: what is done to all responses beside.
        worker: the worker's number.

    Attributes:
        later: a response has to be looked at before it leaves.
        final: there are rules for what comes behind it.
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
        """Follow the rules for one request. The environ is changed in place; what is to
        become of the response is told by the visit that is returned."""
        visit = RuleContext(exchange, self, self.filters.removed)
        if self.filters.host_named and not exchange.raw and "HTTP_HOST" in exchange.environ:
            exchange.environ["SERVER_NAME"] = exchange.environ["HTTP_HOST"]
        if not _follow(self._request, visit):
            # What guards may stand at the label: no answer, as in uWSGI.
            log.error("%s %s: no label %r follows its goto; closed", exchange.method,
                      exchange.uri, visit.label)
            exchange.transport.persists = False
            visit.closed = True
        return visit

    def respond(self, visit: RuleContext, status: str,
                headers: Iterable[tuple[str, str]]) -> Callable[..., Any] | None:
        """Follow the rules for a response that is about to leave.

        Returns:
            What answers in its place, if a rule says so.
        """
        visit.status = int(status[:3]) if status[:3].isdigit() else 0
        visit.answer = None
        for field, variable in self.filters.collected:
            for name, value in headers:
                if name.lower() == field:
                    visit.environ[variable] = value
        if visit.status >= 400:
            _follow(self._error, visit)
        if visit.answer is None:
            _follow(self._response, visit)
        return visit.answer

    def finish(self, visit: RuleContext) -> None:
        """Follow the rules for a request that is done, before it is logged."""
        visit.status = visit.exchange.status
        _follow(self._final, visit)


def _follow(rules: Iterable[Rule], visit: RuleContext) -> bool:
    """Follow rules; False if a `goto` did not find its label."""
    sought: str | None = None
    for rule in rules:
        if sought is not None:
            if rule.label != sought or not sought:
                continue
            sought = None
        if rule.label or not rule.matches(visit):
            continue
        result = ACTIONS[rule.action](visit, rule.argument)
        if result is FINISHED:
            return True
        if result is GOTO:
            sought = visit.label
    return sought is None


def rule_of(option: str, text: str) -> Rule:
    """Make the rule of one line; what it says was checked when it was read."""
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


def _always(visit: RuleContext) -> bool:
    return True


def _pattern(variable: str, pattern: re.Pattern[str]) -> Callable[[RuleContext], bool]:
    def matches(visit: RuleContext) -> bool:
        found = pattern.search(visit.environ.get(variable) or "")
        if found is not None:
            visit.captures = (found[0], *(group or "" for group in found.groups()))
        return found is not None
    return matches


def _status(pattern: re.Pattern[str]) -> Callable[[RuleContext], bool]:
    return lambda visit: pattern.search(str(visit.status)) is not None


def _condition(text: str, negated: bool) -> Callable[[RuleContext], bool]:
    name, _, argument = text.partition(":")
    test = CONDITIONS[name]
    operands = [Template(operand) for operand in argument.split(";")]
    if name in ("regexp", "re"):
        return _pattern_condition(operands, negated)
    return lambda visit: test([operand.fill(visit) for operand in operands]) is not negated


def _pattern_condition(operands: Sequence[Template], negated: bool) -> Callable[[RuleContext],
                                                                                bool]:
    def matches(visit: RuleContext) -> bool:
        subject, pattern = (operand.fill(visit) for operand in operands)
        found = re.search(pattern, subject)
        if found is not None:
            visit.captures = (found[0], *(group or "" for group in found.groups()))
        return (found is not None) is not negated
    return matches


def _numbers(compare: Callable[[int, int], bool]) -> Callable[[Sequence[str]], bool]:
    return lambda operands: compare(_number(operands[0]), _number(operands[1]))


def _number(text: str) -> int:
    """Read a number as C's atoi does: what is none is 0."""
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
