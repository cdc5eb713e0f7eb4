"""Properties of the whole chain for task runs and log lines, against the model of the server.

However late the recorder and the log batches are, and however often the exporter fails or dies: in the end the ledger
has the true totals, and no exposed counter ever decreased.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st

from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import (
    CUSTOM_OBSERVED,
    CUSTOM_VALUE,
    REJECTED,
    TASK_FAILURES,
    TASK_OUTCOMES,
    TASK_RETRIES,
    TASK_SECONDS,
)
from prefect_monitoring.model.cursor import LOG_LINES, TASK_RUNS
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.series import Series
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.snapshot.model import Snapshot
from support.examples import examples
from unit.fake_details import ServerTaskRun
from unit.fake_prefect import FakePrefect
from unit.lifecycle_world import CRASHES, World
from unit.snapshots import all_series
from unit.truth import DetailTruth, Truth

SOURCES = {
    TASK_OUTCOMES: {TASK_RUNS},
    TASK_SECONDS: {TASK_RUNS},
    TASK_RETRIES: {TASK_RUNS},
    TASK_FAILURES: {TASK_RUNS, LOG_LINES},
    CUSTOM_OBSERVED: {LOG_LINES},
    REJECTED: {LOG_LINES},
}


@dataclass
class DetailWorld(World):
    """`baselines`: the sources whose baseline was complete at each snapshot."""

    baselines: list[set[str]] = field(default_factory=list)

    async def publish(self, snapshot: Snapshot) -> None:
        await super().publish(snapshot)
        self.baselines.append({source for source, cursor in self.ledger.cursors.items() if cursor.baseline_complete})

    async def poll(self) -> None:
        await self.poller.poll()
        await self.poller.poll_details()

    async def sync(self) -> None:
        """Reads everything there is; late records have arrived by then."""
        self.fake.tasks.lag = self.fake.tasks.state_lag = self.fake.logs.delay = 0.0
        await super().sync()
        await self.poll()


@dataclass
class Work:
    """Actions of flows, chosen by numbers."""

    fake: FakePrefect
    places: list[tuple[str, str | None]]

    def act(self, kind: str, number: int) -> None:
        self.fake.tasks.lag = (0.0, 0.0, 20.0, 60.0)[number % 4]
        self.fake.tasks.state_lag = (0.0, 0.0, 0.0, 5.0, 40.0)[number % 5]
        self.fake.logs.delay = (0.0, 3.0, 50.0)[number % 3]
        getattr(self, kind)(number)

    def flow_run(self, number: int) -> str | None:
        """A flow run, or none in one of six cases, for task runs outside flows."""
        running = [run.id for run in self.fake.runs.values() if run.state.type == "RUNNING"]
        if number % 6 == 5:
            return None
        return running[number % len(running)] if running else self.start(number)

    def start(self, number: int) -> str:
        run = self.fake.schedule(*self.places[number % len(self.places)])
        self.fake.start(run)
        return run

    def end(self, number: int) -> None:
        running = [run.id for run in self.fake.runs.values() if run.state.type == "RUNNING"]
        if running:
            self.fake.finish(running[number % len(running)], number % 3, ("COMPLETED", "FAILED")[number % 2])

    def pick(self, number: int, wanted: Callable[[ServerTaskRun], bool]) -> str:
        eligible = [run.id for run in self.fake.tasks.runs.values() if wanted(run)]
        return eligible[number % len(eligible)] if eligible else self.begin(number)

    def begin(self, number: int) -> str:
        return self.fake.tasks.begin(("extract", "load")[number % 2], self.flow_run(number))

    def finish(self, number: int) -> None:
        ending = ("Completed", "Completed", "Cached", "Failed", "TimedOut", "Crashed", "Cancelled")[number % 7]
        self.fake.tasks.finish(self.pick(number, lambda run: not run.over), number % 5, ending, "HTTP 429")

    def many(self, number: int) -> None:
        """Ends several task runs in the same microsecond."""
        runs = [self.begin(number) for _ in range(number % 4)]
        self.fake.now += 1
        at = self.fake.now
        for run in runs:
            self.fake.now = at
            self.fake.tasks.finish(run)

    def fail_and_retry(self, number: int) -> None:
        error = ("ValueError('boom')", "HTTPError('429 Too Many Requests')")[number % 2]
        run = self.pick(number, lambda run: not run.over)
        self.fake.now += number % 3
        self.fake.tasks.fail_and_retry(run, self.fake.logs, error, float(number % 2 * 20))

    def roll_back(self, number: int) -> None:
        run = self.pick(number, lambda run: run.states[-1].name == "Completed")
        if self.fake.tasks.runs[run].states[-1].name == "Completed":
            self.fake.tasks.roll_back(run)

    def emit(self, number: int) -> None:
        flow_run = self.flow_run(number)
        labels = {"table": "orders"} if number % 4 == 0 else {}
        self.fake.logs.emit("rows", float(number), flow_run, at=self.fake.now - number % 3, **labels)

    def emit_in_task(self, number: int) -> None:
        run = self.fake.tasks.runs[self.pick(number, lambda run: not run.over)]
        self.fake.logs.emit("bytes", float(number), run.flow_run_id, run.id)

    def at_one_instant(self, number: int) -> None:
        for _ in range(number % 5):
            self.fake.logs.emit("rows", 1.0, self.flow_run(1))

    def wait(self, number: int) -> None:
        self.fake.now += (0, 1, 15, 80, 400, 4000)[number % 6]


ACTIONS = (
    "start",
    "end",
    "begin",
    "finish",
    "finish",
    "many",
    "fail_and_retry",
    "roll_back",
    "emit",
    "emit",
    "emit_in_task",
    "at_one_instant",
    "wait",
)
FAULTY = ("task_page", "task_count", "task_histories", "tasks_by_id", "log_page", "flow_runs", "finished_page")
actions = st.tuples(st.sampled_from(ACTIONS), st.integers(0, 27))
steps = st.one_of(
    actions,
    actions,
    actions,
    actions,
    st.tuples(st.just("poll"), st.just(0)),
    st.tuples(st.just("poll"), st.just(0)),
    st.tuples(st.just("poll meanwhile"), st.lists(st.tuples(st.integers(0, 8), actions), min_size=1, max_size=4)),
    st.tuples(st.just("inventory"), st.just(0)),
    st.tuples(st.just("restart"), st.just(0)),
    st.tuples(st.just("crash of ours"), st.tuples(st.sampled_from(CRASHES), st.integers(0, 20))),
    st.tuples(st.just("outage"), st.sampled_from(FAULTY)),
    st.tuples(st.just("server without a search"), st.just(0)),
)


async def take(world: DetailWorld, work: Work, kind: str, argument: object) -> None:
    if kind == "poll":
        await world.poll()
    elif kind == "poll meanwhile":
        assert isinstance(argument, list)
        world.upcoming = [(after, lambda action=action: work.act(*action)) for after, action in argument]
        await world.poll()
    elif kind == "inventory":
        await world.inventory()
    elif kind == "restart":
        await world.restart()
    elif kind == "crash of ours":
        assert isinstance(argument, tuple)
        await world.poll_and_crash(*argument)
    elif kind == "outage":
        world.fake.broken = {str(argument): ApiError("the server failed", "500")}
        await world.poll()
        world.fake.broken.clear()
    elif kind == "server without a search":
        world.fake.logs.can_search = False
    else:
        assert isinstance(argument, int)
        work.act(kind, argument)


def by_task(ledger: Ledger, metric: str) -> Counter[tuple[Pipeline, str, str]]:
    counted = {(k.pipeline, k.task, k.detail): int(s.value) for k, s in ledger.series.items() if k.metric == metric}
    return +Counter(counted)


def check_totals(world: DetailWorld, truth: DetailTruth) -> None:
    ledger = world.ledger
    assert by_task(ledger, TASK_OUTCOMES) == truth.outcomes()
    assert by_task(ledger, TASK_FAILURES) == truth.failures()
    assert {(pipeline, task): n for (pipeline, task, _), n in by_task(ledger, TASK_RETRIES).items()} == truth.retries()
    seconds = {(k.pipeline, k.task): s.value for k, s in ledger.series.items() if k.metric == TASK_SECONDS}
    assert seconds == pytest.approx(truth.seconds(), abs=1e-3)


def check_custom(world: DetailWorld, truth: DetailTruth) -> None:
    series = {(k.pipeline, k.task, k.detail, k.labels): s for k, s in world.ledger.series.items()}
    observed = truth.observed()
    assert {key: (sum(series[key].buckets), series[key].value) for key in observed} == observed
    last = truth.last_values()
    values = {k: value for k, value in world.ledger.values.items() if k.metric == CUSTOM_VALUE}
    assert {(k.pipeline, k.task, k.detail, k.labels) for k in values} == last.keys()
    for key, shown in values.items():
        assert shown.value in last[key.pipeline, key.task, key.detail, key.labels], key
    rejected = [counter.value for key, counter in world.ledger.series.items() if key.metric == REJECTED]
    assert set(rejected) <= {0.0}


def check_shown(world: DetailWorld) -> None:
    """Series outside the baseline start at 0; none decreases or disappears."""
    last: dict[SeriesKey, Series] = {}
    before: set[str] = set()
    for snapshot, baselines in zip(world.snapshots, world.baselines, strict=True):
        now = {key: one for key, one in all_series(snapshot).items() if key.metric in SOURCES}
        assert all(SOURCES[key.metric] <= baselines for key in now)
        for key in now.keys() - last.keys():
            if SOURCES[key.metric] <= before:
                assert now[key].value == 0, f"{key} started at {now[key]}"
        for key, earlier in last.items():
            assert key in now, f"{key} went away"
            assert now[key].value >= earlier.value - 1e-6, f"{key} went from {earlier} to {now[key]}"
        last, before = now, baselines


def make_world(path: Path, page_limit: int) -> tuple[DetailWorld, Work, DetailTruth]:
    fake = FakePrefect(page_limit=page_limit)
    etl, ml = fake.add_flow("etl"), fake.add_flow("ml")
    daily = fake.add_deployment("daily", etl)
    truth = DetailTruth(Truth(fake, {etl: "etl", ml: "ml"}, {daily: "daily"}))
    return DetailWorld(path, fake), Work(fake, [(etl, daily), (ml, None)]), truth


def play(page_limit: int, story: list[tuple[str, object]]) -> None:
    async def scene(folder: Path) -> None:
        world, work, truth = make_world(folder / "ledger.db", page_limit)
        try:
            for kind, argument in story:
                await take(world, work, kind, argument)
            await world.sync()
            check_totals(world, truth)
            check_custom(world, truth)
            for _ in range(2):  # held since it was first shown, released one hold later
                world.fake.now += 100
                await world.poll()
            check_shown(world)
            assert all_series(world.snapshots[-1]) == world.ledger.series, "every birth hold is over"
            assert {kind: report.missing for kind, report in world.snapshots[-1].about.reconciliations.items()} == {
                "flow_runs": 0,
                "task_runs": 0,
            }
        finally:
            world.end()

    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        asyncio.run(scene(Path(folder)))


@settings(max_examples=examples(20), deadline=None, suppress_health_check=list(HealthCheck))
@given(page_limit=st.integers(1, 5), story=st.lists(steps, min_size=5, max_size=40))
@example(
    page_limit=2,
    story=[
        ("poll", 0),
        ("begin", 3),
        ("emit_in_task", 3),
        ("finish", 7),
        ("poll", 0),
        ("wait", 3),
        ("poll", 0),
        ("roll_back", 0),
        ("restart", 0),
    ],
)
def test_every_detail_is_counted_once_under_faults(page_limit: int, story: list[tuple[str, object]]) -> None:
    note(f"pages of {page_limit}")
    play(page_limit, story)
