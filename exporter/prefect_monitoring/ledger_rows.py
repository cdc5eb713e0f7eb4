"""Rows of the ledger: from values to tables and back. Every function works within its caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from prefect_monitoring import ledger_schema as schema
from prefect_monitoring.model.changes import Changes, KnownRun, SeriesKey, Tally
from prefect_monitoring.model.records import Deployment, Flow, Pair
from prefect_monitoring.model.series import Series
from prefect_monitoring.model.units import DAY, HOUR

_ID_BATCH: Final = 500  # well below SQLite's limit of bound variables

PairIds = Mapping[Pair, int]


def pack(identifier: str) -> bytes:
    """A UUID in the 16 bytes it needs; two of them stand in every row."""
    return bytes.fromhex(identifier.replace("-", ""))


def unpack(packed: bytes) -> str:
    return str(UUID(bytes=packed))


def batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _ID_BATCH):
        yield items[start : start + _ID_BATCH]


def load_all(connection: sa.Connection, table: sa.Table) -> list[Any]:
    return list(connection.execute(sa.select(table)))


def upsert(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        statement = insert(table)
        others = {c.name: statement.excluded[c.name] for c in table.columns if not c.primary_key}
        insert_all(
            connection, statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=others), rows
        )


def insert_all(connection: sa.Connection, statement: sa.Insert, rows: Sequence[Mapping[str, Any]]) -> None:
    """Executes an insert for each of `rows`, which name the same columns.

    Not through Connection.execute: what that does with the values of each row costs three times what SQLite does.
    """
    if not rows:
        return
    compiled = statement.compile(dialect=connection.dialect, column_keys=list(rows[0]))
    names = compiled.positiontup or ()
    as_json = [name for name in names if isinstance(statement.table.c[name].type, sa.JSON)]
    if as_json:
        rows = [{**row, **{name: orjson.dumps(row[name]).decode() for name in as_json}} for row in rows]
    connection.exec_driver_sql(str(compiled), list(map(itemgetter(*names), rows)))


def read_meta(connection: sa.Connection) -> dict[str, Any]:
    return {row.key: json.loads(row.value) for row in load_all(connection, schema.meta)}


def write_meta(connection: sa.Connection, **values: object) -> None:
    upsert(connection, schema.meta, [{"key": key, "value": json.dumps(value)} for key, value in values.items()])


def known_run(row: sa.Row[Any], pair: Pair | None) -> KnownRun:
    return KnownRun(
        run_id=unpack(row.run_id),
        pair=pair,
        state_id=unpack(row.state_id),
        state_type=row.state_type,
        state_at=row.state_at,
        attempts=row.attempts,
        start_counted=row.start_counted,
        ended_at=row.ended_at,
        duration=row.duration,
        name=row.name,
        cause=row.cause,
    )


def write_runs(connection: sa.Connection, changes: Changes, ids: PairIds) -> None:
    upsert(
        connection,
        schema.runs,
        [
            {
                "run_id": pack(run.run_id),
                "pair_id": ids[run.pair] if run.pair is not None else None,
                "state_id": pack(run.state_id),
                "state_type": run.state_type,
                "state_at": run.state_at,
                "attempts": run.attempts,
                "start_counted": run.start_counted,
                "ended_at": run.ended_at,
                "duration": run.duration,
                "name": run.name,
                "cause": run.cause,
                "gone": False,
            }
            for run in changes.runs.values()
        ],
    )
    if changes.counted:
        # No upsert: counting a state twice must fail, not pass unseen.
        rows = [{"run_id": pack(run_id), "state_id": pack(state_id)} for run_id, state_id in changes.counted]
        insert_all(connection, sa.insert(schema.counted), rows)


def write_tallies(connection: sa.Connection, changes: Changes, ids: PairIds) -> None:
    for table, grain in ((schema.hourly, HOUR), (schema.daily, DAY)):
        sums: dict[tuple[int, int], Tally] = {}
        for (pair, hour), tally in changes.tallies.items():
            total = sums.setdefault((ids[pair], hour // grain * grain), Tally())
            total.good += tally.good
            total.bad += tally.bad
            total.timed += tally.timed
            total.seconds += tally.seconds
        _add_tallies(
            connection,
            table,
            [
                {
                    "pair_id": pair_id,
                    "start": start,
                    "good": t.good,
                    "bad": t.bad,
                    "timed": t.timed,
                    "seconds": t.seconds,
                }
                for (pair_id, start), t in sums.items()
            ],
        )


def _add_tallies(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        statement = insert(table)
        sums = {name: table.c[name] + statement.excluded[name] for name in ("good", "bad", "timed", "seconds")}
        insert_all(connection, statement.on_conflict_do_update(index_elements=["pair_id", "start"], set_=sums), rows)


def write_last_outcomes(connection: sa.Connection, changes: Changes, ids: PairIds) -> None:
    if not changes.last_outcomes:
        return
    table = schema.last_outcomes
    statement = insert(table)
    latest = {"at": sa.func.max(table.c.at, statement.excluded.at)}
    rows = [{"pair_id": ids[pair], "state": state, "at": at} for (pair, state), at in changes.last_outcomes.items()]
    insert_all(connection, statement.on_conflict_do_update(index_elements=["pair_id", "state"], set_=latest), rows)


def key_columns(key: SeriesKey) -> dict[str, str]:
    """A series' key as the columns that hold it."""
    return {
        "metric": key.metric,
        "flow": key.pair.flow,
        "deployment": key.pair.deployment,
        "detail": key.detail,
        "task": key.task,
        "labels": json.dumps(key.labels, ensure_ascii=False) if key.labels else "[]",
    }


