"""Rows of flows, deployments and pipelines, within the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.rollup_rows import _add_tallies, write_last_outcomes
from prefect_monitoring.ledger.sql import load_all, upsert
from prefect_monitoring.model.changes import Changes
from prefect_monitoring.model.records import Deployment, Flow, Pair


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
