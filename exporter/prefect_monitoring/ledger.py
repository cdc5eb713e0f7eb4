"""What must survive a restart, and the one place that writes it: each change is one transaction.

A ledger belongs to one Prefect API and to one process at a time. What it holds in memory is what was last committed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import sqlalchemy as sa
from filelock import FileLock
from sqlalchemy.exc import DatabaseError

from prefect_monitoring import ledger_rows as rows
from prefect_monitoring import ledger_schema as schema
from prefect_monitoring import memory
from prefect_monitoring.catalog import Names
from prefect_monitoring.fold import HISTOGRAMS, Changes, Known, KnownRun, SeriesKey
from prefect_monitoring.ledger_file import LedgerError, connect, explain, inspect, sqlite_path, take_lock
from prefect_monitoring.records import OVERFLOW, Deployment, Flow, Pair
from prefect_monitoring.series import Bounds, Series, advance


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far finished runs are read. `walk_*` hold a walk through a window, newest end first, that is under way.

    `watermark`: every end up to here is read. `horizon`: states before it are history and never counted.
    `walk_left`: the earliest end of the runs that this walk could not count; the watermark stays before it.
    """

    watermark: float
    horizon: float
    level_complete: bool = False
    walk_newest: float | None = None
    walk_before: float | None = None
    walk_offset: int = 0
    walk_left: float | None = None


class Ledger:
    """Its owner calls one method at a time. Every method raises LedgerError when the file fails, and changes nothing.

    `touched` collects the pairs whose standing may have changed; `fault` is why the last commit failed.
    """

    def __init__(self, path: Path, engine: sa.Engine, lock: FileLock, bounds: Bounds) -> None:
        self.path = path
        self.bounds = bounds
        self.created_at = 0.0
        self.cursor = Cursor(0.0, 0.0)
        self.names = Names({}, {}, frozenset())
        self.series: dict[SeriesKey, Series] = {}
        self.held: set[SeriesKey] = set()
        self.folded: Counter[str] = Counter()
        self.touched: set[Pair] = set()
        self.fault = ""
        self._pairs: dict[int, Pair] = {}
        self._ids: dict[Pair, int] = {}
        self._engine = engine
        self._lock = lock

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
                    run = rows.known_run(row, self._pairs.get(row.pair_id))
                    found[run.run_id] = run
                for row in connection.execute(sa.select(schema.counted).where(schema.counted.c.run_id.in_(batch))):
                    counted.add((rows.unpack(row.run_id), rows.unpack(row.state_id)))
        return Known(found, frozenset(counted), self.cursor.horizon)

    def ended_by_type(self, low: float, high: float) -> dict[str, int]:
        """How many runs the ledger believes to have ended within [low, high], by state type."""
        query = sa.select(schema.runs.c.state_type, sa.func.count()).where(_present(low, high))
        with self.transaction() as connection:
            found = connection.execute(query.group_by(schema.runs.c.state_type))
            return {row[0]: row[1] for row in found}

    def standings(self, pairs: Collection[Pair], now: float) -> dict[Pair, memory.Standing]:
        numbers = {self._ids[pair]: pair for pair in pairs if pair in self._ids}
        with self.transaction() as connection:
            return memory.standings(connection, numbers, now)

    @property
    def pairs(self) -> Collection[Pair]:
        return self._ids.keys()

    def commit(self, changes: Changes, cursor: Cursor | None, now: float) -> None:
        """Applies a batch and, with it, how far it was read. Series of the starting level are released at once."""
        if cursor is not None:  # made before the page was read; what was pruned since must stay forgotten
            cursor = replace(cursor, horizon=max(cursor.horizon, self.cursor.horizon))
        moved = advance(self.series, changes, self.bounds, released=not self.cursor.level_complete)
        pairs = {run.pair for run in changes.runs.values() if run.pair is not None}
        pairs |= {pair for pair, _ in (*changes.tallies, *changes.last_outcomes)}
        with self.transaction() as connection:
            created = rows.new_pairs(connection, pairs - self._ids.keys())
            ids = {**self._ids, **created}
            rows.write_runs(connection, changes, ids)
            rows.write_tallies(connection, changes, ids)
            rows.write_last_outcomes(connection, changes, ids)
            rows.write_series(connection, moved, now)
            if cursor is not None:
                rows.write_meta(connection, cursor=asdict(cursor))
        if cursor is not None or moved or changes.runs:  # to write nothing works on a full disk as well
            self.fault = ""
        self._remember_pairs(created)
        self._remember_series(moved)
        self._count_folded(changes)
        self.touched |= pairs
        self.cursor = cursor or self.cursor

    def store_names(self, names: Names, renamed: Mapping[Pair, Pair], born: Collection[SeriesKey], now: float) -> None:
        """Takes over names, and the series `born` with them; the long memory of `renamed` pairs follows."""
        moved = advance(self.series, Changes(born=set(born)), self.bounds, released=not self.cursor.level_complete)
        if names == self.names and not moved:
            return
        with self.transaction() as connection:
            rows.write_objects(connection, names.flows.values(), names.deployments.values(), names.gone)
            rows.write_series(connection, moved, now)
            for old, new in renamed.items():
                rows.rename_pair(connection, old, new)
            # Their time to live begins now, not with their last increment.
            rows.touch_series(connection, self.names.live_pairs() - names.live_pairs(), now)
            pairs = rows.load_all(connection, schema.pairs)
        self.names = names
        self._remember_series(moved)
        self._ids, self._pairs = {}, {}
        self._remember_pairs({Pair(row.flow, row.deployment): row.id for row in pairs})
        self.touched |= set(renamed.values())

    def release(self, keys: Collection[SeriesKey], now: float) -> None:
        """Ends the birth hold of `keys`. Durable before anybody sees it: else a crash would look like a reset."""
        moved = {key: replace(self.series[key], released=True) for key in keys if key in self.held}
        if moved:
            with self.transaction() as connection:
                rows.write_series(connection, moved, now)
            self._remember_series(moved)

    def mark_gone(self, low: float, high: float, present: Collection[str]) -> int:
        """Marks the runs that ended within [low, high] but are not `present` there any more; how many.

        One that was marked and is back, as after the restoration of a server's backup, loses the mark.
        """
        there = {rows.pack(run_id) for run_id in present}
        ended = sa.select(schema.runs.c.run_id, schema.runs.c.gone).where(schema.runs.c.ended_at.between(low, high))
        with self.transaction() as connection:
            found = connection.execute(ended).all()
            lost = [row.run_id for row in found if not row.gone and row.run_id not in there]
            back = [row.run_id for row in found if row.gone and row.run_id in there]
            for ids, gone in ((lost, True), (back, False)):
                for batch in rows.batches(ids):
                    connection.execute(sa.update(schema.runs).where(schema.runs.c.run_id.in_(batch)).values(gone=gone))
        if lost or back:
            self.touched |= self._ids.keys()
        return len(lost)

    def prune(self, now: float, *, runs_kept: float, series_ttl: float, live: Collection[Pair]) -> None:
        """Forgets what is no longer needed; never what an end not yet read could still concern."""
        horizon = max(self.cursor.horizon, min(now, self.cursor.watermark) - runs_kept)
        cursor = replace(self.cursor, horizon=horizon)
        dead = {key.pair for key in self.series} - set(live) - {OVERFLOW}
        with self.transaction() as connection:
            memory.forget(connection, now, horizon)
            expired = memory.expire_series(connection, dead, now - series_ttl)
            rows.write_meta(connection, cursor=asdict(cursor))
        self.cursor = cursor
        self.held -= expired
        for key in expired:
            self.series.pop(key, None)

    def load(self) -> None:
        """Reads names, pairs and series into memory."""
        with self.transaction() as connection:
            flows = rows.load_all(connection, schema.flows)
            deployments = rows.load_all(connection, schema.deployments)
            self._remember_pairs({Pair(r.flow, r.deployment): r.id for r in rows.load_all(connection, schema.pairs)})
            series = rows.load_all(connection, schema.series)
        self.names = Names(
            {r.id: Flow(r.id, r.name) for r in flows},
            {r.id: Deployment(r.id, r.name, r.flow_id, r.work_pool, r.work_queue, tuple(r.tags)) for r in deployments},
            frozenset(r.id for r in (*flows, *deployments) if r.gone),
        )
        self._remember_series(
            {
                SeriesKey(r.metric, Pair(r.flow, r.deployment), r.detail): Series(r.value, tuple(r.buckets), r.released)
                for r in series
            }
        )
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
            if key.pair == OVERFLOW:
                self.folded[key.metric] += int(count)
        for key, seen in changes.observations.items():
            if key.pair == OVERFLOW:
                self.folded[key.metric] += len(seen)