def series_key(row: sa.Row[Any]) -> SeriesKey:
    labels = tuple((name, value) for name, value in json.loads(row.labels)) if row.labels != "[]" else ()
    return SeriesKey(row.metric, Pair(row.flow, row.deployment), row.detail, row.task, labels)


def delete_keys(connection: sa.Connection, table: sa.Table, keys: Collection[SeriesKey]) -> None:
    if keys:
        matches = [table.c[name] == sa.bindparam(f"a_{name}") for name in key_columns(next(iter(keys)))]
        rows = [{f"a_{name}": value for name, value in key_columns(key).items()} for key in keys]
        connection.execute(sa.delete(table).where(*matches), rows)


def write_series(connection: sa.Connection, moved: Mapping[SeriesKey, Series], now: float) -> None:
    upsert(
        connection,
        schema.series,
        [
            {
                **key_columns(key),
                "value": one.value,
                "buckets": list(one.buckets),
                "released": one.released,
                "updated_at": now,
            }
            for key, one in moved.items()
        ],
    )


def touch_series(connection: sa.Connection, pairs: Collection[Pair], now: float) -> None:
    for pair in pairs:
        mine = (schema.series.c.flow == pair.flow) & (schema.series.c.deployment == pair.deployment)
        connection.execute(sa.update(schema.series).where(mine).values(updated_at=now))


def write_objects(
    connection: sa.Connection, flows: Collection[Flow], deployments: Collection[Deployment], gone: Collection[str]
) -> None:
    flow_rows = [{"id": flow.id, "name": flow.name, "gone": flow.id in gone} for flow in flows]
    upsert(connection, schema.flows, flow_rows)
    upsert(
        connection,
        schema.deployments,
        [
            {
                "id": one.id,
                "name": one.name,
                "flow_id": one.flow_id,
                "work_pool": one.work_pool,
                "work_queue": one.work_queue,
                "tags": list(one.tags),
                "gone": one.id in gone,
            }
            for one in deployments
        ],
    )


def new_pairs(connection: sa.Connection, pairs: Collection[Pair]) -> dict[Pair, int]:
    created: dict[Pair, int] = {}
    for pair in sorted(pairs):
        result = connection.execute(sa.insert(schema.pairs).values(flow=pair.flow, deployment=pair.deployment))
        created[pair] = result.inserted_primary_key[0]  # type: ignore[index] # an insert of one row has a key
    return created


def rename_pair(connection: sa.Connection, old: Pair, new: Pair) -> None:
    """The long memory of `old` goes on under `new`; where `new` has one already, the two are joined."""
    table = schema.pairs
    numbers = {Pair(row.flow, row.deployment): row.id for row in load_all(connection, table)}
    if old not in numbers:
        return
    if new not in numbers:
        values = {"flow": new.flow, "deployment": new.deployment}
        connection.execute(sa.update(table).where(table.c.id == numbers[old]).values(**values))
        return
    source, target = numbers[old], numbers[new]
    connection.execute(sa.update(schema.runs).where(schema.runs.c.pair_id == source).values(pair_id=target))
    for tallies in (schema.hourly, schema.daily):
        mine = connection.execute(sa.select(tallies).where(tallies.c.pair_id == source)).mappings()
        _add_tallies(connection, tallies, [{**row, "pair_id": target} for row in mine])
        connection.execute(sa.delete(tallies).where(tallies.c.pair_id == source))
    outcomes = schema.last_outcomes
    changes = Changes()
    for row in connection.execute(sa.select(outcomes).where(outcomes.c.pair_id == source)):
        changes.last_outcomes[new, row.state] = row.at
    write_last_outcomes(connection, changes, numbers)
    connection.execute(sa.delete(outcomes).where(outcomes.c.pair_id == source))
    connection.execute(sa.delete(table).where(table.c.id == source))
