"""Properties of the whole chain, poller to ledger file, against the model of the server.

Whatever happens to runs, whenever it is looked at, and however often the exporter fails or dies in between: in the end
the ledger holds what happened, and nothing that was shown on the way ever went back.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st

from prefect_monitoring.config.settings import Settings
from prefect_monitoring.ingest import reconcile as audit_module
from prefect_monitoring.ingest.readers import Readers
from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.ledger.opening import open_ledger
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import DURATION, FAILURES, OUTCOMES, RETRIES, START_DELAY
from prefect_monitoring.model.records import Pair
from prefect_monitoring.model.series import Series
from prefect_monitoring.prefect_api.client import Traffic
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.runtime.poller import Poller
from prefect_monitoring.snapshot.model import Snapshot
from unit.conftest import API, BOUNDS, readers_of
from unit.fake_prefect import FakePrefect, ServerRun
from unit.truth import Truth

HOUR, DAY = 3600, 86400
SETTINGS = Settings(birth_hold="70s", ledger_url="sqlite:////nowhere/ledger.db")


def raw(ledger: Ledger) -> sqlite3.Connection:
    pooled = ledger._engine.raw_connection()
    connection = pooled.driver_connection
    pooled.close()
    assert isinstance(connection, sqlite3.Connection)
    return connection


def pragma(ledger: Ledger, setting: str) -> None:
    """Set on the ledger's own connection, outside any transaction."""
    raw(ledger).execute(f"PRAGMA {setting}")


class SimulatedCrash(BaseException):
    """The process dies here."""


CRASHES = ("between pages", "in a transaction", "before a commit", "after a commit")


