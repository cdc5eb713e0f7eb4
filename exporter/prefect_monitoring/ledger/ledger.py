"""What must survive a restart, and the one place that writes it: each change is one transaction.

A ledger belongs to one Prefect API and to one process at a time. What it holds in memory is what was last committed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from filelock import FileLock
from sqlalchemy.exc import DatabaseError

from prefect_monitoring.counting.flow_runs import Known
from prefect_monitoring.ledger import backfill_journal as history
from prefect_monitoring.ledger import run_rows as details
from prefect_monitoring.ledger import run_stats as memory
from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger import sql as rows
from prefect_monitoring.ledger.errors import LedgerError
from prefect_monitoring.ledger.name_rows import new_pairs, rename_pair, write_objects
from prefect_monitoring.ledger.retention import HOURLY_KEPT, expire_series, forget_details, forget_runs
from prefect_monitoring.ledger.rollup_rows import write_last_outcomes, write_tallies
from prefect_monitoring.ledger.run_rows import known_run, write_runs
from prefect_monitoring.ledger.schedule_rows import load_dues, passed_dues, write_dues
from prefect_monitoring.ledger.series_rows import delete_keys, load_values, series_key, touch_series, write_series
from prefect_monitoring.ledger.sqlite import explain
from prefect_monitoring.model.changes import Changes, Due, KnownRun, KnownTaskRun, LastValue, SeriesKey
from prefect_monitoring.model.cursor import FLOW_RUNS, LOG_LINES, TASK_RUNS, Cursor
from prefect_monitoring.model.names import Names
from prefect_monitoring.model.records import NO_FLOW, OTHER, OVERFLOW, Deployment, Flow, Pair
from prefect_monitoring.model.run_stats import Standing
from prefect_monitoring.model.series import Bounds, Series, advance

_RUNS: Final[Mapping[str, sa.Table]] = {FLOW_RUNS: schema.runs, TASK_RUNS: schema.task_runs}


@dataclass(frozen=True, slots=True)
class Keep:
    """For how many seconds things are kept: finished runs and task runs, counted log lines, series of what is gone."""

    runs: float
    task_runs: float
    lines: float
    dead_series: float


class Ledger:
    """Its owner calls one method at a time. Every method raises LedgerError when the file fails, and changes nothing.

    `touched` collects the pairs whose standing may have changed; `fault` is why the last commit failed. `plan` is
    that of a backfill, until the ledger serves: so long it also writes down when each series moved.
    """

    def __init__(self, path: Path, engine: sa.Engine, lock: FileLock, bounds: Bounds) -> None:
        self.path = path
        self.bounds = bounds
        self.created_at = 0.0
        self.cursors: dict[str, Cursor] = {}
        self.names = Names({}, {}, frozenset())
        self.series: dict[SeriesKey, Series] = {}
        self.values: dict[SeriesKey, LastValue] = {}
        self.dues: dict[str, Due] = {}
        self.pipelines: str | None = None
        self.plan: history.Plan | None = None
        self.held: set[SeriesKey] = set()
        self.folded: defaultdict[str, float] = defaultdict(float)
        self.touched: set[Pair] = set()
        self.fault = ""
        self._pairs: dict[int, Pair] = {}
        self._ids: dict[Pair, int] = {}
        self._recorder: history.Recorder | None = None
        self._engine = engine
        self._lock = lock

    @property
    def cursor(self) -> Cursor:
        """How far finished flow runs are read."""
        return self.cursors[FLOW_RUNS]

    def close(self) -> None:
        self._engine.dispose()
        self._lock.release()

    def bytes_used(self) -> int:
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except DatabaseError as error:
            fault = explain(error, self.path)
            self.fault = str(fault)
            raise fault from error

    def known(self, run_ids: Collection[str]) -> Known:
        """The remembered runs among `run_ids`, and which of their terminal states are counted."""
        found: dict[str, KnownRun] = {}
        counted: set[tuple[str, str]] = set()
        with self.transaction() as connection:
            for batch in rows.batches([rows.pack(run_id) for run_id in run_ids]):
                for row in connection.execute(sa.select(schema.runs).where(schema.runs.c.run_id.in_(batch))):
                    run = known_run(row, self._pairs.get(row.pair_id))
                    found[run.run_id] = run
                for row in connection.execute(sa.select(schema.counted).where(schema.counted.c.run_id.in_(batch))):
                    counted.add((rows.unpack(row.run_id), rows.unpack(row.state_id)))
        return Known(found, frozenset(counted), self.cursor.horizon)

    def ended_by_kind(self, source: str, low: float, high: float) -> dict[str, int]:
        """How many runs the ledger believes to have ended within [low, high], by the `kind` of the record."""
        table = _RUNS[source]
        kind = table.c.kind if source == TASK_RUNS else table.c.state_type
        present = table.c.ended_at.between(low, high) & ~table.c.gone
        with self.transaction() as connection:
            query = sa.select(kind, sa.func.count()).where(present)
            found = connection.execute(query.group_by(kind))
            return {row[0]: row[1] for row in found}

    def standings(
        self, pairs: Collection[Pair], now: float, slo_windows: Mapping[Pair, float] | None = None
    ) -> dict[Pair, Standing]:
        """How `pairs` stand; `slo_windows` are the lengths of their SLOs' windows, in seconds."""
        numbers = {self._ids[pair]: pair for pair in pairs if pair in self._ids}
        with self.transaction() as connection:
            return memory.standings(connection, numbers, now, slo_windows or {})

    def pairs_of(self, run_ids: Collection[str]) -> dict[str, Pair | None]:
        """The pair of each remembered flow run among `run_ids`; None for one that the filters exclude."""
        if not run_ids:
            return {}
        found = {}
        columns = (schema.runs.c.run_id, schema.runs.c.pair_id)
        with self.transaction() as connection:
            for batch in rows.batches([rows.pack(run_id) for run_id in run_ids]):
                for row in connection.execute(sa.select(*columns).where(schema.runs.c.run_id.in_(batch))):
                    found[rows.unpack(row.run_id)] = self._pairs.get(row.pair_id)
        return found

    def known_task_runs(self, run_ids: Collection[str]) -> dict[str, KnownTaskRun]:
        if not run_ids:
            return {}
        with self.transaction() as connection:
            return details.known_task_runs(connection, run_ids)

    def counted_lines(self, log_ids: Collection[str]) -> set[str]:
        if not log_ids:
            return set()
        with self.transaction() as connection:
            return details.counted_lines(connection, log_ids)

    @property
    def pairs(self) -> Collection[Pair]:
        return self._ids.keys()

    def commit(self, changes: Changes, cursor: Cursor | None, now: float, source: str = FLOW_RUNS) -> None:
        """Applies a batch from `source` and, with it, how far it was read.

        Series of a source's starting level are released at once.
        """
        if cursor is not None:  # made before the page was read; what was pruned since must stay forgotten
            cursor = replace(cursor, horizon=max(cursor.horizon, self.cursors[source].horizon))
        cursors = {**self.cursors, source: cursor or self.cursors[source]}
        moved = advance(self.series, changes, self.bounds, released=not self.cursors[source].level_complete)
        pairs = {run.pair for run in changes.runs.values() if run.pair is not None}
        pairs |= {pair for pair, _ in (*changes.tallies, *changes.last_outcomes)}
        with self.transaction() as connection:
            numbers = {one: self._ids.get(self.names.pair_of_deployment(one), 0) for one in changes.due}
            moved_dues = passed_dues(connection, self.dues, changes.due, numbers)
            created = new_pairs(connection, pairs - self._ids.keys())
            ids = {**self._ids, **created}
            write_runs(connection, changes, ids)
            write_tallies(connection, changes, ids)
            write_last_outcomes(connection, changes, ids)
            write_series(connection, moved, now)
            details.write_details(connection, changes)
            write_dues(connection, moved_dues)
            recorded = self._recorder.write(connection, changes.moments) if self._recorder else {}
            if cursor is not None:
                rows.write_meta(connection, cursors=_plain(cursors))
        if cursor is not None or moved or changes.runs:  # to write nothing works on a full disk as well
            self.fault = ""
        self._remember_pairs(created)
        self._remember_series(moved)
        self.dues.update(moved_dues)
        if self._recorder:
            self._recorder.ids.update(recorded)
        self._count_folded(changes)
        self.values.update(changes.values)
        self.touched |= pairs | changes.moved
        self.cursors = cursors

    def store_names(self, names: Names, renamed: Mapping[Pair, Pair], born: Collection[SeriesKey], now: float) -> None:
        """Takes over names, and the series `born` with them; the long memory of `renamed` pairs follows."""
        moved = advance(self.series, Changes(born=set(born)), self.bounds, released=not self.cursor.level_complete)
        if names == self.names and not moved:
            self.names = names  # equal in what the ledger keeps, newer in what it does not
            return
        with self.transaction() as connection:
            write_objects(connection, names.flows.values(), names.deployments.values(), names.gone)
            write_series(connection, moved, now)
            for old, new in renamed.items():
                rename_pair(connection, old, new)
            # Their time to live begins now, not with their last increment.
            touch_series(connection, self.names.live_pairs() - names.live_pairs(), now)
            pairs = rows.load_all(connection, schema.pairs)
        self.names = names
        self._remember_series(moved)
        self._ids, self._pairs = {}, {}
        self._remember_pairs({Pair(row.flow, row.deployment): row.id for row in pairs})
        self.touched |= set(renamed.values())

    def store_dues(self, dues: Mapping[str, Due]) -> None:
        """Takes over what is known of these deployments' schedules."""
        if dues:
            with self.transaction() as connection:
                write_dues(connection, dues)
            self.dues.update(dues)

    def store_pipelines(self, text: str) -> None:
        """Keeps the last good pipelines file."""
        with self.transaction() as connection:
            rows.write_meta(connection, pipelines=text)
        self.pipelines = text

    def store_plan(self, plan: history.Plan | None) -> None:
        """Begins or continues a backfill; with None, what it wrote down is forgotten: the ledger serves."""
        with self.transaction() as connection:
            rows.write_meta(connection, history=asdict(plan) if plan else None)
            if plan is None:
                history.forget(connection)
            known = history.recorded_series(connection)
        self.plan = plan
        self._recorder = history.Recorder(plan.step, known) if plan else None

    def begin_serving(self) -> None:
        """Ends a backfill: from now on the counters are live. LedgerError while that has not loaded everything."""
        if self.plan is not None and not self.plan.loaded:
            raise LedgerError(
                f"The ledger {self.path} belongs to a backfill that was cut short: run the same `prefect-monitoring"
                " backfill` again, it goes on where it stopped; to do without a past, point ledger_url at a new file"
            )
        if self.plan is not None:
            self.store_plan(None)

    def release(self, keys: Collection[SeriesKey], now: float) -> None:
        """Ends the birth hold of `keys`. Durable before anybody sees it: else a crash would look like a reset."""
        moved = {key: replace(self.series[key], released=True) for key in keys if key in self.held}
        if moved:
            with self.transaction() as connection:
                write_series(connection, moved, now)
            self._remember_series(moved)

    def replace_values(self, values: Mapping[SeriesKey, float], now: float) -> None:
        """Gives series other values that are the same but for the order in which they were summed up."""
        moved = {key: replace(self.series[key], value=value) for key, value in values.items()}
        with self.transaction() as connection:
            write_series(connection, moved, now)
        self._remember_series(moved)

    def mark_gone(self, source: str, low: float, high: float, present: Collection[str]) -> int:
        """Marks the runs that ended within [low, high] but are not `present` there any more; how many.

        One that was marked and is back, as after the restoration of a server's backup, loses the mark.
        """
        table = _RUNS[source]
        there = {rows.pack(run_id) for run_id in present}
        ended = sa.select(table.c.run_id, table.c.gone).where(table.c.ended_at.between(low, high))
        with self.transaction() as connection:
            found = connection.execute(ended).all()
            lost = [row.run_id for row in found if not row.gone and row.run_id not in there]
            back = [row.run_id for row in found if row.gone and row.run_id in there]
            for ids, gone in ((lost, True), (back, False)):
                for batch in rows.batches(ids):
                    connection.execute(sa.update(table).where(table.c.run_id.in_(batch)).values(gone=gone))
        if lost or back:
            self.touched |= self._ids.keys()
        return len(lost)

    def prune(self, now: float, *, keep: Keep, live: Collection[Pair]) -> None:
        """Forgets what is no longer needed; never what an end not yet read could still concern."""
        kept = {FLOW_RUNS: keep.runs, TASK_RUNS: keep.task_runs, LOG_LINES: keep.task_runs}
        cursors = {
            source: replace(cursor, horizon=max(cursor.horizon, min(now, cursor.watermark) - kept[source]))
            for source, cursor in self.cursors.items()
        }
        dead = {key.pair for key in (*self.series, *self.values)} - set(live) - {OVERFLOW, NO_FLOW}
        with self.transaction() as connection:
            forget_runs(connection, now, cursors[FLOW_RUNS].horizon)
            forget_details(
                connection,
                task_horizon=cursors[TASK_RUNS].horizon,
                lines_before=cursors[LOG_LINES].watermark - keep.lines,
            )
            gone = self.names.gone & self.dues.keys()
            connection.execute(sa.delete(schema.dues).where(schema.dues.c.deployment_id.in_(gone)))
            expired = expire_series(connection, dead, now - keep.dead_series)
            old = {key for key, one in self.values.items() if key.pair in dead or one.at < now - HOURLY_KEPT}
            delete_keys(connection, schema.last_values, old)
            rows.write_meta(connection, cursors=_plain(cursors))
        self.cursors = cursors
        self.held -= expired
        for identifier in gone:
            del self.dues[identifier]
        for key in expired:
            self.series.pop(key, None)
        for key in old:
            self.values.pop(key, None)

    def load(self) -> None:
        """Reads names, pairs and series into memory."""
        with self.transaction() as connection:
            flows = rows.load_all(connection, schema.flows)
            deployments = rows.load_all(connection, schema.deployments)
            self._remember_pairs({Pair(r.flow, r.deployment): r.id for r in rows.load_all(connection, schema.pairs)})
            series = rows.load_all(connection, schema.series)
            self.values = load_values(connection)
            self.dues = load_dues(connection)
            stored = rows.read_meta(connection)
            recorded = history.recorded_series(connection)
        self.pipelines = stored.get("pipelines")
        if plan := stored.get("history"):
            self.plan = history.Plan(**plan)
            self._recorder = history.Recorder(self.plan.step, recorded)
        self.names = Names(
            {r.id: Flow(r.id, r.name) for r in flows},
            {r.id: Deployment(r.id, r.name, r.flow_id, r.work_pool, r.work_queue, tuple(r.tags)) for r in deployments},
            frozenset(r.id for r in (*flows, *deployments) if r.gone),
        )
        self._remember_series({series_key(r): Series(r.value, tuple(r.buckets), r.released) for r in series})
        self.touched = set(self._ids)

    def _remember_series(self, moved: Mapping[SeriesKey, Series]) -> None:
        self.series.update(moved)
        self.held |= {key for key, one in moved.items() if not one.released}
        self.held -= {key for key, one in moved.items() if one.released}

    def _remember_pairs(self, ids: Mapping[Pair, int]) -> None:
        self._ids.update(ids)
        self._pairs.update({number: pair for pair, number in ids.items()})

    def _count_folded(self, changes: Changes) -> None:
        for key, count in changes.increments.items():
            if _is_folded(key):
                self.folded[key.metric] += count
        for key, seen in changes.observations.items():
            if _is_folded(key):
                self.folded[key.metric] += len(seen)


def _is_folded(key: SeriesKey) -> bool:
    return key.pair == OVERFLOW or key.task == OTHER


def _plain(cursors: Mapping[str, Cursor]) -> dict[str, dict[str, Any]]:
    return {source: asdict(cursor) for source, cursor in cursors.items()}
