"""Actions in Prefect: how many there were, whether they are allowed, and what is in force."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prefect_monitoring.metrics.family import Metric, Row
from prefect_monitoring.metrics.rows import PIPELINE, counted
from prefect_monitoring.model.actions import Hold, Kind
from prefect_monitoring.model.counted_metrics import ACTIONS
from prefect_monitoring.snapshot.model import Snapshot


def _acting(snapshot: Snapshot) -> Iterator[Row]:
    if snapshot.actions is not None and snapshot.actions.acting is not None:
        yield (), float(snapshot.actions.acting.allowed)


def _stopped(snapshot: Snapshot) -> Iterator[Row]:
    acting = snapshot.actions.acting if snapshot.actions is not None else None
    if acting is not None and acting.stopped_at is not None:
        yield ("fuse" if acting.fuse_blown else "person", acting.stopped_by if acting.fuse_blown else ""), 1.0


def _paused_downstream(snapshot: Snapshot) -> Iterator[Row]:
    for hold in snapshot.actions.holds if snapshot.actions is not None else ():
        if hold.kind is Kind.PAUSE and hold.hold is Hold.HELD:
            flow, _, deployment = hold.target_name.partition("/")
            policy = snapshot.policies.get(hold.pipeline)
            resumes = policy is not None and policy.on_failure is not None and policy.on_failure.resume_on_success
            since = hold.finished_at if hold.finished_at is not None else hold.decided_at
            yield (flow, deployment, *hold.pipeline, "on_success" if resumes else "by_hand"), since


def _retries_used(snapshot: Snapshot) -> Iterator[Row]:
    for pipeline, stats in snapshot.run_stats.items():
        policy = snapshot.policies.get(pipeline)
        if snapshot.actions is not None and stats.last_failure and policy is not None and policy.retry is not None:
            yield tuple(pipeline), stats.last_failure_retries


def _retries_allowed(snapshot: Snapshot) -> Iterator[Row]:
    for pipeline, policy in snapshot.policies.items():
        if snapshot.actions is not None and policy.retry is not None:
            yield tuple(pipeline), policy.retry.max


METRICS: Final = (
    counted(
        ACTIONS,
        "Actions on Prefect by rules of the pipelines file: done, refused, failed, exhausted, fuse, dry_run.",
    ),
    Metric(
        "prefect_exporter_acting",
        "gauge",
        "1 while actions are allowed; 0 when they are stopped or the fuse is blown. Absent without --act.",
        (),
        _acting,
    ),
    Metric(
        "prefect_exporter_actions_stopped_info",
        "gauge",
        "Why actions are stopped: by a person (person), or after too many actions (fuse).",
        ("stopped_by", "reason"),
        _stopped,
    ),
    Metric(
        "prefect_exporter_downstream_paused_timestamp_seconds",
        "gauge",
        "Since when the exporter keeps a deployment paused because an upstream pipeline failed; who resumes it.",
        (*PIPELINE, "upstream_flow", "upstream_deployment", "resume"),
        _paused_downstream,
    ),
    Metric(
        "prefect_flow_run_last_failure_retries",
        "gauge",
        "How often the exporter retried the last failed run; absent without a retry rule, and when a later completed.",
        PIPELINE,
        _retries_used,
    ),
    Metric(
        "prefect_pipeline_retries_max",
        "gauge",
        "How often the exporter may retry a run, where a rule says so.",
        PIPELINE,
        _retries_allowed,
    ),
)