@dataclass
class World:
    """A server, a ledger file, and the process that reads the one into the other."""

    path: Path
    fake: FakePrefect
    ledger: Ledger = field(init=False)
    poller: Poller = field(init=False)
    readers: Readers = field(init=False)
    snapshots: list[Snapshot] = field(default_factory=list)
    upcoming: list[tuple[int, Callable[[], None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.begin()
        self.fake.before_request = self._before_request

    def begin(self) -> None:
        self.ledger = open_ledger(f"sqlite:///{self.path}", API, bounds=BOUNDS, lookback=30 * DAY, now=self.fake.now)
        # Durability against power cuts is not what is tested here, and it costs most of the time.
        pragma(self.ledger, "synchronous=OFF")
        self.readers = readers_of(self.fake, self.ledger, SETTINGS)
        self.poller = Poller(self.readers, SETTINGS, Traffic(), self.snapshots.append, self.fake.clock)

    def end(self) -> None:
        self.readers.flow_runs.close()

    async def restart(self) -> None:
        self.end()
        self.begin()
        await self.poller.publish()

    def _before_request(self, _endpoint: str) -> None:
        due = [change for left, change in self.upcoming if left <= 0]
        self.upcoming = [(left - 1, change) for left, change in self.upcoming if left > 0]
        for change in due:
            change()

    async def poll(self) -> None:
        await self.poller.poll()

    async def inventory(self) -> None:
        await self.poller.take_inventory()
        await self.poller.audit()

    async def read_everything(self) -> None:
        await self.poll()
        await self.inventory()

    async def sync(self) -> None:
        """Reads everything there is: the audit trails what is read, so the clock moves on first."""
        self.upcoming.clear()
        self.fake.broken.clear()
        for _ in range(2):
            # A newer end moves the watermark on: what was set by hand before is the audit's to find.
            self.fake.now += 400
            newest = self.fake.schedule(next(iter(self.fake.flow_names)))
            self.fake.start(newest)
            self.fake.finish(newest)
            self.fake.now += 400
            await self.read_everything()
        await self.poll()

    def leave_on_disk(self, disk: Path) -> None:
        """What kill -9 leaves: the files as they are now, whatever this process still rolls back in its own."""
        for suffix in ("-wal", ""):
            if (source := self.path.with_name(self.path.name + suffix)).exists():
                shutil.copyfile(source, disk.with_name(disk.name + suffix))

    def die_at(self, kind: str, die: Callable[..., None]) -> None:
        engine = self.ledger._engine
        if kind == "between pages":
            self.fake.before_request = die
        elif kind == "in a transaction":
            sa.event.listen(engine, "after_cursor_execute", die)
        elif kind == "before a commit":
            sa.event.listen(engine, "commit", die)
        else:
            remember = self.ledger._remember_series

            def remember_or_die(moved: dict[SeriesKey, Series]) -> None:
                die()
                remember(moved)

            self.ledger._remember_series = remember_or_die  # type: ignore[method-assign,assignment]

    async def poll_and_crash(self, kind: str, countdown: int) -> None:
        """A poll in which the process dies, if it gets that far; then the next process."""
        disk = self.path.with_name(f"{self.path.stem}x.db")

        def die(*event: object) -> None:
            nonlocal countdown
            countdown -= 1
            if countdown >= 0 or "BEGIN IMMEDIATE" in event:
                return
            if not disk.exists():
                self.leave_on_disk(disk)
            raise SimulatedCrash

        self.die_at(kind, die)
        with contextlib.suppress(SimulatedCrash):
            await self.read_everything()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self.fake.before_request = self._before_request
        self.end()
        if disk.exists():
            self.path = disk
        self.begin()
        await self.poller.publish()


@dataclass
class Users:
    """What people, schedules and workers do to the server, chosen by numbers."""

    fake: FakePrefect
    places: list[tuple[str, str | None]]

    def pick(self, number: int, wanted: Callable[[ServerRun], bool]) -> ServerRun | None:
        eligible = [run for run in self.fake.runs.values() if wanted(run)]
        return eligible[number % len(eligible)] if eligible else None

    def act(self, kind: str, number: int) -> None:
        getattr(self, kind)(number)

    def schedule(self, number: int) -> ServerRun:
        flow_id, deployment_id = self.places[number % len(self.places)]
        run_id = self.fake.schedule(flow_id, deployment_id, retries=number // 4 % 3, in_seconds=number % 7)
        return self.fake.runs[run_id]

    def start(self, number: int) -> ServerRun:
        run = self.pick(number, lambda run: run.state.type in {"SCHEDULED", "PENDING"}) or self.schedule(number)
        self.fake.start(run.id, after=number % 3)
        return run

    def pend(self, number: int) -> None:
        run = self.pick(number, lambda run: run.state.type == "SCHEDULED") or self.schedule(number)
        self.fake.set_state(run.id, "PENDING")

    def complete(self, number: int) -> None:
        run = self.pick(number, lambda run: run.state.type == "RUNNING") or self.start(number)
        self.fake.finish(run.id, after=number % 5)

    def fail(self, number: int) -> ServerRun:
        run = self.pick(number, lambda run: run.state.type == "RUNNING") or self.start(number)
        message = ("", "HTTP 429 Too Many Requests", "deadlock detected")[number % 3]
        self.fake.finish(run.id, after=number % 5, state_type="FAILED", message=message)
        return run

    def crash(self, number: int) -> None:
        run = self.pick(number, lambda run: not run.over) or self.schedule(number)
        self.fake.finish(run.id, state_type="CRASHED", message="Flow run process exited with status code 137")

    def cancel(self, number: int) -> None:
        run = self.pick(number, lambda run: not run.over) or self.schedule(number)
        self.fake.set_state(run.id, "CANCELLING")
        self.fake.finish(run.id, state_type="CANCELLED")

    def pause(self, number: int) -> None:
        run = self.pick(number, lambda run: run.state.type == "RUNNING") or self.start(number)
        self.fake.set_state(run.id, "PAUSED")
        self.fake.now += number
        self.fake.set_state(run.id, "RUNNING")

    def retry(self, number: int) -> None:
        run = self.pick(number, lambda run: run.over and run.deployment_id is not None) or self.fail(number)
        self.fake.retry(run.id)

    def set_by_hand(self, number: int) -> None:
        """Failed → Completed or Cancelled: two opposite changes at once would leave every count as it was."""
        run = self.pick(number, lambda run: run.state.type in {"FAILED", "CRASHED"}) or self.fail(number)
        if run.over:
            self.fake.set_state(run.id, ("COMPLETED", "CANCELLED")[number % 2], message="by hand")

    def end_together(self, number: int) -> None:
        """Runs that end in the same microsecond."""
        for _ in range(number % 3):
            self.start(number)
        running = [run for run in self.fake.runs.values() if run.state.type == "RUNNING"]
        if running:
            self.fake.now = max(run.state.at for run in running) + 1
            for run in running:
                self.fake.set_state(run.id, "COMPLETED")

    def wait(self, number: int) -> None:
        self.fake.now += (0, 1, 15, 80, 400, 4000)[number % 6]


ACTIONS = (
    "schedule",
    "start",
    "start",
    "pend",
    "pause",
    "complete",
    "fail",
    "fail",
    "crash",
    "cancel",
    "retry",
    "retry",
    "set_by_hand",
    "end_together",
    "wait",
)
actions = st.tuples(st.sampled_from(ACTIONS), st.integers(0, 11))
steps = st.one_of(
    actions,
    actions,
    actions,
    actions,
    st.tuples(st.just("poll"), st.just(0)),
    st.tuples(st.just("poll meanwhile"), st.lists(st.tuples(st.integers(0, 6), actions), min_size=1, max_size=4)),
    st.tuples(st.just("inventory"), st.just(0)),
    st.tuples(st.just("restart"), st.just(0)),
    st.tuples(st.just("crash of ours"), st.tuples(st.sampled_from(CRASHES), st.integers(0, 12))),
    st.tuples(st.just("outage"), st.tuples(st.sampled_from(("finished_page", "active_runs", "histories", "flows")))),
    st.tuples(st.just("disk fault"), st.just(0)),
    st.tuples(st.just("sync and delete"), st.integers(0, 11)),
)


def make_world(path: Path, page_limit: int) -> tuple[World, Users, Truth]:
    fake = FakePrefect(page_limit=page_limit)
    etl, ml = fake.add_flow("etl"), fake.add_flow("ml")
    daily, hourly = fake.add_deployment("daily", etl), fake.add_deployment("hourly", etl)
    places = [(etl, daily), (ml, None), (etl, hourly), (etl, None)]
    truth = Truth(fake, {etl: "etl", ml: "ml"}, {daily: "daily", hourly: "hourly"})
    return World(path, fake), Users(fake, places), truth


async def take(world: World, users: Users, kind: str, argument: object) -> None:
    if kind == "poll":
        await world.poll()
    elif kind == "poll meanwhile":
        assert isinstance(argument, list)
        world.upcoming = [(after, lambda what=what: users.act(*what)) for after, what in argument]
        await world.poll()
    elif kind == "inventory":
        await world.inventory()
    elif kind == "restart":
        await world.restart()
    elif kind == "crash of ours":
        assert isinstance(argument, tuple)
        await world.poll_and_crash(*argument)
    elif kind == "outage":
        assert isinstance(argument, tuple)
        world.fake.broken = {argument[0]: ApiError("the server failed", "500")}
        await world.poll()
        world.fake.broken.clear()
    elif kind == "disk fault":
        with read_only(world.ledger):
            await world.poll()
    elif kind == "sync and delete":
        await world.sync()
        assert isinstance(argument, int)
        if run := users.pick(argument, lambda _: True):
            world.fake.delete_run(run.id)
    else:
        assert isinstance(argument, int)
        users.act(kind, argument)


@contextlib.contextmanager
def read_only(ledger: Ledger) -> Iterator[None]:
    pragma(ledger, "query_only=ON")
    try:
        yield
    finally:
        pragma(ledger, "query_only=OFF")


def counts(ledger: Ledger, metric: str) -> Counter[tuple[Pair, str]]:
    return +Counter({(key.pair, key.detail): int(s.value) for key, s in ledger.series.items() if key.metric == metric})


def check_totals(world: World, truth: Truth) -> None:
    ledger = world.ledger
    assert counts(ledger, OUTCOMES) == truth.outcomes()
    assert counts(ledger, FAILURES) == truth.failures()
    assert Counter({pair: n for (pair, _), n in counts(ledger, RETRIES).items()}) == truth.retries()
    for metric, expected in ((START_DELAY, truth.start_delays()), (DURATION, truth.durations())):
        seen = {key.pair: one for key, one in ledger.series.items() if key.metric == metric and sum(one.buckets)}
        assert {pair: sum(one.buckets) for pair, one in seen.items()} == {p: len(v) for p, v in expected.items()}
        for pair, values in expected.items():
            assert seen[pair].value == pytest.approx(sum(values), abs=1e-3), (metric, pair)


def check_long_memory(world: World, truth: Truth) -> None:
    ledger = world.ledger
    for table, grain in ((schema.hourly, HOUR), (schema.daily, DAY)):
        with ledger.transaction() as connection:
            rows = connection.execute(sa.select(table)).all()
        found = {(ledger._pairs[row.pair_id], row.start): (row.good, row.bad) for row in rows if row.good or row.bad}
        assert found == truth.tallies(grain)
    standings = ledger.standings(ledger.pairs, world.fake.now)
    assert +Counter({pair: one.consecutive_failures for pair, one in standings.items()}) == truth.consecutive_failures()
    for one in standings.values():
        assert (one.last_failure is not None) == (one.consecutive_failures > 0)


def all_series(snapshot: Snapshot) -> dict[SeriesKey, Series]:
    return {key: one for rows in snapshot.series.values() for key, one in rows.items()}


def check_shown(snapshots: list[Snapshot]) -> None:
    """Nothing before the level is complete; then each series starts at 0, never goes back, never goes away."""
    last: dict[SeriesKey, Series] | None = None
    for snapshot in snapshots:
        now = all_series(snapshot)
        if last is None:
            last = now or None
            continue
        for key in now.keys() - last.keys():
            assert now[key].value == 0, f"{key} was born at {now[key]}"
            assert not any(now[key].buckets), f"{key} was born at {now[key]}"
        for key, before in last.items():
            assert key in now, f"{key} went away"
            assert now[key].value >= before.value - 1e-6, f"{key} went from {before} to {now[key]}"
            assert all(n >= b for n, b in zip(now[key].buckets, before.buckets, strict=True)), key
        last = now


def play(page_limit: int, story: list[tuple[str, object]]) -> None:
    async def scene(folder: Path) -> None:
        world, users, truth = make_world(folder / "ledger.db", page_limit)
        try:
            for kind, argument in story:
                await take(world, users, kind, argument)
            await world.sync()
            check_totals(world, truth)
            check_long_memory(world, truth)
            world.fake.now += 100
            await world.poll()
            check_shown(world.snapshots)
            assert all_series(world.snapshots[-1]) == world.ledger.series, "every birth hold is over"
        finally:
            world.end()

    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        asyncio.run(scene(Path(folder)))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(page_limit=st.integers(1, 5), story=st.lists(steps, min_size=5, max_size=45))
@example(
    page_limit=1,
    story=[
        ("schedule", 1),
        ("schedule", 1),
        ("schedule", 1),
        ("start", 0),
        ("start", 0),
        ("start", 0),
        ("end_together", 0),
        ("poll", 0),
        ("restart", 0),
        ("poll", 0),
    ],
)
@example(
    page_limit=2,
    story=[("schedule", 0), ("start", 0), ("poll", 0), ("fail", 0), ("retry", 0), ("start", 0), ("complete", 0)],
)
def test_whatever_happens_everything_is_counted_once(page_limit: int, story: list[tuple[str, object]]) -> None:
    note(f"pages of {page_limit}")
    audit_module.MAX_PAGE, before = 2, audit_module.MAX_PAGE  # type: ignore[misc] # so that a difference is halved
    try:
        play(page_limit, story)
    finally:
        audit_module.MAX_PAGE = before  # type: ignore[misc]
