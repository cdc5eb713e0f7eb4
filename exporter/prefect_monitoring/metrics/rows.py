"""Rows that several subjects share: what the ledger keeps, and how pairs stand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prefect_monitoring.metrics.family import Row
from prefect_monitoring.model.run_stats import Standing
from prefect_monitoring.snapshot.model import Snapshot

PAIR: Final = ("flow", "deployment")


def kept(metric: str, *fields: str) -> Callable[[Snapshot], Iterator[Row]]:
    """Rows of a counter or histogram that the ledger keeps; `fields` of its key follow the pair's names."""

    def rows(snapshot: Snapshot) -> Iterator[Row]:
        for key, series in snapshot.series.get(metric, {}).items():
            labels = (key.pair.flow, key.pair.deployment, *(getattr(key, field) for field in fields))
            yield labels, series if series.buckets else series.value

    return rows


def standing(values: Callable[[Standing], Iterable[Row]]) -> Callable[[Snapshot], Iterator[Row]]:
    """Rows that follow from how each live pair stands."""

    def rows(snapshot: Snapshot) -> Iterator[Row]:
        for pair, one in snapshot.standings.items():
            for labels, value in values(one):
                yield (pair.flow, pair.deployment, *labels), value

    return rows
