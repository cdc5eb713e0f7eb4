"""Rows of flows, deployments and pipelines, within the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TypeVar

import sqlalchemy as sa

from prefect_monitoring.ledger.schema import deployments, flows, pipelines
from prefect_monitoring.ledger.sql import insert_all, load_all, number_from, upsert
from prefect_monitoring.model.names import Names
from prefect_monitoring.model.records import Deployment, Flow, Pipeline

Named = TypeVar("Named", Flow, Deployment)


def load_names(connection: sa.Connection) -> Names:
    flow_rows, deployment_rows = load_all(connection, flows), load_all(connection, deployments)
    return Names(
        {r.id: Flow(r.id, r.name) for r in flow_rows},
        {r.id: Deployment(r.id, r.name, r.flow_id, r.work_pool, r.work_queue, tuple(r.tags)) for r in deployment_rows},
        frozenset(r.id for r in (*flow_rows, *deployment_rows) if r.gone_at is not None),
    )


def write_names(connection: sa.Connection, before: Names, after: Names, now: float) -> None:
    """Writes the differences. Names that are gone `after` and were not `before` are gone since `now`."""
    moved = before.gone ^ after.gone
    flow_rows = [
        {"id": one.id, "name": one.name, "gone_at": now if one.id in after.gone else None}
        for one in _changed(before.flows, after.flows, moved)
    ]
    deployment_rows = [
        {
            "id": one.id,
            "name": one.name,
            "flow_id": one.flow_id,
            "work_pool": one.work_pool,
            "work_queue": one.work_queue,
            "tags": list(one.tags),
            "gone_at": now if one.id in after.gone else None,
        }
        for one in _changed(before.deployments, after.deployments, moved)
    ]
    upsert(connection, flows, flow_rows)
    upsert(connection, deployments, deployment_rows)


def _changed(before: Mapping[str, Named], after: Mapping[str, Named], moved: Collection[str]) -> Iterator[Named]:
    return (one for identifier, one in after.items() if identifier in moved or before.get(identifier) != one)


def forget_names(connection: sa.Connection, gone_before: float) -> set[str]:
    """Deletes flows and deployments that have been gone since before that instant; returns their ids.

    No readable run belongs to one of them if runs of that age are deleted too.
    """
    forgotten: set[str] = set()
    for table, unused in (
        (deployments, sa.true()),
        (flows, flows.c.id.not_in(sa.select(deployments.c.flow_id))),
    ):
        chosen = (table.c.gone_at < gone_before) & unused
        ids = connection.scalars(sa.select(table.c.id).where(chosen)).all()
        if ids:
            connection.execute(sa.delete(table).where(chosen))
            forgotten.update(ids)
    return forgotten


def load_pipelines(connection: sa.Connection) -> dict[Pipeline, int]:
    """The number of each pipeline."""
    return {Pipeline(row.flow, row.deployment): row.id for row in load_all(connection, pipelines)}


def new_pipelines(connection: sa.Connection, names: Collection[Pipeline]) -> dict[Pipeline, int]:
    """Assigns numbers to pipelines that have none yet."""
    created = number_from(connection, pipelines.c.id, sorted(names))
    rows = [{"id": number, "flow": one.flow, "deployment": one.deployment} for one, number in created.items()]
    insert_all(connection, sa.insert(pipelines), rows)
    return created
