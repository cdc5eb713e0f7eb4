"""Properties of the whole chain, poller to ledger file, against the model of the server.

Whatever happens to runs, and however often the exporter fails or dies: in the end the ledger has the true totals, and
no exposed counter ever decreased.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st

from prefect_monitoring.ingest import reconcile
from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import DURATION, FAILURES, OUTCOMES, RETRIES, START_DELAY
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.series import Series
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.snapshot.model import Snapshot
from support.examples import examples
from unit.fake_prefect import FakePrefect
from unit.lifecycle_users import Users, actions
from unit.lifecycle_world import CRASHES, World
from unit.rig import pragma
from unit.snapshots import all_series
from unit.truth import Truth

HOUR, DAY = 3600, 86400


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
        world.upcoming = [(after, lambda action=action: users.act(*action)) for after, action in argument]
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


def counts(ledger: Ledger, metric: str) -> Counter[tuple[Pipeline, str]]:
    return +Counter(
        {(key.pipeline, key.detail): int(s.value) for key, s in ledger.series.items() if key.metric == metric}
    )


def check_totals(world: World, truth: Truth) -> None:
    ledger = world.ledger
    assert counts(ledger, OUTCOMES) == truth.outcomes()
    assert counts(ledger, FAILURES) == truth.failures()
    assert Counter({pipeline: n for (pipeline, _), n in counts(ledger, RETRIES).items()}) == truth.retries()
    for metric, expected in ((START_DELAY, truth.start_delays()), (DURATION, truth.durations())):
        seen = {
            key.pipeline: histogram
            for key, histogram in ledger.series.items()
            if key.metric == metric and sum(histogram.buckets)
        }
        assert {pipeline: sum(histogram.buckets) for pipeline, histogram in seen.items()} == {
            p: len(v) for p, v in expected.items()
        }
        for pipeline, values in expected.items():
            assert seen[pipeline].value == pytest.approx(sum(values), abs=1e-3), (metric, pipeline)


def check_rollups(world: World, truth: Truth) -> None:
    ledger = world.ledger
    for table, grain in ((schema.hourly_rollups, HOUR), (schema.daily_rollups, DAY)):
        with ledger.transaction() as connection:
            rows = connection.execute(sa.select(table)).all()
        rollups = {
            (ledger.pipelines_by_id[row.pipeline_id], row.start): (row.good, row.bad)
            for row in rows
            if row.good or row.bad
        }
        assert rollups == truth.rollups(grain)
    run_stats = ledger.run_stats(ledger.pipelines, world.fake.now)
    assert (
        +Counter({pipeline: stats.consecutive_failures for pipeline, stats in run_stats.items()})
        == truth.consecutive_failures()
    )
    for stats in run_stats.values():
        assert (stats.last_failure is not None) == (stats.consecutive_failures > 0)


def check_shown(snapshots: list[Snapshot]) -> None:
    """Nothing before the baseline is complete; then each series starts at 0, never goes back, never goes away."""
    last: dict[SeriesKey, Series] | None = None
    for snapshot in snapshots:
        now = all_series(snapshot)
        if last is None:
            last = now or None
            continue
        for key in now.keys() - last.keys():
            assert now[key].value == 0, f"{key} started at {now[key]}"
            assert not any(now[key].buckets), f"{key} started at {now[key]}"
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
            check_rollups(world, truth)
            world.fake.now += 100
            await world.poll()
            check_shown(world.snapshots)
            assert all_series(world.snapshots[-1]) == world.ledger.series, "every birth hold is over"
        finally:
            world.end()

    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        asyncio.run(scene(Path(folder)))


@settings(max_examples=examples(30), deadline=None, suppress_health_check=list(HealthCheck))
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
def test_every_outcome_is_counted_once_under_faults(page_limit: int, story: list[tuple[str, object]]) -> None:
    note(f"pages of {page_limit}")
    reconcile.MAX_PAGE, before = 2, reconcile.MAX_PAGE  # type: ignore[misc] # so that a difference is halved
    try:
        play(page_limit, story)
    finally:
        reconcile.MAX_PAGE = before  # type: ignore[misc]
