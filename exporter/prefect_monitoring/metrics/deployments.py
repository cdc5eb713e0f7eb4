"""Deployments: what exists and where it runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prefect_monitoring.metrics.family import Metric, Row
from prefect_monitoring.snapshot import Snapshot


def _info(snapshot: Snapshot) -> Iterator[Row]:
    for pair, deployment in snapshot.deployments or ():
        yield (pair.flow, pair.deployment, deployment.work_pool, deployment.work_queue), 1.0


METRICS: Final = (
    Metric(
        "prefect_deployment_info",
        "gauge",
        "A deployment that exists, with its work pool and queue.",
        ("flow", "deployment", "work_pool", "work_queue"),
        _info,
    ),
)
