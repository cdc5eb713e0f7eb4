"""Runs that ended within a window according to the ledger, and which of them the API no longer has."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import sqlalchemy as sa

from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.sql import batches, pack
from prefect_monitoring.model.cursor import FLOW_RUNS, TASK_RUNS

# By source: the table of its runs, and the column by which finished runs are compared.
_TABLES: Final[Mapping[str, tuple[sa.Table, sa.Column[str]]]] = {
    FLOW_RUNS: (schema.flow_runs, schema.flow_runs.c.state_type),
    TASK_RUNS: (schema.task_runs, schema.task_runs.c.kind),
}


def ended_by_kind(connection: sa.Connection, source: str, low: float, high: float) -> dict[str, int]:
    """How many runs of `source` ended within [low, high] and are not gone, by the `kind` of the record."""
    table, kind = _TABLES[source]
    present = table.c.ended_at.between(low, high) & ~table.c.gone
    counts = connection.execute(sa.select(kind, sa.func.count()).where(present).group_by(kind))
    return {row[0]: row[1] for row in counts}


def mark_gone(
    connection: sa.Connection, source: str, low: float, high: float, present: Collection[str]
) -> tuple[list[bytes], int]:
    """Marks the runs that ended within [low, high] but are not `present` as gone, and unmarks those that are.

    Returns the packed ids of changed runs, and how many were marked. Run statistics still count marked runs.
    """
    table, _ = _TABLES[source]
    there = {pack(run_id) for run_id in present}
    ended = sa.select(table.c.run_id, table.c.gone).where(table.c.ended_at.between(low, high))
    found = connection.execute(ended).all()
    lost = [row.run_id for row in found if not row.gone and row.run_id not in there]
    back = [row.run_id for row in found if row.gone and row.run_id in there]
    for ids, gone in ((lost, True), (back, False)):
        for batch in batches(ids):
            connection.execute(sa.update(table).where(table.c.run_id.in_(batch)).values(gone=gone))
    return [*lost, *back], len(lost)


def pipelines_with(connection: sa.Connection, run_ids: Sequence[bytes]) -> set[int]:
    """The numbers of the pipelines of these flow runs, which are given by packed id."""
    found: set[int] = set()
    for batch in batches(run_ids):
        pipeline = schema.flow_runs.c.pipeline_id
        query = sa.select(pipeline).where(schema.flow_runs.c.run_id.in_(batch), pipeline.is_not(None)).distinct()
        found.update(connection.scalars(query))
    return found