def _present(low: float, high: float) -> sa.ColumnElement[bool]:
    return schema.runs.c.ended_at.between(low, high) & ~schema.runs.c.gone


def open_ledger(url: str, api: str, *, bounds: Bounds, lookback: float, now: float, moved_from: str = "") -> Ledger:
    """Opens or creates the ledger of the Prefect API at `api`.

    Raises LedgerError: in use (LedgerInUseError), damaged, read-only, of a newer version, of another API (unless
    that is `moved_from`).
    """
    path = sqlite_path(url)
    lock = take_lock(path)
    with ExitStack() as undo:
        undo.callback(lock.release)
        engine = connect(path)
        undo.callback(engine.dispose)
        ledger = Ledger(path, engine, lock, bounds)
        with ledger.transaction() as connection:
            stored = rows.read_meta(connection)
            if not stored:
                cursor = asdict(Cursor(watermark=now - lookback, horizon=now - lookback))
                stored = {"api": api, "created_at": now, "cursor": cursor, "bounds": {}}
            _check_owner(path, stored["api"], api, moved_from)
            _drop_rebucketed(connection, stored["bounds"], bounds)
            rows.write_meta(connection, **{**stored, "api": api, "bounds": _plain(bounds)})
        ledger.created_at = stored["created_at"]
        ledger.cursor = Cursor(**stored["cursor"])
        ledger.load()
        undo.pop_all()
    return ledger


def inspect_ledger(url: str, api: str, moved_from: str = "") -> None:
    """Raises the LedgerError that `open_ledger` would raise for an existing ledger, and changes nothing."""
    path = sqlite_path(url)
    lock = take_lock(path)
    try:
        if stored := inspect(path):
            _check_owner(path, stored["api"], api, moved_from)
    finally:
        lock.release()


def _check_owner(path: Path, owner: str, api: str, moved_from: str) -> None:
    if owner not in (api, moved_from.rstrip("/")):
        raise LedgerError(
            f"The ledger {path} counts the runs of {owner}, but Prefect's settings name {api}. Point ledger_url at a"
            f" file of its own for {api}; if the same server has only moved, start once with --moved-from {owner}"
        )


def _drop_rebucketed(connection: sa.Connection, stored: Mapping[str, list[float]], bounds: Bounds) -> None:
    """Other bounds are another histogram: what was counted between the old ones cannot be told apart."""
    for metric in HISTOGRAMS:
        if stored.get(metric, _plain(bounds)[metric]) != _plain(bounds)[metric]:
            connection.execute(sa.delete(schema.series).where(schema.series.c.metric == metric))


def _plain(bounds: Bounds) -> dict[str, list[float]]:
    return {metric: [float(limit) for limit in limits] for metric, limits in bounds.items()}
