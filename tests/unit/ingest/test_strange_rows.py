"""Rows of every unexpected shape in every list and every kind of reading: the other rows are counted."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, cast
from uuid import UUID

import pytest

from prefect_monitoring.backfill.loading import load, missing
from prefect_monitoring.ingest.source import Scope
from prefect_monitoring.ingest.sources import SOURCES, Readers, cursor_of, make_readers, read_source
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import (
    CUSTOM_OBSERVED,
    FAILED_ACTIONS,
    LAST_MATERIALIZATION,
    OUTCOMES,
    TASK_OUTCOMES,
)
from prefect_monitoring.model.cursor import ASSET_EVENTS, AUTOMATION_EVENTS, FLOW_RUNS, LOG_LINES, TASK_RUNS
from prefect_monitoring.model.records import NO_FLOW, Pipeline
from prefect_monitoring.model.unreadable import LONGEST_WAIT_SECONDS
from prefect_monitoring.prefect_api.client import PrefectHttp
from prefect_monitoring.prefect_api.pagination import iso
from support.options import settings_with
from unit.conftest import OpenLedger
from unit.fake_prefect import MONDAY_NOON
from unit.raw_prefect import Kept, RawPrefect

ETL = Pipeline("etl", "daily")
FLOW, DEPLOYMENT = str(UUID(int=1)), str(UUID(int=2))
ENDED = MONDAY_NOON - 3600.0
GARBAGE = "no time at all"
# Defects of a row of runs; OK: it is readable all the same. NESTED: the defects one level deeper.
RUN_FAULTS: dict[str, dict[str, Any]] = {
    "no state, no type": {"state": None, "state_type": None},
    "a state without a type, no type": {"state": {"id": "?"}, "state_type": 5},
    "a garbled end": {"end_time": GARBAGE},
    "an end that is a number": {"end_time": 1772452800},
    "a garbled start": {"start_time": GARBAGE},
    "no id": {"id": None},
    "an id of another type": {"id": 7},
    "an invalid id": {"id": "run-7"},
    "a list for a count": {"run_count": [[]]},
}
READABLE: dict[str, dict[str, Any]] = {
    "no state": {"state": None, "state_id": None},
    "a garbled state": {"state": {"type": {"x": 1}, "timestamp": GARBAGE}},
    "no offset": {"end_time": "2026-03-02T11:00:00", "start_time": "2026-03-02T10:59:00"},
    "more than expected": {"labels": {"a": {"b": [{}]}}, "state_details": [[1]]},
}
LINE_FAULTS = {
    "no time": {"timestamp": None},
    "a garbled time": {"timestamp": GARBAGE},
    "no id": {"id": []},
    "a nested message": {"message": {"METRIC: rows=1": "METRIC: rows=1"}},
}
EVENT_FAULTS = {
    "no resource": {"resource": None},
    "a nested resource": {"resource": [{"prefect.resource.id": "a"}]},
    "no time": {"occurred": None},
    "a garbled time": {"occurred": GARBAGE},
    "no id": {"id": 7},
}
OTHER_ROWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "/flows/filter": ({"id": FLOW, "name": "etl"}, {"name": [1]}),
    "/deployments/filter": ({"id": DEPLOYMENT, "name": "daily", "flow_id": FLOW}, {"tags": 5}),
    "/work_pools/filter": ({"id": FLOW, "name": "p", "type": "process"}, {"type": None}),
    "/work_pools/{name}/workers/filter": ({"id": FLOW, "status": "ONLINE"}, {"last_heartbeat_time": GARBAGE}),
    "/work_queues/filter": ({"id": FLOW, "name": "q", "work_pool_name": "p"}, {"last_polled": {}}),
    "/v2/concurrency_limits/filter": ({"id": FLOW, "name": "l", "limit": 2, "active_slots": 0}, {"limit": None}),
    "/automations/filter": ({"id": FLOW, "name": "a", "enabled": True}, {"name": {}}),
    "/variables/filter": ({"id": FLOW, "name": "trend", "value": [{"v": 1}]}, {"name": None}),
}
TREND = {"name": "trend", "type": "gauge", "help": "A trend.", "source": {"variable": "trend", "field": "v"}}


class World:
    """A server with good and bad rows in every list. `answers_500`: pages with bad rows fail."""

    def __init__(self, *, answers_500: bool) -> None:
        self.now = MONDAY_NOON
        self.answers_500 = answers_500
        self.server = RawPrefect()
        self.good_runs: list[str] = []
        self.bad_runs: list[str] = []
        self._ids = iter(range(100, 10_000))
        self._add_runs()
        self._add_details()
        self._add_events()
        for endpoint, (good, fault) in OTHER_ROWS.items():
            self._keep(endpoint, good["id"], good)
            bad = self.new_id()
            self._keep(endpoint, bad, {**good, "id": bad, **fault}, fails=answers_500)

    def _add_runs(self) -> None:
        for fault in ({}, *READABLE.values(), *({} for _ in range(9))):
            self.good_runs.append(self._run(fault, is_bad=False))
        for fault in RUN_FAULTS.values():
            self.bad_runs.append(self._run(fault, is_bad=True))
        self.running = self._run({}, is_bad=False, state_type="RUNNING", at=None)
        self._run({"start_time": GARBAGE}, is_bad=True, state_type="RUNNING", at=None)

    def _add_details(self) -> None:
        for run_id in (*self.good_runs, self.bad_runs[0], self.bad_runs[5]):
            self._task_run({}, run_id, is_bad=False)
            self._line({}, run_id, is_bad=False)
        for fault in (*RUN_FAULTS.values(), {"flow_run_id": 7}, {"name": None, "task_key": None}):
            self._task_run(fault, self.good_runs[0], is_bad=True)
        for fault in LINE_FAULTS.values():
            self._line(fault, self.good_runs[0], is_bad=True)

    def _add_events(self) -> None:
        for fault in (*({} for _ in range(6)), *EVENT_FAULTS.values()):
            self._event("prefect.automation.action.failed", fault)
            self._event("prefect.asset.materialization.succeeded", fault)
        beats = {"value": f"prefect.flow-run.{self.running}", "count": 2}
        beats |= {"start_time": iso(self.now), "end_time": iso(self.now)}
        for fault in ({}, {"count": [], "value": 7}, {"start_time": GARBAGE, "value": f"prefect.flow-run.{FLOW}"}):
            self._keep("/events/count-by/resource", self.running, {**beats, **fault})

    def clock(self) -> float:
        return self.now

    def new_id(self) -> str:
        return str(UUID(int=next(self._ids)))

    def _keep(self, endpoint: str, identifier: str, row: Any, **known: Any) -> None:
        self.server.lists.setdefault(endpoint, []).append(Kept(identifier, row, **known))

    def _run(
        self,
        fault: dict[str, Any],
        *,
        is_bad: bool,
        state_type: str = "COMPLETED",
        at: float | None = MONDAY_NOON - 3600,
    ) -> str:
        run = self.new_id()
        ended = iso(at) if at is not None else None
        state = {
            "id": self.new_id(),
            "type": state_type,
            "name": state_type.title(),
            "timestamp": ended or iso(self.now),
        }
        row = {
            "id": run,
            "name": "a-run",
            "flow_id": FLOW,
            "deployment_id": DEPLOYMENT,
            "expected_start_time": iso(self.now - 3700),
            "start_time": iso(self.now - 3660),
            "end_time": ended,
            "total_run_time": 60.0,
            "run_count": 1,
            "state_id": state["id"],
            "state_type": state_type,
            "state_name": state["name"],
            "state": state,
        }
        fails = is_bad and self.answers_500
        self._keep("/flow_runs/filter", run, {**row, **fault}, repaired=row, type=state_type, at=at, fails=fails)
        self.server.owners[run] = (OTHER_ROWS["/flows/filter"][0], OTHER_ROWS["/deployments/filter"][0])
        return run

    def _task_run(self, fault: dict[str, Any], flow_run: str, *, is_bad: bool) -> None:
        run, ended = self.new_id(), iso(ENDED)
        row = {
            "id": run,
            "name": "load-0",
            "task_key": "load-1a2b3c4d",
            "dynamic_key": "0",
            "flow_run_id": flow_run,
            "start_time": iso(MONDAY_NOON - 3660),
            "end_time": ended,
            "run_count": 1,
            "state_type": "COMPLETED",
            "state": {"id": self.new_id(), "type": "COMPLETED", "name": "Completed", "timestamp": ended},
        }
        known = {"type": "COMPLETED", "at": ENDED, "flow_run": flow_run}
        self._keep("/task_runs/filter", run, {**row, **fault}, repaired=row, **known, fails=is_bad and self.answers_500)

    def _line(self, fault: dict[str, Any], flow_run: str, *, is_bad: bool) -> None:
        line, at = self.new_id(), ENDED
        row = {"id": line, "timestamp": iso(at), "message": "METRIC: rows=1", "flow_run_id": flow_run}
        self._keep("/logs/filter", line, {**row, **fault}, repaired=row, at=at, fails=is_bad and self.answers_500)

    def _event(self, name: str, fault: dict[str, Any]) -> None:
        event, at = self.new_id(), self.now + 5.0 if "action" in name else self.now - 60.0
        resource = {"prefect.resource.id": "s3://lake/orders"}
        row = {"id": event, "event": name, "occurred": iso(at), "resource": resource, "payload": {}}
        self._keep("/events/filter", event, {**row, **fault}, repaired=row, at=at, type=name)

    def repair(self) -> None:
        """Repairs the rows, as in the server's database."""
        for kept in self.server.lists.values():
            for record in kept:
                record.fails, record.row = False, record.repaired or record.row


