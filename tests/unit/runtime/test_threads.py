"""State that the ledger's thread changes is accessed on that thread only, whatever is read from Prefect."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from prefect_monitoring.counting.cardinality import Catalog
from prefect_monitoring.ingest.sources import Readers
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.records import Pipeline
from support.options import settings_with
from unit.fake_prefect import FakePrefect
from unit.poller_process import Process

# Values that are replaced as a whole and never changed in place, so any thread may read them.
REPLACED = {"names", "cursors", "created_at", "bounds", "pipelines_file", "plan", "path"}
CONSTANT = {"_filters", "_settings", "_engine", "_lock"}


@pytest.fixture
def strays(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Collects the attributes accessed on another thread than the ledger's."""
    ledger, catalog = readers.flow_runs.ledger, readers.flow_runs.catalog
    seen: set[str] = set()
    guarded = {*vars(ledger), *vars(catalog), "transaction"} - REPLACED - CONSTANT
    assert {"series", "values", "in_birth_hold", "schedules", "_admitted", "_tasks", "_custom"} <= guarded

    def access(self: object, name: str) -> object:
        if name in guarded and not threading.current_thread().name.startswith("ledger"):
            seen.add(f"{type(self).__name__}.{name}")
        return object.__getattribute__(self, name)

    monkeypatch.setattr(Ledger, "__getattribute__", access)
    monkeypatch.setattr(Catalog, "__getattribute__", access)
    return seen


def of_everything(fake: FakePrefect) -> None:
    """Records of every source: finished and active runs, task runs, lines, and a schedule."""
    flow = fake.add_flow("etl")
    deployment = fake.add_deployment("daily", flow, tags=("team:a",))
    over, active = fake.schedule(flow, deployment), fake.schedule(flow, deployment)
    fake.start(over)
    fake.tasks.run("extract", over)
    fake.logs.emit("rows", 5, over)
    fake.finish(over, 60.0, "FAILED", "boom")
    fake.start(active)
    running = fake.tasks.begin("load", active)
    fake.tasks.fail_and_retry(running, fake.logs)
    fake.tasks.run("outside", None)
    fake.logs.emit("rows", 5, None)
    unread = fake.schedule(fake.add_flow("late"), None)
    fake.start(unread)
    fake.tasks.run("extract", unread)
    fake.inventory.starts = {deployment: [fake.now + 3600.0]}


async def test_ledger_and_catalogue_are_accessed_on_one_thread(
    fake: FakePrefect, readers: Readers, strays: set[str]
) -> None:
    process = Process(fake, readers, settings_with(birth_hold="0s"))
    strays.clear()  # before the first reading there is nothing to conflict with
    of_everything(fake)
    for _ in range(3):
        await process.poller.take_inventory()
        await process.poll()
        await process.poller.poll_details()
        await process.poller.audit()
        await process.poller.publish()
        fake.now += 3600.0  # due starts pass, and the hourly prune runs
    assert strays == set()
    assert process.last.active_tasks, "active runs were summed up"
    assert process.last.values, "lines were counted"


@pytest.mark.parametrize(
    "stray",
    [
        lambda readers: readers.flow_runs.ledger.series,
        lambda readers: readers.flow_runs.ledger.known([]),
        lambda readers: readers.flow_runs.catalog.task_of(Pipeline("etl", ""), "load"),
    ],
)
async def test_access_on_another_thread_is_detected(
    readers: Readers, strays: set[str], stray: Callable[[Readers], object]
) -> None:
    await readers.flow_runs.in_ledger(stray, readers)
    assert strays == set()
    stray(readers)
    assert strays
