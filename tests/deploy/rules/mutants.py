"""Ways to break a rule a little: another number, another window, another wait, a branch less. A rule test must notice.

Numbers and windows are doubled and halved; a comparison with 0 lets 0 in. Of `and`, `or` and `unless` either side is
dropped.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import promql_parser

from monitoring.settings import DAY, HOUR, MINUTE, duration

_UNITS = {"s": 1, "m": MINUTE, "h": HOUR, "d": DAY}
_WINDOW = re.compile(r"(?<=\[)\d+[smhd](?=\])|(?<=offset )\d+[smhd]")
#: A number that something is compared or calculated with.
_NUMBER = re.compile(r"(?<=[-+*/<>=] )\d+(\.\d+)?\b|\b\d+(\.\d+)?(?= [-+*/<>=])")
_ZERO = re.compile(r"(>|==) 0\b(?!\.)")
_SETS = {"and", "or", "unless"}

Rule = dict[str, Any]


def mutants(rule: Rule) -> Iterator[tuple[str, Rule]]:
    """Each way to break a rule, told in a few words, with the broken rule."""
    expr = rule["expr"]
    for found in _WINDOW.finditer(expr):
        seconds = int(found[0][:-1]) * _UNITS[found[0][-1]]
        for other in (seconds * 2, seconds // 2):
            yield f"window {found[0]} is {duration(other)}", _with(rule, expr=_put(expr, found, duration(other)))
    for found in _NUMBER.finditer(expr):
        if float(found[0]):
            for factor in (2, 0.5):
                told = f"{float(found[0]) * factor:g}"
                yield f"number {found[0]} is {told}", _with(rule, expr=_put(expr, found, told))
    for found in _ZERO.finditer(expr):
        other = {">": ">= 0", "==": "!= 0"}[found[1]]
        yield f"{found[0]} is {other}", _with(rule, expr=_put(expr, found, other))
    for told, other in _dropped(expr):
        yield told, _with(rule, expr=other)
    if "for" in rule:
        seconds = int(rule["for"][:-1]) * _UNITS[rule["for"][-1]]
        for wait in (seconds * 2, seconds // 2, 0):
            yield f"it waits for {duration(wait)}", _with(rule, **{"for": duration(wait)})


def _with(rule: Rule, **changed: str) -> Rule:
    return {**copy.deepcopy(rule), **changed}


def _put(expr: str, found: re.Match[str], text: str) -> str:
    return expr[: found.start()] + text + expr[found.end() :]


def _dropped(expr: str) -> Iterator[tuple[str, str]]:
    """The expression without one side of one of its set operators, wherever it is."""
    whole = promql_parser.parse(expr)
    printed = str(whole)
    for node in walk(whole):
        if not isinstance(node, promql_parser.BinaryExpr) or str(node.op) not in _SETS:
            continue
        assert str(node) in printed, f"{node} is not found in {printed}"
        for side, told in ((node.lhs, "left"), (node.rhs, "right")):
            if str(node.op) == "unless" and told == "right":
                continue  # who is to be left out, alone, is no rule that anybody would write by mistake
            yield f"only the {told} side of `{node.op}`", printed.replace(str(node), f"({side})", 1)


def walk(node: Any) -> Iterator[Any]:
    """A node of an expression and all below it."""
    yield node
    for name in ("lhs", "rhs", "expr"):
        below = getattr(node, name, None)
        if below is not None:
            yield from walk(below)
    for below in getattr(node, "args", None) or ():
        yield from walk(below)