@pytest.fixture
def open_readers(open_it: OpenLedger) -> Iterator[Any]:
    opened: list[Readers] = []

    def make(world: World) -> Readers:
        settings = settings_with(assets=[{"asset": "s3://lake/.*"}], custom_metrics=[TREND])
        http = cast("PrefectHttp", world.server)
        ledger = open_it(declared=settings.metrics.custom_metrics)
        opened.append(make_readers(settings, ledger, http, world.clock))
        return opened[-1]

    yield make
    for readers in opened:
        readers.flow_runs.close()


async def read_all(readers: Readers) -> None:
    for entry in SOURCES:
        if entry.is_wanted(readers.metrics):
            until = readers.flow_runs.clock() if entry.compares else None
            await read_source(entry, readers, Scope(60.0, until))


def count(readers: Readers, metric: str, pipeline: Pipeline = ETL, detail: str = "", task: str = "") -> float:
    series = readers.flow_runs.ledger.series.get(SeriesKey(metric, pipeline, detail, task))
    return 0.0 if series is None else series.value


def unreadable(readers: Readers, name: str) -> int:
    entry = next(entry for entry in SOURCES if entry.name == name)
    return len(readers.flow_runs.aside.since(name, cursor_of(entry)))


def check_good_rows(world: World, readers: Readers) -> None:
    assert count(readers, OUTCOMES, detail="completed") == len(world.good_runs)
    details = len(world.good_runs) + 2
    assert count(readers, TASK_OUTCOMES, detail="completed", task="load") == details, "also for unreadable runs"
    assert count(readers, CUSTOM_OBSERVED, detail="rows") == details
    deleted = {key for key in readers.flow_runs.ledger.series if key.pipeline.flow == "(deleted)"}
    assert deleted == set()
    cursors = readers.flow_runs.ledger.cursors
    assert all(cursors[one].baseline_complete for one in (FLOW_RUNS, TASK_RUNS, LOG_LINES))


