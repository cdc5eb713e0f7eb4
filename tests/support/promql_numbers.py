"""Reads the numbers and comparisons of PromQL expressions, each with the series it applies to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser as promql

Series = frozenset[str]
_ARITHMETIC = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right,
}
_COMPARISONS = {">", "<", ">=", "<=", "==", "!="}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a number stands: `form` is the operation, such as `x > n` or `clamp_min(x, n)`; `series` is the x."""

    form: str
    series: Series


@dataclass(frozen=True, slots=True)
class Comparison:
    left: Series
    operator: str
    right: Series


def series(name: str, **labels: str | tuple[str, ...]) -> str:
    """A selector as Place and Comparison write it: matchers sorted, alternatives of a regular expression too."""
    matchers = [
        f'{label}="{value}"' if isinstance(value, str) else f'{label}=~"{"|".join(sorted(value))}"'
        for label, value in labels.items()
    ]
    return f"{name}{{{','.join(sorted(matchers))}}}" if matchers else name


def numbers(expression: str) -> list[tuple[Place, float]]:
    """Every number that is applied to series; `24 * 3600` is a single number."""
    return list(_numbers(promql.parse(expression)))


def selectors(expression: str) -> Series:
    """The series that it reads."""
    return _series(promql.parse(expression))


def comparisons(expression: str) -> set[Comparison]:
    """Every comparison of series with series."""
    return {
        Comparison(_series(node.lhs), str(node.op), _series(node.rhs))
        for node in _nodes(promql.parse(expression))
        if isinstance(node, promql.BinaryExpr)
        and str(node.op) in _COMPARISONS
        and _constant(node.lhs) is None
        and _constant(node.rhs) is None
    }


def _numbers(root: Any) -> Iterator[tuple[Place, float]]:
    for node in _nodes(root):
        if isinstance(node, promql.BinaryExpr):
            left, right = _constant(node.lhs), _constant(node.rhs)
            if left is None and right is not None:
                yield Place(f"x {node.op} n", _series(node.lhs)), right
            elif left is not None and right is None:
                yield Place(f"n {node.op} x", _series(node.rhs)), left
        elif isinstance(node, promql.Call):
            for argument in node.args[1:]:
                if (value := _constant(argument)) is not None:
                    yield Place(f"{node.func.name}(x, n)", _series(node.args[0])), value
        elif isinstance(node, promql.AggregateExpr) and (value := _constant(node.param)) is not None:
            yield Place(f"{node.op}(n, x)", _series(node.expr)), value


def _constant(node: Any) -> float | None:
    """The value of an expression without series."""
    if isinstance(node, promql.NumberLiteral):
        return float(node.val)
    if isinstance(node, promql.ParenExpr):
        return _constant(node.expr)
    if isinstance(node, promql.UnaryExpr):
        value = _constant(node.expr)
        return -value if value is not None else None
    if isinstance(node, promql.BinaryExpr) and str(node.op) in _ARITHMETIC:
        left, right = _constant(node.lhs), _constant(node.rhs)
        return _ARITHMETIC[str(node.op)](left, right) if left is not None and right is not None else None
    return None


def _series(node: Any) -> Series:
    return frozenset(_selector(part) for part in _nodes(node) if isinstance(part, promql.VectorSelector))


def _selector(node: Any) -> str:
    labels: dict[str, str | tuple[str, ...]] = {}
    for matcher in node.matchers.matchers:
        if matcher.op == promql.MatchOp.Equal:
            labels[matcher.name] = matcher.value
        elif matcher.op == promql.MatchOp.Re:
            labels[matcher.name] = tuple(matcher.value.split("|"))
        else:
            raise ValueError(f"a matcher that is not read yet: {node}")
    return series(node.name, **labels)


def _is_ignoring(node: Any) -> bool:
    matching = node.modifier.matching if node.modifier else None
    return matching is not None and matching.type == promql.LabelModifierType.Exclude


def _nodes(root: Any) -> Iterator[Any]:
    """The expression and all its parts, parents first; without `unless ignoring` parts, which only exclude targets."""
    yield root
    if isinstance(root, promql.BinaryExpr) and str(root.op) == "unless" and _is_ignoring(root):
        parts = [root.lhs]
    elif isinstance(root, promql.BinaryExpr):
        parts = [root.lhs, root.rhs]
    elif isinstance(root, promql.Call):
        parts = list(root.args)
    elif isinstance(root, promql.AggregateExpr):
        parts = [root.expr, *([root.param] if root.param is not None else [])]
    elif isinstance(root, promql.MatrixSelector):
        parts = [root.vector_selector]
    elif isinstance(root, promql.ParenExpr | promql.UnaryExpr | promql.SubqueryExpr):
        parts = [root.expr]
    elif isinstance(root, promql.VectorSelector | promql.NumberLiteral | promql.StringLiteral):
        parts = []
    else:
        raise TypeError(f"a node that is not read yet: {type(root)}")
    for part in parts:
        yield from _nodes(part)
