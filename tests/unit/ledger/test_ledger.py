"""The ledger: its API, what it refuses, and that a failing file changes nothing."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.errors import LedgerError, LedgerInUseError
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.ledger.opening import inspect_ledger
from prefect_monitoring.ledger.sqlite import sqlite_path
from prefect_monitoring.model.changes import Changes, KnownRun, Schedule, SeriesKey
from prefect_monitoring.model.counted_metrics import DEFAULT_BOUNDS, DURATION, OUTCOMES, START_DELAY, zero_born_series
from prefect_monitoring.model.cursor import FLOW_RUNS, Cursor
from prefect_monitoring.model.names import Names
from prefect_monitoring.model.records import Deployment, Flow, Pipeline
from unit.ledger_values import KEEP, NOW, PIPELINE, baseline_cursor, lookbacks_of, memory_of, outcome, run_id
from unit.rig import API, DAY, OpenLedger

COMPLETED = SeriesKey(OUTCOMES, PIPELINE, "completed")


# Restarts


def test_committed_data_survives_a_restart(open_it: OpenLedger) -> None:
    first = open_it()
    first.commit(outcome(1), baseline_cursor(first), NOW)
    first.commit(outcome(2, state_type="FAILED"), None, NOW)
    names = Names(
        {"f": Flow("f", "etl")}, {"d": Deployment("d", "daily", "f", "pool", "queue", ("a", "b"))}, frozenset({"d"})
    )
    first.store_names(names, set(zero_born_series(Pipeline("new", ""))), NOW)
    before = memory_of(first)
    first.close()
    second = open_it(now=NOW + 99)
    assert memory_of(second) == before
    assert second.created_at == NOW, "the time of creation, not of opening"
    assert second.names == names
    known = second.known([run_id(1), run_id(2), run_id(3)])
    assert known.runs.keys() == {run_id(1), run_id(2)}
    assert known.runs[run_id(2)].state_type == "FAILED"
    assert known.counted == {(run_id(1), run_id(500_001)), (run_id(2), run_id(500_002))}


def test_new_ledger_starts_at_the_given_lookback(open_it: OpenLedger) -> None:
    ledger = open_it(lookback=3 * DAY)
    assert ledger.cursor == Cursor(NOW - 3 * DAY, NOW - 3 * DAY)
    ledger.close()
    assert open_it(lookback=9 * DAY, now=NOW + 5).cursor.horizon == NOW - 3 * DAY, "only the first start looks back"


def test_series_of_the_baseline_are_released_at_once_and_later_ones_held(ledger: Ledger) -> None:
    ledger.commit(outcome(1), baseline_cursor(ledger), NOW)
    assert ledger.in_birth_hold == set()
    ledger.commit(outcome(2, pipeline=Pipeline("new", "")), None, NOW)
    assert {key.pipeline for key in ledger.in_birth_hold} == {Pipeline("new", "")}
    assert len(ledger.in_birth_hold) == len(set(zero_born_series(PIPELINE)))


def test_release_is_committed_before_it_is_shown(open_it: OpenLedger) -> None:
    ledger = open_it()
    ledger.commit(outcome(1), baseline_cursor(ledger), NOW)
    ledger.commit(outcome(2, pipeline=Pipeline("new", "")), None, NOW)
    new = set(ledger.in_birth_hold)
    ledger.release(new, NOW)
    assert ledger.in_birth_hold == set()
    ledger.close()
    again = open_it()
    assert again.in_birth_hold == set()
    assert all(again.series[key].released for key in new)


def test_counting_a_state_twice_fails_without_changes(ledger: Ledger) -> None:
    """The last line of defence: the fold leaves counted states out, and the file refuses them."""
    ledger.commit(outcome(1), baseline_cursor(ledger), NOW)
    before = memory_of(ledger)
    with pytest.raises(LedgerError):
        ledger.commit(outcome(1), None, NOW)
    assert memory_of(ledger) == before
    ledger.commit(outcome(2), None, NOW)
    assert ledger.series[COMPLETED].value == 2


# The API of a ledger


def test_ledger_of_another_api_is_refused_by_name(open_it: OpenLedger) -> None:
    open_it().close()
    with pytest.raises(LedgerError) as caught:
        open_it(api="http://other.test/api")
    message = str(caught.value)
    assert API in message
    assert "http://other.test/api" in message
    assert f"--moved-from {API}" in message
    open_it(), "and the refusal leaves the lock and the file to their owner"


@pytest.mark.parametrize("slash", ["", "/"])
def test_ledger_accepts_a_new_api_address_once(open_it: OpenLedger, slash: str) -> None:
    first = open_it()
    first.commit(outcome(1), baseline_cursor(first), NOW)
    first.close()
    moved = open_it(api="http://other.test/api", moved_from=API + slash)
    assert moved.series[COMPLETED].value == 1
    moved.close()
    open_it(api="http://other.test/api").close()
    with pytest.raises(LedgerError, match=r"counts the runs of http://other\.test/api"):
        open_it()


def test_second_opener_is_refused_at_once(open_it: OpenLedger, ledger: Ledger) -> None:
    begun = time.monotonic()
    with pytest.raises(LedgerInUseError, match="in use by another prefect-monitoring"):
        open_it()
    assert time.monotonic() - begun < 10
    ledger.close()
    open_it()


def test_ledger_closed_on_another_thread_is_unlocked(open_it: OpenLedger) -> None:
    """As in `serve`: opened by one worker thread, closed by another."""
    opened: list[Ledger] = []
    opener = threading.Thread(target=lambda: opened.append(open_it()))
    opener.start()
    opener.join()
    closer = threading.Thread(target=opened[0].close)
    closer.start()
    closer.join()
    open_it()


# Refusals


def overwrite_pages(content: bytes) -> bytes:
    rubbish = random.Random(7).randbytes(len(content))
    return content[:4096] + rubbish[4096:]


@pytest.mark.parametrize(
    "damage",
    [lambda content: b"this is no database, " * 400, overwrite_pages, lambda content: content[: len(content) // 2]],
    ids=["no database", "overwritten pages", "cut off"],
)
def test_damaged_ledger_is_refused_unchanged(open_it: OpenLedger, tmp_path: Path, damage: object) -> None:
    ledger = open_it()
    for number in range(40):
        ledger.commit(outcome(number), baseline_cursor(ledger), NOW)
    ledger.close()
    path = tmp_path / "ledger.db"
    assert callable(damage)
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=r"(?s)damaged .* Restore it from a backup"):
        open_it()
    assert path.read_bytes() == before


def test_foreign_database_is_refused_unchanged(open_it: OpenLedger, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE customers (name TEXT)")
        raw.execute("INSERT INTO customers VALUES ('Ada')")
    raw.close()
    with pytest.raises(LedgerError, match="not a ledger"):
        open_it()
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT name FROM sqlite_master").fetchall() == [("customers",)]
        assert raw.execute("SELECT name FROM customers").fetchall() == [("Ada",)]
    raw.close()


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("postgresql://me:secret@db/ledger", "names a postgresql database"),
        ("sqlite://", "is a SQLite file"),
        ("sqlite:///:memory:", "is a SQLite file"),
        ("/var/lib/ledger.db", "is not a URL"),
    ],
)
def test_url_of_no_file_is_refused_without_its_password(url: str, complaint: str) -> None:
    with pytest.raises(LedgerError, match=complaint) as caught:
        sqlite_path(url)
    assert "secret" not in str(caught.value)


# Failing files


def raw_connection(ledger: Ledger) -> sqlite3.Connection:
    pooled = ledger._database.engine.raw_connection()
    connection = pooled.driver_connection
    pooled.close()
    assert isinstance(connection, sqlite3.Connection)
    return connection


def every_change(ledger: Ledger) -> list[object]:
    return [
        lambda: ledger.commit(outcome(50), baseline_cursor(ledger, NOW + 1), NOW),
        lambda: ledger.release(set(ledger.in_birth_hold), NOW),
        lambda: ledger.store_names(
            Names({"f": Flow("f", "x")}, {}, frozenset()), set(zero_born_series(Pipeline("x", ""))), NOW
        ),
        lambda: ledger.prune(NOW + 40 * DAY, keep=KEEP, live=()),
        lambda: ledger.mark_gone(FLOW_RUNS, 0, NOW + 1, ()),
    ]


@pytest.fixture
def busy_ledger(ledger: Ledger) -> Ledger:
    ledger.commit(outcome(1), baseline_cursor(ledger), NOW)
    ledger.commit(outcome(2, pipeline=Pipeline("new", "")), None, NOW)
    assert ledger.in_birth_hold
    return ledger


def check_nothing_changes(ledger: Ledger, message: str) -> None:
    before = memory_of(ledger)
    for change in every_change(ledger):
        assert callable(change)
        with pytest.raises(LedgerError, match=message):
            change()
        assert memory_of(ledger) == before
    assert message.split(" ", maxsplit=1)[0] in ledger.fault


def check_all_is_well(ledger: Ledger, open_it: OpenLedger) -> None:
    for number in (3, 4):
        ledger.commit(outcome(number), None, NOW)
    assert ledger.fault == ""
    assert ledger.series[COMPLETED].value == 3
    ledger.close()
    assert open_it().series[COMPLETED].value == 3


def test_locked_ledger_changes_nothing(busy_ledger: Ledger, tmp_path: Path, open_it: OpenLedger) -> None:
    raw_connection(busy_ledger).execute("PRAGMA busy_timeout = 20")
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    check_nothing_changes(busy_ledger, "locked by another program")
    other.execute("ROLLBACK")
    other.close()
    check_all_is_well(busy_ledger, open_it)


def test_full_disk_changes_nothing(busy_ledger: Ledger, open_it: OpenLedger) -> None:
    raw = raw_connection(busy_ledger)
    pages = raw.execute("PRAGMA page_count").fetchone()[0]
    raw.execute(f"PRAGMA max_page_count = {pages}")
    big = outcome(60)
    for number in range(2000):
        big.increments[SeriesKey(OUTCOMES, PIPELINE, f"{number} " + "x" * 200)] += 1
    before = memory_of(busy_ledger)
    with pytest.raises(LedgerError, match="No room is left"):
        busy_ledger.commit(big, None, NOW)
    assert memory_of(busy_ledger) == before
    assert "No room is left" in busy_ledger.fault
    assert busy_ledger.known([run_id(60)]).runs == {}, "existing data can still be read"
    raw_connection(busy_ledger).execute("PRAGMA max_page_count = 1000000")
    check_all_is_well(busy_ledger, open_it)


def test_read_only_ledger_changes_nothing(busy_ledger: Ledger, open_it: OpenLedger) -> None:
    raw_connection(busy_ledger).execute("PRAGMA query_only = ON")
    check_nothing_changes(busy_ledger, "read-only: give the user")
    raw_connection(busy_ledger).execute("PRAGMA query_only = OFF")
    check_all_is_well(busy_ledger, open_it)


def test_exception_during_a_transaction_changes_nothing(
    busy_ledger: Ledger, open_it: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*_: object) -> None:
        raise ZeroDivisionError

    before = memory_of(busy_ledger)
    with monkeypatch.context() as patched:
        patched.setattr("prefect_monitoring.ledger.ledger.write_series", defect)
        with pytest.raises(ZeroDivisionError):
            busy_ledger.commit(outcome(60), None, NOW)
    assert memory_of(busy_ledger) == before
    assert busy_ledger.known([run_id(60)]).runs == {}
    check_all_is_well(busy_ledger, open_it)


# Other buckets


def test_changed_buckets_reset_only_that_histogram(open_it: OpenLedger) -> None:
    first = open_it()
    changes = outcome(1)
    changes.observations[SeriesKey(START_DELAY, PIPELINE)].append(2.0)
    first.commit(changes, baseline_cursor(first), NOW)
    first.close()
    same = open_it(
        bounds={DURATION: tuple(map(float, DEFAULT_BOUNDS[DURATION])), START_DELAY: DEFAULT_BOUNDS[START_DELAY]}
    )
    assert sum(same.series[SeriesKey(DURATION, PIPELINE)].buckets) == 1
    same.close()
    other = open_it(bounds={**DEFAULT_BOUNDS, DURATION: (60.0, 600.0)})
    assert SeriesKey(DURATION, PIPELINE) not in other.series
    assert sum(other.series[SeriesKey(START_DELAY, PIPELINE)].buckets) == 1
    assert other.series[COMPLETED].value == 1
    other.commit(outcome(2, seconds=60.0), None, NOW)
    assert other.series[SeriesKey(DURATION, PIPELINE)].buckets == (1, 0, 0)
    other.close()
    assert (
        open_it(bounds={**DEFAULT_BOUNDS, DURATION: (60.0, 600.0)}).series[SeriesKey(DURATION, PIPELINE)].value == 60.0
    )


# Pruning


def prune(ledger: Ledger, now: float, *, live: tuple[Pipeline, ...] = (PIPELINE,)) -> None:
    ledger.prune(now, keep=KEEP, live=live)


def test_prune_keeps_the_newest_good_run_and_the_failures_after_it(open_it: OpenLedger) -> None:
    ledger = open_it(now=NOW - 100 * DAY, lookback=0.0)
    story = ["FAILED", "COMPLETED", "COMPLETED", "FAILED", "CANCELLED", "CRASHED"]
    for number, state_type in enumerate(story):
        at = NOW - 90 * DAY + number * 60
        ledger.commit(outcome(number, at, state_type=state_type), baseline_cursor(ledger, at), at)
    ledger.commit(outcome(10, NOW - 90 * DAY, Pipeline("other", "")), baseline_cursor(ledger), NOW)
    before = ledger.run_stats([PIPELINE], NOW)[PIPELINE]
    prune(ledger, NOW)
    kept = ledger.known([run_id(number) for number in range(len(story))]).runs
    assert set(kept) == {run_id(2), run_id(3), run_id(5)}
    stats = ledger.run_stats([PIPELINE], NOW)[PIPELINE]
    assert stats == replace(before, recent_durations=before.recent_durations[:1]), "but for runs that are gone"
    assert stats.consecutive_failures == 2
    assert stats.last_failure is not None
    assert stats.last_failure.run_id == run_id(5)
    assert stats.last_duration == 10.0
    assert ledger.cursor.horizon == NOW - 30 * DAY
    assert set(ledger.known([run_id(10)]).runs) == {run_id(10)}
    assert ledger.series[COMPLETED].value == 2, "pruning does not change a counter"


def test_prune_stops_at_what_is_not_read_yet(open_it: OpenLedger) -> None:
    """After weeks of downtime, the runs of the catch-up are older than the retention."""
    ledger = open_it(lookback=100 * DAY)
    ledger.commit(outcome(1, NOW - DAY), baseline_cursor(ledger, NOW - DAY), NOW)
    prune(ledger, NOW + 60 * DAY)
    assert ledger.cursor.horizon == NOW - 31 * DAY
    prune(ledger, NOW - 5 * DAY)
    assert ledger.cursor.horizon == NOW - 31 * DAY, "and never moves back"


def test_pruned_ledger_is_the_same_after_a_restart(open_it: OpenLedger) -> None:
    ledger = open_it()
    ledger.commit(outcome(1, NOW), baseline_cursor(ledger, NOW + 60 * DAY), NOW)
    ledger.commit(outcome(2, NOW + 1), None, NOW)
    prune(ledger, NOW + 60 * DAY, live=())
    state = memory_of(ledger)
    ledger.close()
    again = open_it()
    assert memory_of(again) == state
    assert again.series == {}
    assert again.known([run_id(1)]).counted == frozenset()


def test_series_of_deleted_pipelines_expire(ledger: Ledger) -> None:
    """After eight idle days the deployment is deleted: its counters are shown for seven more days."""
    names = Names({"f": Flow("f", "etl")}, {"d": Deployment("d", "daily", "f", "", "", ())}, frozenset())
    ledger.store_names(names, (), NOW)
    ledger.commit(outcome(1), baseline_cursor(ledger), NOW)
    ledger.commit(outcome(2, pipeline=Pipeline("alive", "")), None, NOW)
    gone = NOW + 8 * DAY
    ledger.store_names(names.without({"d"}), (), gone)
    alive = (Pipeline("alive", ""),)
    prune(ledger, gone + 1, live=alive)
    prune(ledger, gone + 7 * DAY - 60, live=alive)
    assert COMPLETED in ledger.series
    prune(ledger, gone + 7 * DAY + 60, live=alive)
    assert {key.pipeline for key in ledger.series} == {Pipeline("alive", "")}
    assert not {key for key in ledger.in_birth_hold if key.pipeline == PIPELINE}


def sizes_of(ledger: Ledger) -> dict[str, int]:
    """The number of rows of each table and of entries in memory."""
    with ledger.transaction() as connection:
        rows = {
            name: connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
            for name, table in schema.tables.tables.items()
        }
    held = (ledger.pipeline_ids, ledger.pipelines_by_id, ledger.series, ledger.values, ledger.schedules, ledger.touched)
    names = (ledger.names.flows, ledger.names.deployments, ledger.names.gone)
    return {**rows, **{str(number): len(entries) for number, entries in enumerate((*held, *names))}}


@pytest.mark.slow
def test_short_lived_flows_leave_nothing_behind(open_it: OpenLedger) -> None:
    """As in a workspace that creates and deletes flows for each of thousands of branches."""
    many = range(10_000)
    ledger = open_it()
    stays = Names({"s": Flow("s", "stays")}, {}, frozenset())
    ledger.store_names(stays, set(zero_born_series(Pipeline("stays", ""))), NOW)
    ledger.commit(outcome(1, NOW, Pipeline("stays", "")), baseline_cursor(ledger), NOW)
    ledger.touched.clear()
    before = sizes_of(ledger)
    names = stays.with_flows({f"f{one}": Flow(f"f{one}", f"branch {one}") for one in many}).with_deployments(
        {f"d{one}": Deployment(f"d{one}", "daily", f"f{one}", "", "", ()) for one in many}
    )
    ledger.store_names(names, set(zero_born_series(Pipeline("branch 0", "daily"))), NOW)
    changes = Changes()
    for number in many:
        for kept in fields(changes):
            if isinstance(
                more := getattr(outcome(number + 10, NOW, Pipeline(f"branch {number}", "daily")), kept.name), list
            ):
                getattr(changes, kept.name).extend(more)
            else:
                getattr(changes, kept.name).update(more)
    ledger.commit(changes, None, NOW)
    ledger.store_schedules({f"d{number}": Schedule(NOW) for number in many})
    assert len(ledger.pipelines) == 10_001
    gone = {identifier for identifier in (*names.flows, *names.deployments) if identifier != "s"}
    ledger.store_names(names.without(gone), (), NOW + 60)
    for days in (1, 31, 63):
        ledger.commit(Changes(), baseline_cursor(ledger, NOW + days * DAY), NOW + days * DAY)
        prune(ledger, NOW + days * DAY, live=(Pipeline("stays", ""),))
        if days == 1:
            assert ledger.names.flows.keys() == names.flows.keys(), "they are needed for runs that are read late"
    assert ledger.names == stays
    assert {key.pipeline for key in ledger.series} == {Pipeline("stays", "")}
    assert len(ledger.pipelines) == 10_001, "their daily rollups are kept"
    ledger.commit(Changes(), baseline_cursor(ledger, NOW + 401 * DAY), NOW + 401 * DAY)
    prune(ledger, NOW + 401 * DAY, live=(Pipeline("stays", ""),))
    after = sizes_of(ledger)
    rollups = {schema.hourly_rollups.name: 0, schema.daily_rollups.name: 0}
    assert after == before | rollups
    assert ledger.run_stats([Pipeline("stays", "")], NOW)[Pipeline("stays", "")].last_duration == 10.0
    ledger.close()
    again = open_it()
    again.touched.clear()
    assert sizes_of(again) == after


def test_deployment_recreated_daily_is_kept_once(ledger: Ledger) -> None:
    """Deleted and created again: the name stays, but the id changes each day."""
    names = Names({"f": Flow("f", "etl")}, {}, frozenset())
    for day in range(90):
        now = NOW + day * DAY
        names = ledger.names.with_flows(names.flows).with_deployments(
            {f"d{day}": Deployment(f"d{day}", "daily", "f", "", "", ())}
        )
        ledger.store_names(names.without({f"d{day - 1}"} & names.deployments.keys()), (), now)
        ledger.commit(outcome(day, now), baseline_cursor(ledger, now), now)
        prune(ledger, now)
    assert 30 <= len(ledger.names.deployments) <= 32, "as long as runs of theirs can be read"
    assert ledger.names.live_pipelines() == {PIPELINE, Pipeline("etl", "")}


def test_pipeline_that_comes_back_goes_on_with_its_rollups(ledger: Ledger) -> None:
    ledger.commit(outcome(1, NOW), baseline_cursor(ledger, NOW + 50 * DAY), NOW)
    prune(ledger, NOW + 50 * DAY, live=())
    assert ledger.known([run_id(1)]).runs == {}, "pruned runs are unknown"
    back = NOW + 50 * DAY
    ledger.commit(outcome(2, back), None, back)
    stats = ledger.run_stats([PIPELINE], back)[PIPELINE]
    assert (stats.window_runs["30d", "good"], stats.window_runs["30d_before", "good"]) == (1, 1)


# Renames


def names_of(flow: str) -> Names:
    return Names({"f": Flow("f", flow)}, {"d": Deployment("d", "daily", "f", "", "", ())}, frozenset())


def test_renamed_id_belongs_to_the_new_name_from_then_on(open_it: OpenLedger) -> None:
    """Renamed in the database, as the API renames neither flows nor deployments: a pipeline is identified by names."""
    ledger = open_it()
    new = Pipeline("elt", "daily")
    ledger.store_names(names_of("etl"), (), NOW)
    ledger.commit(outcome(1, state_type="FAILED"), baseline_cursor(ledger), NOW)
    ledger.store_names(names_of("elt"), set(zero_born_series(new)), NOW)
    ledger.commit(outcome(2, NOW + 5, new), None, NOW)
    ledger.close()
    again = open_it()
    assert again.names.pipeline_of_deployment("d") == new
    stats = again.run_stats([PIPELINE, new], NOW + 5)
    assert [stats[one].consecutive_failures for one in (PIPELINE, new)] == [1, 0]
    assert again.series[SeriesKey(OUTCOMES, PIPELINE, "failed")].value == 1
    assert again.series[SeriesKey(OUTCOMES, new, "completed")].value == 1
    assert again.known([run_id(1)]).runs[run_id(1)].pipeline == PIPELINE


# Deleted runs


def test_mark_gone_marks_only_runs_missing_in_the_window(ledger: Ledger) -> None:
    for number in range(5):
        ledger.commit(outcome(number, NOW + number * 10, state_type="FAILED"), baseline_cursor(ledger), NOW)
    assert ledger.ended_by_kind(FLOW_RUNS, NOW + 10, NOW + 30) == {"FAILED": 3}
    ledger.touched.clear()
    assert ledger.mark_gone(FLOW_RUNS, NOW + 10, NOW + 30, {run_id(1), run_id(3)}) == 1
    assert ledger.ended_by_kind(FLOW_RUNS, NOW + 10, NOW + 30) == {"FAILED": 2}
    assert ledger.ended_by_kind(FLOW_RUNS, 0, NOW + 99) == {"FAILED": 4}
    assert ledger.run_stats([PIPELINE], NOW + 60)[PIPELINE].consecutive_failures == 5, "deleted, not undone"
    assert ledger.mark_gone(FLOW_RUNS, NOW + 10, NOW + 30, {run_id(1), run_id(3)}) == 0
    assert ledger.touched == {PIPELINE}, "the link to what is deleted goes"
    assert ledger.series[SeriesKey(OUTCOMES, PIPELINE, "failed")].value == 5


def test_run_that_never_ends_is_pruned(ledger: Ledger) -> None:
    """Deleted while it ran, or died without a report."""
    old, young = (
        KnownRun(run_id(number), PIPELINE, run_id(number + 9), "RUNNING", NOW - days * DAY, 1, start_counted=True)
        for number, days in ((1, 29), (2, 1))
    )
    ledger.commit(Changes(runs={run.run_id: run for run in (old, young)}), baseline_cursor(ledger), NOW)
    ledger.prune(NOW + 2 * DAY, keep=replace(KEEP, lookbacks=lookbacks_of(28 * DAY, 7 * DAY)), live=[PIPELINE])
    assert ledger.known([old.run_id, young.run_id]).runs.keys() == {young.run_id}


def test_refused_ledger_is_unlocked(open_it: OpenLedger) -> None:
    open_it().close()
    with pytest.raises(LedgerError, match="counts the runs of"):
        open_it(api="http://another.test/api")
    open_it()


def test_inspecting_a_ledger_does_not_change_it(open_it: OpenLedger, tmp_path: Path) -> None:
    """Not even with other buckets, which would reset its histograms."""
    ledger = open_it()
    ledger.commit(outcome(1), baseline_cursor(ledger), NOW)
    ledger.close()
    before = (tmp_path / "ledger.db").read_bytes()
    inspect_ledger(f"sqlite:///{tmp_path}/ledger.db", API)
    with pytest.raises(LedgerError, match="counts the runs of"):
        inspect_ledger(f"sqlite:///{tmp_path}/ledger.db", "http://another.test/api")
    assert (tmp_path / "ledger.db").read_bytes() == before
    assert open_it().series[COMPLETED].value == 1


def test_commit_without_writes_does_not_clear_a_write_failure(ledger: Ledger) -> None:
    with ledger._database.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    big = outcome(60)
    for number in range(2000):
        big.increments[SeriesKey(OUTCOMES, PIPELINE, f"{number} " + "x" * 200)] += 1
    with pytest.raises(LedgerError, match="No room is left"):
        ledger.commit(big, baseline_cursor(ledger), NOW)
    ledger.commit(Changes(), None, NOW)
    assert "No room is left" in ledger.fault


def test_prune_leaves_the_cursor_of_a_source_that_is_no_longer_read(open_it: OpenLedger) -> None:
    ledger = open_it()
    ledger.cursors = {source: replace(cursor, watermark=NOW) for source, cursor in ledger.cursors.items()}
    before = ledger.cursors
    ledger.prune(NOW + DAY, keep=replace(KEEP, lookbacks={FLOW_RUNS: DAY}), live=[PIPELINE])
    assert ledger.cursors[FLOW_RUNS].horizon == NOW - DAY
    assert {source: cursor for source, cursor in ledger.cursors.items() if source != FLOW_RUNS} == {
        source: cursor for source, cursor in before.items() if source != FLOW_RUNS
    }


# Expected starts


@pytest.mark.parametrize("ran_before", [True, False])
def test_start_is_unmet_although_the_one_before_was_met_by_a_run_of_the_same_batch(
    open_it: OpenLedger, ran_before: bool
) -> None:
    """As after an hour without an exporter: the run that met the first start and the one that failed come at once."""
    ledger = open_it()
    ledger.store_names(
        Names({"f": Flow("f", "etl")}, {"d": Deployment("d", "daily", "f", "", "", ())}, frozenset()), (), NOW
    )
    ledger.commit(outcome(1, NOW - DAY) if ran_before else Changes(), baseline_cursor(ledger), NOW)
    ledger.commit(Changes(due={"d": NOW - 900}), None, NOW)
    batch = outcome(2, NOW - 800)
    batch.due["d"] = NOW - 300
    ledger.commit(batch, None, NOW)
    assert ledger.schedules["d"].unmet_at == NOW - 300
