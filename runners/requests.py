"""Which other streams a script asks for: the ``request.security`` calls in its source, without running any of it.

A symbol or a timeframe is followed through constants, inputs, assignments, choices, loops over lists and the
arguments of the script's own functions, each with all the values that it may have.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from ..bus.errors import Hopeless
from ..bus.messages import Instrument
from ..bus.names import parse_key, timeframe_ms

_CALLS = ("request.security", "request.security_lower_tf")
_SAME = ("ticker.heikinashi", "ticker.standard", "ticker.modify", "str", "string.tostring")
_DEEP = 12

Values = frozenset[Any]
"""What an expression may be; None among them is what only a run can tell."""
_UNKNOWN: Values = frozenset({None})


class Asked(NamedTuple):
    """A symbol at a timeframe, as a script writes them; None is what only a run can tell.

    It is ``sure`` if the call in that line can ask for nothing else.
    """

    symbol: str | None
    timeframe: str | None
    line: int
    sure: bool


def requests_of(path: Path, inputs: Mapping[str, Any], chart: Mapping[str, str]) -> list[Asked]:
    """What a script asks for, each once.

    :param inputs: by the names of ``main()``'s parameters
    :param chart: what it calls its own (:func:`chart_of`)
    :raises Hopeless: it cannot be read
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise Hopeless(f"the script {path} cannot be read: {error}") from None
    source = _Source(tree, inputs, chart)
    found: dict[tuple[str | None, str | None], Asked] = {}
    for call in source.calls:
        symbols = source.argument(call, 0, "symbol")
        timeframes = source.argument(call, 1, "timeframe")
        sure = len(symbols) == len(timeframes) == 1
        for symbol, timeframe in product(sorted(symbols, key=str), sorted(timeframes, key=str)):
            asked = Asked(_text(symbol), _text(timeframe), call.lineno, sure)
            if sure or asked[:2] not in found:
                found[asked[:2]] = asked
    return sorted(found.values(), key=lambda asked: asked.line)


def chart_of(instrument: Instrument) -> dict[str, str]:
    """What a script on this instrument calls its own."""
    prefix, ticker = instrument.prefix, instrument.ticker
    return {
        "syminfo.tickerid": f"{prefix}:{ticker}", "syminfo.ticker": ticker, "syminfo.prefix": prefix,
        "timeframe.period": instrument.timeframe, "timeframe.main_period": instrument.timeframe,
    }  # fmt: skip


def bars_before(history: int, chart: str, stream: str) -> int:
    """The bars of a context's warm-up: it begins ``history`` of them before the chart's own warm-up does."""
    own, theirs = (timeframe_ms(parse_key(name).timeframe) for name in (chart, stream))
    return history - (-history * own // theirs)


class _Source:
    """A script taken apart: who is assigned what, and who is called with what."""

    def __init__(self, tree: ast.Module, inputs: Mapping[str, Any], chart: Mapping[str, str]) -> None:
        self._inputs, self._chart = inputs, chart
        self.calls: list[ast.Call] = []
        self._bound: dict[str, list[ast.expr]] = {}
        self._functions: dict[str, ast.FunctionDef] = {}
        for node in ast.walk(tree):
            self._note(node)
        for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
            self._note_arguments(call)

    def _note(self, node: ast.AST) -> None:
        if isinstance(node, ast.Call) and _name(node.func).endswith(_CALLS):
            self.calls.append(node)
        elif isinstance(node, ast.Assign):
            self._bind(node.targets[0], [node.value])
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value:
            self._bind(node.target, [node.value])
        elif isinstance(node, ast.For) and isinstance(node.iter, ast.List | ast.Tuple):
            self._bind(node.target, node.iter.elts)
        elif isinstance(node, ast.FunctionDef):
            self._functions[node.name] = node
            for parameter, default in _defaults(node):
                given = self._inputs.get(parameter) if node.name == "main" else None
                self._bind(ast.Name(parameter), [default if given is None else ast.Constant(given)])

    def _bind(self, target: ast.expr, values: Iterable[ast.expr]) -> None:
        if isinstance(target, ast.Name):
            self._bound.setdefault(target.id, []).extend(values)
        elif isinstance(target, ast.Tuple):
            for value in values:
                parts = value.elts if isinstance(value, ast.Tuple) else [ast.Constant(None)] * len(target.elts)
                for name, part in zip(target.elts, parts, strict=False):
                    self._bind(name, [part])

    def _note_arguments(self, call: ast.Call) -> None:
        if (function := self._functions.get(_name(call.func))) and function.name != "main":
            for parameter, value in zip(function.args.args, call.args, strict=False):
                self._bind(ast.Name(parameter.arg), [value])
            for keyword in call.keywords:
                self._bind(ast.Name(keyword.arg or ""), [keyword.value])

    def argument(self, call: ast.Call, place: int, name: str) -> Values:
        """What an argument of a request may be; left out, it is the chart's own."""
        given = call.args[place : place + 1] or [each.value for each in call.keywords if each.arg == name]
        return self.values(given[0]) if given else frozenset({""})

    def values(self, node: ast.expr, depth: int = 0) -> Values:
        """What an expression may be."""
        if depth > _DEEP:
            return _UNKNOWN
        return frozenset(self._values(node, depth + 1))

    def _values(self, node: ast.expr, depth: int) -> Iterator[Any]:
        if isinstance(node, ast.Constant):
            yield node.value
        elif parts := self._alternatives(node):
            for part in parts:
                yield from self.values(part, depth)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            yield from self._joined([node.left, node.right], depth)
        elif isinstance(node, ast.JoinedStr):
            yield from self._joined([v.value if isinstance(v, ast.FormattedValue) else v for v in node.values], depth)
        elif isinstance(node, ast.Call):
            yield from self._called(node, depth)
        else:
            yield self._chart.get(_name(node).removeprefix("lib."))

    def _alternatives(self, node: ast.expr) -> list[ast.expr]:
        """The expressions one of which it is."""
        if isinstance(node, ast.Name):
            return self._bound.get(node.id, [])
        if isinstance(node, ast.IfExp):
            return [node.body, node.orelse]
        if isinstance(node, ast.BoolOp):
            return node.values
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Dict):
            return node.value.values
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.List | ast.Tuple):
            return node.value.elts
        return []

    def _joined(self, parts: list[ast.expr], depth: int) -> Iterator[str | None]:
        for texts in product(*(self.values(part, depth) for part in parts)):
            yield None if None in texts else "".join(map(str, texts))

    def _called(self, node: ast.Call, depth: int) -> Iterator[Any]:
        name = _name(node.func).removeprefix("lib.")
        first = node.args[:1] or [each.value for each in node.keywords if each.arg == "defval"]
        if (name in _SAME and first) or (name.startswith("input") and first):
            yield from self.values(first[0], depth)
        elif name == "ticker.new" and len(node.args) > 1:
            yield from self._joined([node.args[0], ast.Constant(":"), node.args[1]], depth)
        elif function := self._functions.get(name):
            for part in ast.walk(function):
                if isinstance(part, ast.Return) and part.value:
                    yield from self.values(part.value, depth)
        else:
            yield None


def _defaults(function: ast.FunctionDef) -> Iterator[tuple[str, ast.expr]]:
    args = function.args
    last = args.args[len(args.args) - len(args.defaults) :]
    yield from ((arg.arg, default) for arg, default in zip(last, args.defaults, strict=True))
    yield from ((arg.arg, default) for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True) if default)


def _name(node: ast.expr) -> str:
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
