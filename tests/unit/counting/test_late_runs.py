"""Runs are late by their due start and the clock, whether or not the server has marked them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prefect_monitoring.counting.late_runs import MARGIN_SECONDS, as_they_are
from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.model.records import FlowRun, State
from prefect_monitoring.snapshot.builder import summarise_active
from unit.fake_prefect import FakePrefect

NOW = 1772452800.0
WAITING = FlowRun(
    "r",
    "a-run",
    "f",
    "d",
    "k8s",
    (),
    State("s", "SCHEDULED", "Scheduled", NOW - 9999, ""),
    0,
    rescheduled=False,
    expected_at=NOW - 7200,
    started_at=None,
    ended_at=None,
)


def shown(**changes: object) -> list[str]:
    return [run.state.label for run in as_they_are([replace(WAITING, **changes)], NOW)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ({}, ["late"]),
        ({"expected_at": NOW - MARGIN_SECONDS - 1}, ["late"]),
        ({"expected_at": NOW - MARGIN_SECONDS}, []),
        ({"expected_at": NOW + 7200}, []),
        ({"expected_at": None}, []),
        ({"scheduled_at": NOW + 600}, []),
        ({"scheduled_at": NOW - 600}, ["late"]),
        ({"state": State("s", "SCHEDULED", "Queued", NOW, "")}, ["late"]),
        ({"state": State("s", "SCHEDULED", "Late", NOW, "")}, ["late"]),
        ({"state": State("s", "SCHEDULED", "AwaitingRetry", NOW, "")}, ["awaiting_retry"]),
        ({"state": State("s", "RUNNING", "Scheduled", NOW, "")}, ["running"]),
    ],
    ids=str,
)
def test_waiting_run_has_the_expected_label(changes: dict[str, object], labels: list[str]) -> None:
    assert shown(**changes) == labels


async def test_overdue_runs_are_shown_late_and_future_ones_are_not(
    fake: FakePrefect, place: tuple[str, str], reader: Reader
) -> None:
    overdue = [fake.schedule(*place, in_seconds=-7200) for _ in range(3)]
    fake.schedule(*place, in_seconds=7200)
    late = fake.schedule(*place, in_seconds=-100)
    fake.set_state(late, "SCHEDULED", "Late")
    await reader.read_under_way()
    assert reader.under_way is not None
    assert reader.under_way.runs.keys() == {*overdue, late}
    active = summarise_active(reader.under_way.runs.values())
    assert set(active.counts.values()) == {4}
    assert active.late_by_queue[("process", "")] == 4
    assert set(active.oldest.values()) == {fake.runs[overdue[0]].expected}
    assert fake.requests["overdue_runs"] == 1
