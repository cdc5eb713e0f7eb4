"""Metrics that users declare: what the ledger keeps, and what it drops when a declaration changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import sqlalchemy as sa

from prefect_monitoring.config.custom_metrics import CustomMetric
from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.errors import LedgerError
from prefect_monitoring.model.counted_metrics import COUNTED_METRICS, CountedMetric
from prefect_monitoring.model.series import Bounds

META: Final = "custom_metrics"
# When one of these changes, the stored numbers no longer apply.
_DECISIVE: Final = frozenset({"type", "labels", "buckets", "source"})

Kept = Mapping[str, Mapping[str, Any]]
"""The decisive part of each declaration, as it was when the ledger was last opened, by name."""


def kept_metrics(declared: Iterable[CustomMetric]) -> dict[str, CountedMetric]:
    """Everything that is counted and shown, by name."""
    return {**COUNTED_METRICS, **{metric.name: metric.row for metric in declared if metric.enabled}}


def declared_bounds(declared: Iterable[CustomMetric]) -> Bounds:
    return {metric.name: metric.buckets for metric in declared if metric.enabled and metric.buckets}


def to_keep(declared: Iterable[CustomMetric]) -> Kept:
    return {metric.name: metric.model_dump(mode="json", include=set(_DECISIVE)) for metric in declared}


def check_types(kept: Kept, declared: Iterable[CustomMetric], ledger: str) -> None:
    """Raises LedgerError where a metric has another type than in the ledger of this name."""
    faults = [
        f"{metric.place}: {metric.name} is declared as a {metric.type}, but the ledger {ledger} keeps it as a"
        f" {kept[metric.name]['type']}, and so does Prometheus. Choose another name; or remove the declaration, start"
        " once without it, which forgets its numbers, and declare it again"
        for metric in declared
        if metric.name in kept and kept[metric.name]["type"] != metric.type
    ]
    if faults:
        raise LedgerError("\n".join(faults))


def outdated(kept: Kept, declared: Iterable[CustomMetric]) -> list[str]:
    """The metrics that are no longer declared, or whose decisive part has changed."""
    wanted = to_keep(declared)
    return [name for name, before in kept.items() if wanted.get(name) != before]


def forget_metrics(connection: sa.Connection, metrics: Iterable[str]) -> None:
    for name in metrics:
        for table in (schema.series, schema.last_values, schema.trend_points):
            connection.execute(sa.delete(table).where(table.c.metric == name))
