"""Internal routing: rules that look at a request before the application does (uWSGI's route*).

    subject regex action        route, route-uri, route-host, ...
    condition action            route-if, route-if-not
    action                      route-run
    label                       route-label

The rules of this room: rules are followed in the order they were written, across all
options. An action goes on to the next rule, ends the rules, or answers the request. What
a request brings along never names a file above the directory that the rule wrote.
"""

import ipaddress
import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from .environ import Environ
from .template import Template
from .visit import ACTIONS, FINISHED, GOTO, Visit
from .wsgi import Exchange

SUBJECTS = {"route": "PATH_INFO", "route-uri": "REQUEST_URI", "route-host": "HTTP_HOST",
            "route-qs": "QUERY_STRING", "route-remote-addr": "REMOTE_ADDR",
            "route-user-agent": "HTTP_USER_AGENT", "route-remote-user": "REMOTE_USER",
            "route-referer": "HTTP_REFERER"}


class Rule(NamedTuple):
    """One rule.

    Attributes:
        matches: whether the rule is meant; it may set the visit's captures.
        action: a name of `ACTIONS`.
        argument: what stands behind the action's colon.
        label: where `goto` may lead, for a rule that does nothing else.
    """

    matches: Callable[[Visit], bool]
    action: str
    argument: Template
    label: str = ""


class Routes:
    """The rules of an instance.

    Args:
        texts: the option's name, a blank and its text, in the order written.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._rules = [rule_of(*text.split(" ", 1)) for text in texts]

    def follow(self, exchange: Exchange) -> Visit:
        """Follow the rules for one request. The environ is changed in place; what is to
        become of the response is told by the visit that is returned."""
        visit = Visit(exchange)
        sought = ""
        for rule in self._rules:
            if sought:
                if rule.label != sought:
                    continue
                sought = ""
            if rule.label or not rule.matches(visit):
                continue
            result = ACTIONS[rule.action](visit, rule.argument)
            if result is FINISHED:
                break
            if result is GOTO:
                sought = visit.label
        return visit


def rule_of(option: str, text: str) -> Rule:
    """Make the rule of one line; what it says was checked when it was read."""
    if option == "route-label":
        return Rule(_always, "", Template(""), text.strip())
    matches: Callable[[Visit], bool] = _always
    if option == "route-run":
        rest = text.strip()
    else:
        subject, _, rest = text.strip().partition(" ")
        if option in ("route-if", "route-if-not"):
            matches = _condition(subject, option == "route-if-not")
        else:
            matches = _pattern(SUBJECTS[option], re.compile(subject))
    action, _, argument = rest.strip().partition(":")
    return Rule(matches, action, Template(argument))


def _always(visit: Visit) -> bool:
    return True


def _pattern(variable: str, pattern: re.Pattern[str]) -> Callable[[Visit], bool]:
    def matches(visit: Visit) -> bool:
        found = pattern.search(visit.environ.get(variable) or "")
        if found is not None:
            visit.captures = (found[0], *(group or "" for group in found.groups()))
        return found is not None
    return matches


def _condition(text: str, negated: bool) -> Callable[[Visit], bool]:
    name, _, argument = text.partition(":")
    test = CONDITIONS[name]
    operands = [Template(operand) for operand in argument.split(";")]
    if name in ("regexp", "re"):
        return _pattern_condition(operands, negated)
    return lambda visit: test([operand.fill(visit) for operand in operands]) is not negated


def _pattern_condition(operands: Sequence[Template], negated: bool) -> Callable[[Visit], bool]:
    def matches(visit: Visit) -> bool:
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


def wrap(application: Callable[..., Any], visit: Visit) -> Callable[..., Any]:
    """Return the application with what a visit wants done to its response."""
    if not (visit.added or visit.removed or visit.gzip):
        return application

    def routed(environ: Environ, start_response: Callable[..., Any]) -> Any:
        response = visit.response_of(start_response)
        return response.body(application(environ, response.start))
    return routed
