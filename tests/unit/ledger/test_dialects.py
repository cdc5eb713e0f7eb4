"""SQL for a single database is in one module; all other statements are portable."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from prefect_monitoring import ledger
from prefect_monitoring.ledger import schema, sql
from prefect_monitoring.ledger.backfill_journal import Plan, first_slots, moves, recorded_series
from prefect_monitoring.ledger.dialect import Dialect, Merge
from prefect_monitoring.ledger.sink_rows import first_key, forget_between, forget_sink, read_sink, write_sink
from prefect_monitoring.ledger.sqlite import SQLITE
from prefect_monitoring.model.actions import Action, ActionResult, Kind
from prefect_monitoring.model.changes import Changes, KnownTaskRun, LastValue, SeriesKey
from prefect_monitoring.model.counted_metrics import CUSTOM_VALUE, OUTCOMES, TASK_RETRIES, zero_born_series
from prefect_monitoring.model.cursor import FLOW_RUNS, TASK_RUNS
from prefect_monitoring.model.names import Names
from prefect_monitoring.model.records import Deployment, Flow, Pipeline
from prefect_monitoring.model.unreadable import set_aside
from unit.ledger_values import KEEP, NOW, PIPELINE, baseline_cursor, outcome, run_id
from unit.rig import DAY, OpenLedger

MODULES = sorted(Path(ledger.__file__).parent.glob("*.py"))
NEUTRAL = [module for module in MODULES if module.stem != "sqlite"]


def test_ledger_modules_are_found() -> None:
    assert {"ledger", "opening", "run_stats", "schema", "sql"} < {module.stem for module in NEUTRAL}


@pytest.mark.parametrize("module", NEUTRAL, ids=lambda module: module.stem)
def test_only_one_module_uses_sqlite_specific_sql(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imported = {
        name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in (getattr(node, "module", None) or "", *(alias.name for alias in node.names))
    }
    assert not names & {"exec_driver_sql", "total", "text", "literal_column"}, "raw SQL is specific to one database"
    assert not {name for name in imported if name.startswith(("sqlite3", "sqlalchemy.dialects", "filelock"))}
    assert "PRAGMA" not in module.read_text(encoding="utf-8")


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The statements as PostgreSQL would get them, while SQLite executes them."""
    texts: list[str] = []
    other = postgresql.dialect()

    def note(_connection: object, statement: object, *_: object) -> None:
        if isinstance(statement, sa.ClauseElement):
            texts.append(str(statement.compile(dialect=other)))

    def upsert(table: sa.Table, merges: Mapping[str, Merge]) -> sa.Insert:
        theirs = postgresql.insert(table)
        kept = {name: merge(table.c[name], theirs.excluded[name]) for name, merge in merges.items()}
        note(None, theirs.on_conflict_do_update(index_elements=list(table.primary_key), set_=kept))
        return SQLITE.upsert(table, merges)

    def insert_all(connection: sa.Connection, statement: sa.Insert, rows: Sequence[Mapping[str, object]]) -> None:
        if not isinstance(statement, sqlite.Insert):
            note(None, statement)
        SQLITE.insert_all(connection, statement, rows)

    monkeypatch.setattr(
        sql, "DIALECTS", {"sqlite": Dialect(SQLITE.claim, SQLITE.join, upsert, insert_all, SQLITE.read)}
    )
    sa.event.listen(sa.Engine, "before_execute", note)
    yield texts
    sa.event.remove(sa.Engine, "before_execute", note)


def test_every_statement_compiles_for_postgresql(compiled: list[str], open_it: OpenLedger) -> None:
    ledger = open_it()
    names = Names({"f": Flow("f", "etl")}, {"d": Deployment("d", "daily", "f", "", "", ("tag",))}, frozenset())
    ledger.store_names(names, zero_born_series(Pipeline("new", "")), NOW)
    ledger.store_plan(Plan(NOW - DAY, 3600))
    changes = outcome(1, state_type="FAILED")
    task = KnownTaskRun(run_id(2), run_id(1), "load", run_id(3), "COMPLETED", NOW, 1, None, NOW, 1.0)
    changes.task_runs[task.run_id] = task
    changes.lines[run_id(4)] = NOW
    changes.values[SeriesKey(CUSTOM_VALUE, PIPELINE, "rows")] = LastValue(1.0, NOW)
    changes.points.add(("rows", "ab12"))
    changes.due["d"] = NOW
    changes.count(SeriesKey(OUTCOMES, PIPELINE, "failed"), NOW)
    changes.count(SeriesKey(TASK_RETRIES, PIPELINE, task="load"), NOW)
    ledger.commit(changes, baseline_cursor(ledger), NOW)
    ledger.change_acting(lambda acting: acting.resumed(NOW))
    ledger.store_actions([Action("a", Kind.RETRY, PIPELINE, NOW, NOW, ActionResult.DONE, run_id=run_id(1))], NOW)
    ledger.failed_since(NOW - DAY)
    ledger.known([run_id(1)])
    ledger.known_task_runs([task.run_id])
    ledger.counted_lines([run_id(4)])
    ledger.pipelines_of([run_id(1)])
    for window in (7 * DAY, 90 * DAY):
        ledger.run_stats([PIPELINE], NOW, {PIPELINE: window})
    ledger.run_quantiles([PIPELINE], NOW)
    for source in (FLOW_RUNS, TASK_RUNS):
        ledger.ended_by_kind(source, 0, NOW)
        ledger.mark_gone(source, 0, NOW, ())
    ledger.store_pipelines_file("")
    ledger.store_unreadable([set_aside(FLOW_RUNS, run_id(5), NOW, counted=False, after=None)], ())
    with ledger.transaction() as connection:
        write_sink(connection, "cloudwatch", {"last": 1}, NOW)
        assert read_sink(connection, "cloudwatch", "l", "m") == {"last": 1}
        assert first_key(connection, "cloudwatch", "k", "m") == "last"
        forget_sink(connection, "cloudwatch", ["last"])
        assert forget_between(connection, "cloudwatch", "a", "m") == 0
        assert list(moves(connection, NOW, NOW + DAY, first_slots_of(connection)))
    ledger.store_names(names.without({"f", "d"}), (), NOW)
    later = NOW + 500 * DAY
    ledger.commit(Changes(), baseline_cursor(ledger, later), later)
    ledger.prune(later, keep=KEEP, live=())
    ledger.store_plan(None)
    verbs = Counter(text.split()[0] for text in compiled)
    assert min(verbs[verb] for verb in ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")) > 0, verbs
    tables = set(schema.tables.tables)
    assert tables == {table for table in tables for text in compiled if text.startswith("INSERT") and table in text}
    assert not ledger.pipelines
    assert not ledger.names.flows
    assert not ledger.unreadable


def first_slots_of(connection: sa.Connection) -> dict[int, SeriesKey]:
    keys = {number: key for key, number in recorded_series(connection).items()}
    assert first_slots(connection).keys() == keys.keys()
    return keys
