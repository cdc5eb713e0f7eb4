"""The labels of the result of a PromQL expression, derived without a server from the labels of its metrics.

Raises UnknownNameError if an expression names a metric or a label that does not exist: in a selector, or in
a `by`, an `on` or a `group_left`.
"""

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import cache, reduce
from pathlib import Path
from typing import Any

import promql_parser as promql
import yaml

from prefect_monitoring.archive.metrics import ARCHIVE_METRICS
from prefect_monitoring.metrics import CATALOGUE

RULES = Path(__file__).parents[2] / "prometheus/rules"
TARGET = frozenset({"workspace", "job", "instance"})
ALERT = frozenset({"alertname", "alertstate", "severity"})
_ADDS = {"label_replace", "label_join"}
_SET_OPERATORS = {"and", "unless"}
_KEEP_ALL = {"topk", "bottomk", "limitk"}

Labels = frozenset[str]


class UnknownNameError(Exception):
    """A metric or a label that does not exist."""


class Reader:
    """Knows the existing metrics by name, with their labels."""

    def __init__(self, metrics: Mapping[str, Labels]) -> None:
        self.metrics = dict(metrics)

    def labels(self, text: str) -> Labels:
        """The labels that series of the expression's result have, or may have."""
        return self._of(promql.parse(text))

    def _of(self, node: Any) -> Labels:
        read = {
            promql.VectorSelector: self._selected,
            promql.MatrixSelector: lambda node: self._selected(node.vector_selector),
            promql.ParenExpr: lambda node: self._of(node.expr),
            promql.UnaryExpr: lambda node: self._of(node.expr),
            promql.SubqueryExpr: lambda node: self._of(node.expr),
            promql.AggregateExpr: self._aggregated,
            promql.BinaryExpr: self._joined,
            promql.Call: self._called,
        }.get(type(node))
        return read(node) if read else frozenset()  # numbers and strings have none

    def _selected(self, node: Any) -> Labels:
        matchers = node.matchers.matchers
        name = node.name or next(matcher.value for matcher in matchers if matcher.name == "__name__")
        if name not in self.metrics:
            raise UnknownNameError(f"no such metric: {name}")
        labels = self.metrics[name]
        _demand({matcher.name for matcher in matchers} - {"__name__"}, labels, name)
        return labels

    def _aggregated(self, node: Any) -> Labels:
        inner = self._of(node.expr)
        if node.param is not None:
            self._of(node.param)
        named = frozenset(node.modifier.labels) if node.modifier else frozenset[str]()
        _demand(named, inner, str(node))
        if str(node.op) in _KEEP_ALL:
            return inner
        if str(node.op) == "count_values":
            named |= {node.param.val}
        return inner - named if node.modifier and node.modifier.type == promql.AggModifierType.Without else named

    def _joined(self, node: Any) -> Labels:
        left, right, operator = self._of(node.lhs), self._of(node.rhs), str(node.op)
        modifier = node.modifier
        matching = modifier.matching if modifier else None
        named = frozenset(matching.labels) if matching else frozenset[str]()
        ignores = matching is not None and matching.type == promql.LabelModifierType.Exclude
        if ignores:
            _demand(named, left | right, str(node))
        on = frozenset[str]() if ignores else named
        for side, of in ((node.lhs, left), (node.rhs, right)):
            if on and not isinstance(side, promql.NumberLiteral):
                _demand(on, of, str(node))
        if operator == "or":
            return left | right
        if operator in _SET_OPERATORS:
            return left
        card = modifier.card if modifier else promql.VectorMatchCardinality.OneToOne
        if card == promql.VectorMatchCardinality.ManyToOne:
            return left | _demand(frozenset(modifier.group_labels or ()), right, str(node))
        if card == promql.VectorMatchCardinality.OneToMany:
            return right | _demand(frozenset(modifier.group_labels or ()), left, str(node))
        if matching is not None and matching.type == promql.LabelModifierType.Include:
            return on
        return left | right  # one of them may be a number

    def _called(self, node: Any) -> Labels:
        name, arguments = node.func.name, node.args
        if name in _ADDS:
            sources = [argument.val for argument in arguments[3:]] if name == "label_join" else [arguments[3].val]
            inner = self._of(arguments[0])
            _demand({label for label in sources if label}, inner, str(node))
            return inner | {arguments[1].val}
        inner = reduce(frozenset.union, map(self._of, arguments), frozenset[str]())
        return inner - {"le"} if name == "histogram_quantile" else inner


def _demand(named: Collection[str], known: Labels, where: str) -> Labels:
    if missing := set(named) - known:
        raise UnknownNameError(f"no label {', '.join(sorted(missing))} in {where}")
    return frozenset(named)


def metric_names(text: str) -> set[str]:
    """The metrics that an expression reads."""
    names: set[str] = set()

    def visit(node: Any) -> bool:
        if isinstance(node, promql.VectorSelector):
            names.add(node.name)
        return True

    promql.walk(promql.parse(text), visit)
    return names


def _learn_records(records: dict[str, Any], reader: Reader) -> None:
    """Records may read records of another file: each comes after those that it reads.

    An increase and its last level read each other: the level has the labels of the counter.
    """
    while records:
        ready = [name for name, rule in records.items() if not metric_names(rule["expr"]) & records.keys()]
        if not ready:
            ready = [name for name in records if name.endswith(":last")]
            assert ready, f"records that read each other: {sorted(records)}"
            reader.metrics |= {name: frozenset(re.findall(r"\w+", records[name]["expr"])) for name in records}
        for name in ready:
            rule = records.pop(name)
            reader.metrics[name] = reader.labels(rule["expr"]) | frozenset(rule.get("labels", ()))


@cache
def reader() -> Reader:
    """Knows the exporter's metrics, those that Prometheus adds, and the records of the shipped rules."""
    known: dict[str, Labels] = {}
    for metric in (*CATALOGUE, *ARCHIVE_METRICS):
        labels = TARGET | frozenset(metric.labels)
        if metric.kind == "histogram":
            known |= {f"{metric.name}_bucket": labels | {"le"}}
            known |= {f"{metric.name}_{part}": labels for part in ("sum", "count")}
        else:
            known[metric.name] = labels
    for name in ("up", "scrape_samples_scraped", "scrape_duration_seconds"):
        known[name] = TARGET
    for name in ("cpu_seconds_total", "resident_memory_bytes", "open_fds", "max_fds", "start_time_seconds"):
        known[f"process_{name}"] = TARGET
    known_reader = Reader(known)
    groups = [group for path in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(path.read_text())["groups"]]
    rules = [rule for group in groups for rule in group["rules"]]
    # Rules read ALERTS, which have the labels of rules: until those are known, accept every word in them.
    known_reader.metrics["ALERTS"] = known_reader.metrics["ALERTS_FOR_STATE"] = ALERT.union(
        *(re.findall(r"\w+", rule["expr"]) for rule in rules)
    )
    _learn_records({rule["record"]: rule for rule in rules if "record" in rule}, known_reader)
    labels = ALERT
    for rule in rules:
        with suppress(UnknownNameError):  # reported by the test of the rule
            labels |= known_reader.labels(rule["expr"]) if "alert" in rule else ALERT
    known_reader.metrics["ALERTS"] = known_reader.metrics["ALERTS_FOR_STATE"] = labels
    return known_reader
