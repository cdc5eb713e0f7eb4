"""The inventory: stored by source, shown only while fresh; and due starts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

import pytest

from prefect_monitoring.config.settings import Settings
from prefect_monitoring.counting.schedules import settled_all
from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.ingest.inventory import InventoryReader, named_limits
from prefect_monitoring.ingest.source import OutageLog, Reading, Source
from prefect_monitoring.metrics import deployments, work_pools, workspace
from prefect_monitoring.model.changes import Schedule
from prefect_monitoring.model.inventory import Inventory
from prefect_monitoring.model.records import ConcurrencyLimit, Deployment, Pipeline, Workers, WorkPool, WorkQueue
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.snapshot.model import ActiveRuns, Snapshot
from support.options import settings_with
from unit.fake_inventory import FakeInventory
from unit.fake_prefect import MONDAY_NOON, FakePrefect
from unit.rig import MakeReader
from unit.snapshots import make_snapshot

FRESH = 210.0
POOL = WorkPool("k8s", "kubernetes", paused=False, ready=True, slots=4, slots_used=1)
PUSH = WorkPool("cloud", "ecs:push", paused=True, ready=False, slots=None, slots_used=None)
QUEUE = WorkQueue("k8s", "urgent", paused=True, ready=False, slots=2, last_polled=MONDAY_NOON - 5)
IDLE_QUEUE = WorkQueue("k8s", "default", paused=False, ready=None, slots=None, last_polled=None)
LIMIT = ConcurrencyLimit("database", None, 5, 2)
PIPELINE = Pipeline("etl", "daily")
DEPLOYMENT = Deployment("d", "daily", "f", "k8s", "urgent", (), paused=False, ready=True, schedules="hourly")
DOWN = ApiError("the API answered 500", "500")


@dataclass
class Process:
    """The inventory part of an exporter process; `read` reads each source once."""

    fake: FakePrefect
    api: FakeInventory
    reader: Reader
    settings: Settings

    def __post_init__(self) -> None:
        self.inventory = InventoryReader(self.reader, self.api, self.settings.filters, self.settings.labels)  # type: ignore[arg-type]
        self.sources = {name: Source(name, 5, OutageLog(), self.fake.clock) for name in self.readings}

    @property
    def readings(self) -> dict[str, Callable[[], Awaitable[Reading]]]:
        return {
            "work_pools": self.inventory.read_work_pools,
            "work_queues": self.inventory.read_work_queues,
            "concurrency_limits": self.inventory.read_concurrency_limits,
            "automations": self.inventory.read_automations,
            "dues": self.inventory.read_schedules,
        }

    async def read(self) -> dict[str, bool]:
        await self.reader.read_flows()
        await self.reader.read_deployments()
        worked = {name: await source.read(self.readings[name]) for name, source in self.sources.items()}
        await self.reader.create_zero_born_series()
        return worked

    @property
    def live(self) -> Mapping[Pipeline, Deployment]:
        return self.reader.catalog.live_deployments(self.reader.ledger.names)

    @property
    def current(self) -> Inventory:
        return self.inventory.current(self.live, self.fake.now, FRESH)

    @property
    def snapshot(self) -> Snapshot:
        return replace(
            make_snapshot(),
            taken_at=self.fake.now,
            deployments=tuple(self.live.items()),
            schedules=settled_all(self.reader.ledger.schedules, self.live, self.fake.now, {}),
            inventory=self.current,
        )

    def due(self) -> tuple[float | None, float | None]:
        """The last and the next due start that the metrics show of PIPELINE."""
        shown = rows(self.snapshot)
        last, following = (shown[f"prefect_deployment_{when}_due_timestamp_seconds"] for when in ("last", "next"))
        return last.get(("etl", "daily")), following.get(("etl", "daily"))


def rows(snapshot: Snapshot) -> dict[str, dict[tuple[str, ...], object]]:
    """Metrics from the inventory, without the counters of the ledger."""
    metrics = (*deployments.METRICS, *work_pools.METRICS, *workspace.METRICS)
    return {metric.name: dict(metric.rows(snapshot)) for metric in metrics if metric.kind != "counter"}


@pytest.fixture
def api() -> FakeInventory:
    return FakeInventory(
        pools=[POOL, PUSH],
        workers={"k8s": Workers(1, 2, MONDAY_NOON - 3)},
        queues=[QUEUE, IDLE_QUEUE],
        limits=[LIMIT],
        enabled={True: 3, False: 1},
    )


@pytest.fixture
def process(fake: FakePrefect, api: FakeInventory, make_reader: MakeReader) -> Process:
    return Process(fake, api, make_reader(), settings_with())


# Metrics


async def test_every_metric_has_its_value(process: Process, fake: FakePrefect, api: FakeInventory) -> None:
    deployment = add(fake, DEPLOYMENT, tags=("team:a", "unlisted", "critical"))
    api.starts = {deployment: [MONDAY_NOON + 3600]}
    api.limits.append(ConcurrencyLimit(f"deployment:{deployment}", deployment, 1, 1))
    assert all((await process.read()).values())
    active = ActiveRuns({}, {}, {("k8s", "urgent"): 2}, slots_by_queue={("k8s", "urgent"): 1, ("k8s", "default"): 7})
    assert rows(replace(process.snapshot, active=active)) == {
        "prefect_deployment_info": {("etl", "daily", "k8s", "urgent"): 1.0},
        "prefect_deployment_tag_info": {("etl", "daily", "critical"): 1.0, ("etl", "daily", "team:a"): 1.0},
        "prefect_deployment_paused": {("etl", "daily"): 0.0},
        "prefect_deployment_ready": {("etl", "daily"): 1.0},
        "prefect_deployment_next_due_timestamp_seconds": {("etl", "daily"): MONDAY_NOON + 3600},
        "prefect_deployment_last_due_timestamp_seconds": {},
        "prefect_deployment_unmet_due_timestamp_seconds": {},
        "prefect_deployment_paused_since_timestamp_seconds": {},
        "prefect_deployment_resumed_timestamp_seconds": {},
        "prefect_work_pool_info": {("k8s", "kubernetes"): 1.0, ("cloud", "ecs:push"): 1.0},
        "prefect_work_pool_ready": {("k8s",): 1.0, ("cloud",): 0.0},
        "prefect_work_pool_paused": {("k8s",): 0.0, ("cloud",): 1.0},
        "prefect_work_pool_slots": {("k8s",): 4.0},
        "prefect_work_pool_slots_used": {("k8s",): 1.0},
        "prefect_work_pool_workers": {("k8s", "online"): 1, ("k8s", "offline"): 2},
        "prefect_work_pool_last_heartbeat_timestamp_seconds": {("k8s",): MONDAY_NOON - 3},
        "prefect_work_queue_ready": {("k8s", "urgent"): 0.0},
        "prefect_work_queue_paused": {("k8s", "urgent"): 1.0, ("k8s", "default"): 0.0},
        "prefect_work_queue_late_runs": {("k8s", "urgent"): 2.0, ("k8s", "default"): 0.0},
        "prefect_work_queue_last_polled_timestamp_seconds": {("k8s", "urgent"): MONDAY_NOON - 5},
        "prefect_work_queue_slots": {("k8s", "urgent"): 2.0},
        "prefect_work_queue_slots_used": {("k8s", "urgent"): 1.0},
        "prefect_concurrency_limit_slots": {("database",): 5, ("etl/daily",): 1},
        "prefect_concurrency_limit_slots_used": {("database",): 2, ("etl/daily",): 1},
        "prefect_automations": {("true",): 3, ("false",): 1},
    }
    late = rows(replace(process.snapshot, active=None))["prefect_work_queue_late_runs"]
    assert late == {}, "late runs are unknown if active runs cannot be read"
    assert rows(replace(process.snapshot, active=None))["prefect_work_queue_slots_used"] == {}


def test_inventory_that_was_never_read_has_no_rows(process: Process) -> None:
    snapshot = replace(process.snapshot, deployments=None)
    assert {name for name, found in rows(snapshot).items() if found} == set()


async def test_pool_that_never_had_a_worker_has_both_states_at_zero(process: Process, api: FakeInventory) -> None:
    api.workers.clear()
    await process.read()
    shown = rows(process.snapshot)
    assert shown["prefect_work_pool_workers"] == {("k8s", "online"): 0, ("k8s", "offline"): 0}
    assert shown["prefect_work_pool_last_heartbeat_timestamp_seconds"] == {}


# Outages


@pytest.mark.parametrize(
    ("endpoint", "source", "part"),
    [
        ("work_pools", "work_pools", "pools"),
        ("work_queues", "work_queues", "queues"),
        ("concurrency_limits", "concurrency_limits", "limits"),
        ("automations", "automations", "automations"),
    ],
)
async def test_failing_endpoint_hides_nothing_else(
    process: Process, fake: FakePrefect, api: FakeInventory, endpoint: str, source: str, part: str
) -> None:
    await process.read()
    before = process.current
    api.broken = {endpoint: DOWN}
    fake.now += 60
    assert await process.read() == {name: name != source for name in process.sources}
    assert process.current == before, "data read a minute ago is still current"
    fake.now += FRESH
    await process.read()
    after = process.current
    assert getattr(after, part) is None
    assert {name for name in ("pools", "queues", "limits", "automations") if getattr(after, name) is None} == {part}
    api.broken = {}
    assert all((await process.read()).values())
    assert process.current == before


async def test_pool_whose_workers_cannot_be_read_keeps_its_other_metrics(
    process: Process, fake: FakePrefect, api: FakeInventory
) -> None:
    other = replace(POOL, name="other")
    api.pools = [POOL, other]
    api.broken = {"other": DOWN}
    for _ in range(10):
        fake.now += 60
        assert not (await process.read())["work_pools"]
    assert process.sources["work_pools"].answered, "the API has responded"
    assert "1 work pools' workers cannot be read" in process.sources["work_pools"].error
    current = process.current
    assert current.pools == (POOL, other)
    assert current.workers.keys() == {"k8s"}


async def test_workers_read_recently_stay_for_a_while(process: Process, fake: FakePrefect, api: FakeInventory) -> None:
    await process.read()
    api.broken = {"k8s": DOWN}
    fake.now += 60
    await process.read()
    assert process.current.workers == {"k8s": Workers(1, 2, MONDAY_NOON - 3)}
    fake.now += FRESH
    await process.read()
    assert process.current.workers == {}
    assert process.current.pools is not None


async def test_deleted_pool_removes_its_workers(process: Process, api: FakeInventory) -> None:
    await process.read()
    api.pools = [PUSH]
    await process.read()
    assert process.current.workers == {}


# Filters, names, tags


async def test_filters_apply_to_pools_and_queues(
    fake: FakePrefect, api: FakeInventory, make_reader: MakeReader
) -> None:
    options = {"include_pools": "k8s.*", "exclude_pools": "k8s-old"}
    process = Process(fake, api, make_reader(**options), settings_with(**options))
    api.pools.append(replace(POOL, name="k8s-old"))
    api.queues.append(replace(QUEUE, work_pool="cloud"))
    await process.read()
    current = process.current
    assert current.pools == (POOL,)
    assert current.queues == (QUEUE, IDLE_QUEUE)
    assert current.workers.keys() == {"k8s"}


def test_limit_of_a_deployment_has_its_name_while_it_exists() -> None:
    own = ConcurrencyLimit("deployment:d", "d", 1, 0)
    of_gone = ConcurrencyLimit("deployment:gone", "gone", 1, 0)
    assert named_limits([own, of_gone, LIMIT], [(PIPELINE, DEPLOYMENT)]) == {"etl/daily": own, "database": LIMIT}
    assert named_limits([own], []) == {}


@pytest.mark.parametrize(
    ("options", "tags", "expected"),
    [
        (
            {},
            ("team:a", "env:prod", "daily", "critical", "daily-ish", "x"),
            ("critical", "daily", "env:prod", "team:a"),
        ),
        ({}, ("daily", "daily"), ("daily",)),
        ({"deployment_tags": "x.*"}, ("daily", "x1", "x2"), ("x1", "x2")),
        ({"deployment_tags": ()}, ("daily",), ()),
        ({"max_tags": 2}, ("team:c", "team:b", "team:a"), ("team:a", "team:b")),
    ],
)
async def test_tags_are_allowlisted_and_capped(
    fake: FakePrefect,
    api: FakeInventory,
    make_reader: MakeReader,
    options: dict[str, object],
    tags: tuple[str, ...],
    expected: tuple[str, ...],
) -> None:
    process = Process(fake, api, make_reader(**options), settings_with(**options))
    deployment = add(fake, DEPLOYMENT, tags=tags)
    await process.read()
    assert process.current.tags == {deployment: expected}


# Due starts


def add(fake: FakePrefect, like: Deployment, **changes: object) -> str:
    """Adds a deployment `daily` of the flow `etl`, otherwise like `like`."""
    flow = fake.add_flow("etl")
    identifier = fake.add_deployment("daily", flow)
    fake.deployment_names[identifier] = replace(like, id=identifier, flow_id=flow, **changes)  # type: ignore[arg-type]
    return identifier


def change(fake: FakePrefect, identifier: str, **changes: object) -> None:
    deployment = fake.deployment_names[identifier]
    fake.deployment_names[identifier] = replace(deployment, **changes)  # type: ignore[arg-type]


@pytest.fixture
def scheduled(fake: FakePrefect, api: FakeInventory) -> str:
    identifier = add(fake, DEPLOYMENT)
    api.starts[identifier] = [MONDAY_NOON + 1000, MONDAY_NOON + 2000, MONDAY_NOON + 9000]
    return identifier


async def test_start_is_next_and_then_last(
    process: Process, fake: FakePrefect, api: FakeInventory, scheduled: str
) -> None:
    await process.read()
    assert process.due() == (None, MONDAY_NOON + 1000)
    fake.now = MONDAY_NOON + 1001
    assert process.due() == (MONDAY_NOON + 1000, None), "it becomes the last start as time passes"
    await process.read()
    assert process.due() == (MONDAY_NOON + 1000, MONDAY_NOON + 2000)
    stored = {scheduled: Schedule(MONDAY_NOON + 1000, MONDAY_NOON + 2000, MONDAY_NOON + 1000)}
    assert process.reader.ledger.schedules == stored, "unmet: no run completed"
    assert api.asked == [[scheduled], [scheduled]]


async def test_pause_starts_when_first_seen_and_survives_a_restart(
    process: Process, fake: FakePrefect, scheduled: str
) -> None:
    def since(event: str = "paused_since") -> float | None:
        shown = rows(process.snapshot)[f"prefect_deployment_{event}_timestamp_seconds"]
        return shown.get(("etl", "daily"))  # type: ignore[return-value] # a number, of a gauge

    await process.read()
    assert since() is None
    change(fake, scheduled, paused=True)
    fake.now += 60
    await process.read()
    fake.now += 60
    await process.read()
    assert since() == MONDAY_NOON + 60

    again = Process(fake, process.api, process.reader, process.settings)
    await again.read()
    assert since() == MONDAY_NOON + 60
    assert since("resumed") is None
    change(fake, scheduled, paused=False)
    await again.read()
    assert (since(), since("resumed")) == (None, MONDAY_NOON + 120)


@pytest.mark.parametrize("off", [{"paused": True}, {"schedules": ""}], ids=["paused", "schedules off"])
async def test_start_due_before_a_pause_is_not_expected_after_the_resume(
    process: Process, fake: FakePrefect, api: FakeInventory, scheduled: str, off: dict[str, object]
) -> None:
    def due_metrics() -> list[object]:
        shown = rows(process.snapshot)
        metrics = [f"prefect_deployment_{kind}_due_timestamp_seconds" for kind in ("last", "unmet")]
        return [shown[metric].get(("etl", "daily")) for metric in metrics]

    on = {name: getattr(fake.deployment_names[scheduled], name) for name in off}
    await process.read()
    fake.now = MONDAY_NOON + 1001
    await process.read()
    assert due_metrics() == [MONDAY_NOON + 1000, MONDAY_NOON + 1000]
    change(fake, scheduled, **off)
    fake.now += 60
    await process.read()
    assert due_metrics() == [None, None]

    fake.now += 3 * 86400
    api.starts[scheduled] = [fake.now + 500, fake.now + 1500]
    process = Process(fake, process.api, process.reader, process.settings)  # the resume is seen after a restart
    change(fake, scheduled, **on)
    await process.read()
    assert due_metrics() == [None, None]
    due, fake.now = fake.now + 500, fake.now + 501
    await process.read()
    assert due_metrics() == [due, due]


async def test_pass_without_changes_requests_nothing(
    process: Process, fake: FakePrefect, api: FakeInventory, scheduled: str
) -> None:
    await process.read()
    for _ in range(10):
        fake.now += 60
        await process.read()
    assert len(api.asked) == 1


async def test_start_passes_while_the_exporter_is_stopped(
    process: Process, fake: FakePrefect, api: FakeInventory, scheduled: str
) -> None:
    await process.read()
    fake.now = MONDAY_NOON + 1500
    later = Process(fake, api, process.reader, process.settings)
    assert later.due() == (MONDAY_NOON + 1000, None)
    await later.read()
    assert later.due() == (MONDAY_NOON + 1000, MONDAY_NOON + 2000)


async def test_start_that_passes_during_an_outage_is_kept(
    process: Process, fake: FakePrefect, api: FakeInventory, scheduled: str
) -> None:
    await process.read()
    api.broken = {"next_starts": DOWN}
    fake.now = MONDAY_NOON + 1001
    assert not (await process.read())["dues"]
    assert process.due() == (MONDAY_NOON + 1000, None)
    api.broken = {}
    fake.now = MONDAY_NOON + 3000
    await process.read()
    assert process.due() == (MONDAY_NOON + 1000, MONDAY_NOON + 9000), "starts due in between are known from the runs"


async def test_paused_deployment_has_no_due_start(
    process: Process, fake: FakePrefect, api: FakeInventory, scheduled: str
) -> None:
    await process.read()
    change(fake, scheduled, paused=True)
    api.broken = {"next_starts": DOWN}
    await process.read()
    assert process.due() == (None, None)
    api.broken = {}
    fake.now = MONDAY_NOON + 1500
    await process.read()
    assert process.due() == (None, None), "the start was cancelled before it was due"
    change(fake, scheduled, paused=False)
    await process.read()
    assert process.due() == (None, MONDAY_NOON + 2000)


async def test_changed_schedules_are_requested_at_once(
    process: Process, fake: FakePrefect, api: FakeInventory, scheduled: str
) -> None:
    await process.read()
    change(fake, scheduled, schedules="nightly")
    api.starts[scheduled] = [MONDAY_NOON + 7000]
    await process.read()
    assert process.due() == (None, MONDAY_NOON + 7000)
    change(fake, scheduled, schedules="")
    api.starts[scheduled] = []
    await process.read()
    assert process.due() == (None, None)


async def test_start_cancelled_by_hand_is_noticed_within_the_hour(
    process: Process, fake: FakePrefect, api: FakeInventory, scheduled: str
) -> None:
    api.starts[scheduled] = [MONDAY_NOON + 7200]
    await process.read()
    api.starts[scheduled] = [MONDAY_NOON + 9000]
    fake.now += 3600
    await process.read()
    assert process.due() == (None, MONDAY_NOON + 9000)


async def test_new_schedule_is_requested_until_the_scheduler_has_planned_runs(
    process: Process, fake: FakePrefect, api: FakeInventory
) -> None:
    identifier = add(fake, DEPLOYMENT)
    await process.read()
    assert process.due() == (None, None)
    api.starts[identifier] = [MONDAY_NOON + 500]
    await process.read()
    assert process.due() == (None, MONDAY_NOON + 500)
    await process.read()
    assert len(api.asked) == 2


async def test_excluded_deployments_are_not_requested(
    fake: FakePrefect, api: FakeInventory, make_reader: MakeReader, scheduled: str
) -> None:
    options = {"exclude_deployments": "daily"}
    process = Process(fake, api, make_reader(**options), settings_with(**options))
    await process.read()
    assert api.asked == []


@pytest.mark.parametrize("name", ["Completed", "Skipped", "Cached", "NoData", "Failed"])
async def test_start_is_met_by_a_completed_run_of_any_name(
    process: Process, fake: FakePrefect, api: FakeInventory, name: str
) -> None:
    deployment = add(fake, DEPLOYMENT)
    flow = fake.deployment_names[deployment].flow_id
    api.starts = {deployment: [MONDAY_NOON + 60, MONDAY_NOON + 120]}
    await process.read()
    for _ in range(2):
        fake.now += 60.0
        run = fake.schedule(flow, deployment)
        fake.start(run)
        fake.set_state(run, "COMPLETED", name)
        await process.reader.read_finished(60.0)
        await process.read()
    ledger = process.reader.ledger
    stats = ledger.run_stats([PIPELINE], fake.now)[PIPELINE]
    assert stats.last_success == fake.now
    settled = settled_all(ledger.schedules, {PIPELINE: DEPLOYMENT}, fake.now, {PIPELINE: stats.last_success})
    assert settled[PIPELINE].unmet_at is None
    assert ledger.schedules[deployment].unmet_at is None or ledger.schedules[deployment].unmet_at > fake.now - 60


@pytest.mark.parametrize(("state_type", "name", "failures"), [("COMPLETED", "Failed", 0), ("FAILED", "Completed", 2)])
async def test_failure_streak_ends_by_state_type_not_name(
    process: Process, fake: FakePrefect, state_type: str, name: str, failures: int
) -> None:
    deployment = add(fake, DEPLOYMENT)
    flow = fake.deployment_names[deployment].flow_id
    for state in (("FAILED", "Failed"), (state_type, name)):
        run = fake.schedule(flow, deployment)
        fake.start(run)
        fake.set_state(run, *state)
    await process.reader.read_finished(60.0)
    assert process.reader.ledger.run_stats([PIPELINE], fake.now)[PIPELINE].consecutive_failures == failures
