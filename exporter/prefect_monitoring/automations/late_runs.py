"""Which runs are so late that they are ended instead of started. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prefect_monitoring.automations.ended_runs import check_ending, ending
from prefect_monitoring.automations.retries import Target
from prefect_monitoring.model.actions import Action, Kind
from prefect_monitoring.model.records import FlowRun, Pipeline
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.prefect_api.actions import Outcome

LATE: Final = "late"
WAITING_NAMES: Final = ("Scheduled", "Late")


def plan_skips(
    runs: Iterable[tuple[Pipeline, FlowRun]], policies: Mapping[Pipeline, Policy], *, enabled_at: float, now: float
) -> Iterator[Action]:
    """An intention for each of `runs` that has waited for its first start longer than declared."""
    for pipeline, run in runs:
        policy = policies.get(pipeline)
        rule = policy.skip if policy is not None else None
        if rule is None or run.expected_at is None or not _waits_for_its_first_start(run):
            continue
        if enabled_at < run.expected_at < now - rule.when_later_than:
            yield ending(Kind.SKIP, pipeline, run, cause=LATE, at=run.expected_at, now=now)


def _waits_for_its_first_start(run: FlowRun) -> bool:
    first = run.attempts == 0 and not run.rescheduled and not run.is_subflow
    return first and run.state.type == "SCHEDULED" and run.state.name in WAITING_NAMES


def check_skip(action: Action, target: Target) -> Outcome:
    """PLANNED if it may be sent, DONE if it was sent already."""
    return check_ending(action, target, instead="CANCELLED")
