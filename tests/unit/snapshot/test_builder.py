"""The summary of active runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prefect_monitoring.model.records import OVERFLOW, FlowRun, Pipeline, State
from prefect_monitoring.snapshot.builder import summarise_active

NOW = 1772452800.0
PIPELINE = Pipeline("etl", "daily")


TYPES = {"Running": "RUNNING", "Retrying": "RUNNING", "Pending": "PENDING"}


def run(number: int, name: str, *, at: float, expected_at: float | None = None, queue: str = "default") -> FlowRun:
    state = State(f"s{number}", TYPES.get(name, "SCHEDULED"), name, at, "")
    times = {"expected_at": expected_at, "started_at": None, "ended_at": None}
    return FlowRun(str(number), "a-run", "f", "d", "k8s", (), state, 0, rescheduled=False, work_queue=queue, **times)


@pytest.mark.parametrize("name", ["Late", "AwaitingConcurrencySlot"])
def test_waiting_run_has_waited_since_its_expected_start(name: str) -> None:
    """Late is noticed some time later; a run that waits for a slot enters a new state with each try."""
    active = summarise_active([(PIPELINE, run(1, name, at=NOW, expected_at=NOW - 5000))])
    assert list(active.oldest.values()) == [NOW - 5000]


@pytest.mark.parametrize("due", [NOW + 600, NOW - 1200])
def test_run_awaiting_a_retry_has_waited_since_the_retry_was_due(due: float) -> None:
    """A delay may be hours long, but a due retry that does not start is stuck."""
    waiting = replace(run(1, "AwaitingRetry", at=NOW - 9000, expected_at=NOW - 99999), scheduled_at=due)
    assert summarise_active([(PIPELINE, waiting)]).oldest == {(PIPELINE, "awaiting_retry"): due}
    unknown = replace(waiting, scheduled_at=None)
    assert summarise_active([(PIPELINE, unknown)]).oldest == {(PIPELINE, "awaiting_retry"): NOW - 9000}


def test_active_runs_are_counted_with_the_start_of_the_oldest() -> None:
    runs = [run(1, "Running", at=NOW - 60), run(2, "Running", at=NOW - 600), run(3, "Pending", at=NOW - 5)]
    active = summarise_active([(PIPELINE, one) for one in runs])
    assert active.oldest == {(PIPELINE, "running"): NOW - 600, (PIPELINE, "pending"): NOW - 5}
    assert active.counts == {(PIPELINE, "k8s", "running"): 2, (PIPELINE, "k8s", "pending"): 1}


def test_late_runs_are_counted_by_queue_and_orphans_by_pipeline() -> None:
    runs = [run(1, "Late", at=NOW, queue="urgent"), run(2, "Running", at=NOW), run(3, "Running", at=NOW)]
    active = summarise_active([(PIPELINE, one) for one in runs], orphans={"3"})
    assert active.late_by_queue["k8s", "urgent"] == 1
    assert active.late_by_queue["k8s", "default"] == 0
    assert active.orphans == {PIPELINE: 1}


def test_run_beyond_the_cap_has_no_age() -> None:
    active = summarise_active([(OVERFLOW, run(1, "Running", at=NOW))])
    assert active.oldest == {}
    assert active.counts == {(OVERFLOW, "k8s", "running"): 1}


def test_running_time_of_a_retried_run_covers_all_attempts() -> None:
    third = replace(run(1, "Retrying", at=NOW - 60), ran_before=3600.0)
    assert summarise_active([(PIPELINE, third)]).oldest == {(PIPELINE, "retrying"): NOW - 3660}
