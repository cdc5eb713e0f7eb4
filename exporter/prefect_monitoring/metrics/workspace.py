"""The whole server or workspace: concurrency limits and automations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prefect_monitoring.metrics.family import Metric, Row
from prefect_monitoring.metrics.rows import counted
from prefect_monitoring.model.counted_metrics import FAILED_ACTIONS
from prefect_monitoring.model.records import ConcurrencyLimit
from prefect_monitoring.snapshot.model import Snapshot


def _limits(value: Callable[[ConcurrencyLimit], int]) -> Callable[[Snapshot], Iterator[Row]]:
    def rows(snapshot: Snapshot) -> Iterator[Row]:
        for name, limit in (snapshot.inventory.limits or {}).items():
            yield (name,), value(limit)

    return rows


def _automations(snapshot: Snapshot) -> Iterator[Row]:
    for enabled, count in (snapshot.inventory.automations or {}).items():
        yield (str(enabled).lower(),), count


METRICS: Final = (
    Metric(
        "prefect_concurrency_limit_slots",
        "gauge",
        "Slots of an active concurrency limit; a deployment's own limit is called flow/deployment.",
        ("limit",),
        _limits(lambda limit: limit.slots),
    ),
    Metric(
        "prefect_concurrency_limit_slots_used",
        "gauge",
        "Slots of an active concurrency limit that are taken.",
        ("limit",),
        _limits(lambda limit: limit.slots_used),
    ),
    Metric(
        "prefect_automations",
        "gauge",
        "Automations, by whether they are enabled.",
        ("enabled",),
        _automations,
    ),
    counted(
        FAILED_ACTIONS,
        "Actions of Prefect's own automations that failed, such as messages not sent, by the automation's name.",
    ),
)
