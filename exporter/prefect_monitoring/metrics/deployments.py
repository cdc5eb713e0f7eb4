"""Deployments: what exists, where it runs, whether it can, and when it is due."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prefect_monitoring.metrics.family import Metric, Row
from prefect_monitoring.metrics.rows import PIPELINE
from prefect_monitoring.model.changes import Schedule
from prefect_monitoring.model.records import Deployment
from prefect_monitoring.snapshot.model import Snapshot


def _info(snapshot: Snapshot) -> Iterator[Row]:
    for pipeline, deployment in snapshot.deployments or ():
        yield (pipeline.flow, pipeline.deployment, deployment.work_pool, deployment.work_queue), 1.0


def _tags(snapshot: Snapshot) -> Iterator[Row]:
    for pipeline, deployment in snapshot.deployments or ():
        for tag in snapshot.inventory.tags.get(deployment.id, ()):
            yield (pipeline.flow, pipeline.deployment, tag), 1.0


def _known(value: Callable[[Deployment], bool | None]) -> Callable[[Snapshot], Iterator[Row]]:
    def rows(snapshot: Snapshot) -> Iterator[Row]:
        for pipeline, deployment in snapshot.deployments or ():
            if (known := value(deployment)) is not None:
                yield (pipeline.flow, pipeline.deployment), float(known)

    return rows


def _due(at: Callable[[Schedule], float | None]) -> Callable[[Snapshot], Iterator[Row]]:
    """Rows from the ledger, so that due starts are exposed during an outage of the API too."""

    def rows(snapshot: Snapshot) -> Iterator[Row]:
        for pipeline, due in snapshot.schedules.items():
            if (instant := at(due)) is not None:
                yield (pipeline.flow, pipeline.deployment), instant

    return rows


METRICS: Final = (
    Metric(
        "prefect_deployment_info",
        "gauge",
        "A deployment that exists, with its work pool and queue.",
        (*PIPELINE, "work_pool", "work_queue"),
        _info,
    ),
    Metric(
        "prefect_deployment_tag_info",
        "gauge",
        "A tag of a deployment, of those that deployment_tags allows; at most max_tags of each deployment.",
        (*PIPELINE, "tag"),
        _tags,
    ),
    Metric(
        "prefect_deployment_paused",
        "gauge",
        "1 when the deployment is paused: its schedules start nothing.",
        PIPELINE,
        _known(lambda deployment: deployment.paused),
    ),
    Metric(
        "prefect_deployment_ready",
        "gauge",
        "1 when a worker or process that can run the deployment has polled Prefect recently.",
        PIPELINE,
        _known(lambda deployment: deployment.ready),
    ),
    Metric(
        "prefect_deployment_next_due_timestamp_seconds",
        "gauge",
        "When the deployment's schedules next expect a start; absent without any, when paused, or not yet scheduled.",
        PIPELINE,
        _due(lambda due: due.next_at),
    ),
    Metric(
        "prefect_deployment_last_due_timestamp_seconds",
        "gauge",
        "The latest scheduled start whose time has passed; starts missed before a pause do not count.",
        PIPELINE,
        _due(lambda due: due.last_at),
    ),
    Metric(
        "prefect_deployment_unmet_due_timestamp_seconds",
        "gauge",
        "The earliest scheduled start that passed without a completed run or a pause since; absent without any.",
        PIPELINE,
        _due(lambda due: due.unmet_at),
    ),
    Metric(
        "prefect_deployment_paused_since_timestamp_seconds",
        "gauge",
        "Since when the deployment has been seen paused; absent while it is not.",
        PIPELINE,
        _due(lambda due: due.paused_at),
    ),
    Metric(
        "prefect_deployment_resumed_timestamp_seconds",
        "gauge",
        "When the deployment was last found to be paused no longer; absent while it is paused, and if it never was.",
        PIPELINE,
        _due(lambda due: due.resumed_at if due.paused_at is None else None),
    ),
)
