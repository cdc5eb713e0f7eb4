"""A ledger of the first release becomes one of this: all that it knew is there, and what is new begins."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa

from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.migrations import SCHEMA_VERSION
from prefect_monitoring.ledger.opening import inspect_ledger
from prefect_monitoring.model.changes import Due, SeriesKey
from prefect_monitoring.model.counted_metrics import DURATION, FAILURES, OUTCOMES
from prefect_monitoring.model.cursor import FLOW_RUNS, LOG_LINES, TASK_RUNS, Cursor
from prefect_monitoring.model.records import Pair
from prefect_monitoring.model.series import Series
from unit.conftest import API, DAY, OpenLedger
from unit.fake_prefect import MONDAY_NOON
from unit.ledger_values import outcome

VERSION_1 = Path(__file__).with_name("ledger_version_1.sql")
PAIR = Pair("etl", "daily")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1.read_text(encoding="utf-8"))
    return path


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def content_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def layout_of(path: Path) -> dict[str, str]:
    """Every table and index by its definition, white space aside."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {name: "".join(sql.replace('"', "").split()) for name, sql in rows}


def test_everything_that_was_counted_is_there(file: Path, open_it: OpenLedger) -> None:
    ledger = open_it()
    assert version_of(file) == SCHEMA_VERSION
    assert ledger.created_at == 1772000000.5
    assert ledger.series == {
        SeriesKey(OUTCOMES, PAIR, "completed"): Series(41.0, (), released=True),
        SeriesKey(OUTCOMES, PAIR, "failed"): Series(1.0, (), released=False),
        SeriesKey(FAILURES, PAIR, "auth"): Series(1.0, (), released=False),
        SeriesKey(DURATION, PAIR): Series(512.5, (1, 2, 38, *(0,) * 12), released=True),
        SeriesKey(OUTCOMES, Pair('we"ird', ""), "crashed"): Series(7.0, (), released=True),
    }
    assert ledger.held == {SeriesKey(OUTCOMES, PAIR, "failed"), SeriesKey(FAILURES, PAIR, "auth")}
    assert ledger.names.live_pairs() == {PAIR, Pair("etl", "")}


def test_reading_goes_on_where_it_stopped_and_new_sources_begin(file: Path, open_it: OpenLedger) -> None:
    ledger = open_it(task_lookback=2 * DAY)
    assert ledger.cursor == Cursor(
        1772452700.25,
        1769860800.0,
        level_complete=True,
        walk_newest=1772452750.5,
        walk_before=1772452720.75,
        walk_offset=3,
    )
    begin = MONDAY_NOON - 2 * DAY
    assert ledger.cursors == {
        FLOW_RUNS: ledger.cursor,
        TASK_RUNS: Cursor(begin, begin),
        LOG_LINES: Cursor(begin, begin),
    }
    ledger.close()
    assert open_it(task_lookback=9 * DAY, now=MONDAY_NOON + 60).cursors[TASK_RUNS].horizon == begin, "only once"


def test_long_memory_is_there(file: Path, open_it: OpenLedger) -> None:
    standing = open_it().standings([PAIR], MONDAY_NOON)[PAIR]
    assert standing.last_outcomes == {"completed": 1772440000.0, "failed": 1772450000.0}
    assert standing.consecutive_failures == 1
    assert standing.last_failure is not None
    assert (standing.last_failure.name, standing.last_failure.cause) == ("able-lynx", "auth")
    assert standing.last_duration == 12.5
    assert (standing.window_runs["1d", "good"], standing.window_runs["1d", "bad"]) == (1, 1)
    assert standing.baselines["same_weekday"] == 10.0
    assert standing.time_shares == {}


