"""The table of sources: their dependencies, and what other modules read from it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prefect_monitoring.config.settings import HistorySettings, MetricSettings
from prefect_monitoring.ingest.source import Turn
from prefect_monitoring.ingest.sources import (
    COUNTED_SOURCES,
    FINISHED_FLOW_RUNS,
    SOURCES,
    SourceEntry,
    lookbacks,
    stages,
)
from prefect_monitoring.metrics import CATALOGUE
from prefect_monitoring.model.counted_metrics import COUNTED_METRICS, TASK_DURATION
from prefect_monitoring.model.cursor import ASSET_EVENTS, AUTOMATION_EVENTS, FLOW_RUNS, LOG_LINES, TASK_RUNS

BY_NAME = {entry.name: entry for entry in SOURCES}
DAY = 86400.0


def named(turn: Turn) -> list[set[str]]:
    return [{entry.name for entry in stage} for stage in stages(entry for entry in SOURCES if entry.turn is turn)]


def test_sources_have_unique_names_and_cursors() -> None:
    assert len(BY_NAME) == len(SOURCES)
    assert len(COUNTED_SOURCES) == sum(bool(entry.cursor) for entry in SOURCES)


@pytest.mark.parametrize("entry", SOURCES, ids=lambda entry: entry.name)
def test_entry_waits_only_for_existing_sources(entry: SourceEntry) -> None:
    assert {BY_NAME[name].turn for name in entry.after} <= {entry.turn}, "otherwise it would not wait"
    assert {*entry.requires, *entry.prefers} <= COUNTED_SOURCES.keys() - {entry.cursor}
    assert not entry.gates_ready or entry.cursor
    assert not entry.compares or BY_NAME[entry.compares].cursor in entry.requires


def test_every_kept_metric_is_counted_from_a_source_with_a_cursor() -> None:
    assert {source for row in COUNTED_METRICS.values() for source in row.sources} <= COUNTED_SOURCES.keys()


def test_every_source_is_probed_unless_another_probe_covers_it() -> None:
    assert {entry.name for entry in SOURCES if not entry.probes} == {"active_task_runs", "heartbeats"}


def test_sources_of_a_turn_are_read_in_stages() -> None:
    assert named(Turn.POLL) == [{"finished_flow_runs", "active_flow_runs"}, {"heartbeats"}]
    assert named(Turn.DETAILS) == [{"finished_task_runs", "active_task_runs"}, {"log_lines"}]
    assert named(Turn.INVENTORY) == [
        {"flows", "deployments", "trend_stores", "assets"},
        {"work_pools", "work_queues", "concurrency_limits", "automations", "dues"},
        {"failed_actions"},
    ]
    assert named(Turn.AUDIT) == [{"audit_flow_runs"}, {"audit_task_runs"}]


def test_sources_that_wait_for_each_other_are_refused() -> None:
    first, second = BY_NAME["work_pools"], BY_NAME["work_queues"]
    with pytest.raises(ValueError, match="work_pools, work_queues"):
        stages([replace(first, after=(second.name,)), replace(second, after=(first.name,))])


@pytest.mark.parametrize(("details", "expected"), [("7d", 7 * DAY), ("60d", 30 * DAY)])
def test_no_cursor_reaches_back_further_than_that_of_the_flow_runs(details: str, expected: float) -> None:
    reach = lookbacks(HistorySettings(lookback="30d", task_lookback=details))
    assert reach == {
        FLOW_RUNS: 30 * DAY,
        **dict.fromkeys((TASK_RUNS, LOG_LINES, AUTOMATION_EVENTS, ASSET_EVENTS), expected),
    }


def test_readiness_requires_only_flow_runs() -> None:
    assert [entry.name for entry in SOURCES if entry.gates_ready] == [FINISHED_FLOW_RUNS]


def test_source_is_not_wanted_if_all_its_metrics_are_disabled() -> None:
    names = tuple(metric.name for metric in CATALOGUE)
    shown = {entry.name for entry in SOURCES if entry.is_wanted(MetricSettings())}
    asked = {entry.name for entry in SOURCES if entry.is_wanted(MetricSettings(metrics_off=names))}
    switchable = {
        "work_pools",
        "work_queues",
        "concurrency_limits",
        "automations",
        "failed_actions",
        "heartbeats",
        "finished_task_runs",
        "active_task_runs",
        "log_lines",
        "audit_task_runs",
    }
    assert shown - asked == switchable
    for family in ("prefect_work_pool_", "prefect_work_queue_", "prefect_custom_metric_"):
        off = tuple(name for name in names if name.startswith(family))
        some = MetricSettings(metrics_off=off[1:])
        assert all(entry.is_wanted(some) for entry in SOURCES if entry.name in switchable)


def test_source_of_an_optional_metric_is_wanted_once_enabled() -> None:
    off = tuple(metric.name for metric in CATALOGUE if metric.name != TASK_DURATION)
    assert not BY_NAME["finished_task_runs"].is_wanted(MetricSettings(metrics_off=off))
    assert BY_NAME["finished_task_runs"].is_wanted(MetricSettings(metrics_off=off, metrics_on=(TASK_DURATION,)))