@pytest.mark.parametrize("answers_500", [False, True])
async def test_initial_sync_and_catch_up_continue_beside_unreadable_rows(
    open_readers: Any, caplog: pytest.LogCaptureFixture, *, answers_500: bool
) -> None:
    world = World(answers_500=answers_500)
    readers = open_readers(world)
    await read_all(readers)
    await read_all(readers)
    check_good_rows(world, readers)
    under_way = readers.flow_runs.under_way
    assert under_way is not None
    assert len(under_way.runs) == 1
    assert (readers.heartbeats.pulses or {}).keys() == under_way.runs.keys()
    assert unreadable(readers, "heartbeats") == 2
    for source in ("flows", "deployments", "work_queues", "concurrency_limits", "automations", "trend_stores"):
        assert unreadable(readers, source) == 1, source
    for source in ("finished_flow_runs", "finished_task_runs", "log_lines", "active_flow_runs", "work_pools"):
        assert unreadable(readers, source) > 0, source
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()
    for _ in range(3):
        world.now += 3600.0
        await read_all(readers)
    check_good_rows(world, readers)
    assert not [record.getMessage() for record in caplog.records if record.getMessage() in said], "each is logged once"


@pytest.mark.parametrize("answers_500", [False, True])
async def test_backfill_and_reconciliation_continue_beside_unreadable_rows(
    open_readers: Any, *, answers_500: bool
) -> None:
    world = World(answers_500=answers_500)
    readers = open_readers(world)
    await load(readers, lambda *_: None)
    check_good_rows(world, readers)
    world.now += 2 * 3600.0
    assert await missing(readers) == 0
    await read_all(readers)
    check_good_rows(world, readers)
    gone = readers.flow_runs.ledger.names.gone
    assert not {FLOW, DEPLOYMENT} & gone


@pytest.mark.parametrize("answers_500", [False, True])
async def test_repaired_rows_are_counted_once(open_readers: Any, *, answers_500: bool) -> None:
    world = World(answers_500=answers_500)
    readers = open_readers(world)
    await read_all(readers)
    world.repair()
    for _ in range(4):
        world.now += LONGEST_WAIT_SECONDS + 60.0
        await read_all(readers)
    runs = len(world.good_runs) + len(world.bad_runs)
    assert count(readers, OUTCOMES, detail="completed") == runs
    assert unreadable(readers, "finished_flow_runs") == 0


async def test_unreadable_events_do_not_block_others(open_readers: Any) -> None:
    world = World(answers_500=False)
    readers = open_readers(world)
    await read_all(readers)
    world.now += 60.0
    await read_all(readers)
    failed = SeriesKey(FAILED_ACTIONS, NO_FLOW, "s3://lake/orders")
    assert readers.flow_runs.ledger.series[failed].value == 6
    assert any(key.metric == LAST_MATERIALIZATION for key in readers.flow_runs.ledger.values)
    for cursor in (AUTOMATION_EVENTS, ASSET_EVENTS):
        assert len(readers.flow_runs.aside.since("", cursor)) > 0