def test_known_runs_are_known_and_nothing_is_counted_twice(file: Path, open_it: OpenLedger) -> None:
    ledger = open_it()
    identifier = "00000000-0000-0000-0000-0000000000"
    known = ledger.known([f"{identifier}0{number}" for number in range(1, 6)])
    assert {run.run_id[-1]: run.pair for run in known.runs.values()} == {
        "1": PAIR,
        "2": PAIR,
        "3": None,
        "4": Pair("old", ""),
    }
    assert known.counted == {(f"{identifier}01", f"{identifier}a1"), (f"{identifier}02", f"{identifier}a2")}
    assert ledger.ended_by_kind(FLOW_RUNS, 0, MONDAY_NOON) == {"COMPLETED": 1, "FAILED": 2}
    ledger.commit(outcome(77), None, MONDAY_NOON)
    assert ledger.series[SeriesKey(OUTCOMES, PAIR, "completed")].value == 42
    ledger.close()
    assert open_it().series[SeriesKey(OUTCOMES, PAIR, "completed")].value == 42


def test_tables_are_those_of_a_new_ledger(file: Path, open_it: OpenLedger, tmp_path: Path) -> None:
    open_it().close()
    open_it(url=f"sqlite:///{tmp_path}/new.db").close()
    assert layout_of(file) == layout_of(tmp_path / "new.db")


def test_ledger_of_this_version_is_left_as_it_is(file: Path, open_it: OpenLedger) -> None:
    open_it().close()
    before = content_of(file)
    open_it().close()
    assert content_of(file) == before


def test_check_looks_at_an_old_ledger_and_leaves_it_as_it_is(file: Path) -> None:
    before = content_of(file)
    inspect_ledger(f"sqlite:///{file}", API)
    assert version_of(file) == 1
    assert content_of(file) == before


class SimulatedCrash(BaseException):
    """The process dies here."""


@contextmanager
def dying_after(statements: int) -> Iterator[None]:
    left = statements

    def die(*_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise SimulatedCrash

    sa.event.listen(sa.Engine, "before_cursor_execute", die)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", die)


def test_crash_anywhere_in_the_middle_leaves_the_old_ledger(file: Path, open_it: OpenLedger) -> None:
    before = content_of(file)
    survived = 0
    for statements in count():
        with dying_after(statements), pytest.raises(SimulatedCrash):
            open_it()
        if version_of(file) == SCHEMA_VERSION:
            break
        assert content_of(file) == before
        survived += 1
    assert survived > 20, "the migration is made of more than that"
    ledger = open_it()
    assert ledger.series[SeriesKey(OUTCOMES, PAIR, "completed")].value == 41
    assert ledger.cursors.keys() == {FLOW_RUNS, TASK_RUNS, LOG_LINES}
    with closing(sqlite3.connect(file)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == set(schema.tables.tables)


def test_what_was_due_is_kept_when_pauses_and_unmet_starts_come(tmp_path: Path, open_it: OpenLedger) -> None:
    """A ledger of version 2: `dues` has no columns for them yet."""
    open_it().close()
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        for column in ("unmet_at", "paused_at", "called_off_at"):
            connection.execute(f"ALTER TABLE dues DROP COLUMN {column}")
        connection.execute("INSERT INTO dues VALUES ('d', 1.5, 2.5)")
        connection.execute("PRAGMA user_version = 2")
        connection.commit()

    ledger = open_it()
    assert ledger.dues == {"d": Due(1.5, 2.5)}
    ledger.store_dues({"d": Due(1.5, 2.5, 1.5, 0.5, 0.25)})
    ledger.close()
    assert open_it().dues == {"d": Due(1.5, 2.5, 1.5, 0.5, 0.25)}
    assert version_of(tmp_path / "ledger.db") == SCHEMA_VERSION


def test_what_is_paused_as_a_new_version_begins_asks_for_nothing_of_before(tmp_path: Path, open_it: OpenLedger) -> None:
    """A ledger of version 4: it knows since when a deployment is paused, and not what that calls off."""
    open_it().close()
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.execute("ALTER TABLE dues DROP COLUMN called_off_at")
        connection.execute("INSERT INTO dues VALUES ('d', 1.5, NULL, 1.5, 2.5), ('e', 1.5, 2.5, 1.5, NULL)")
        connection.execute("PRAGMA user_version = 4")
        connection.commit()

    assert open_it().dues == {"d": Due(1.5, None, 1.5, 2.5, 2.5), "e": Due(1.5, 2.5, 1.5)}
