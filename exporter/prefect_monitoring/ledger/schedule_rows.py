"""Rows of due starts, within the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict

import sqlalchemy as sa

from prefect_monitoring.counting.schedules import UNKNOWN
from prefect_monitoring.counting.schedules import passed as after_passing
from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.sql import batches, load_all, upsert
from prefect_monitoring.model.changes import Due


def write_dues(connection: sa.Connection, dues: Mapping[str, Due]) -> None:
    upsert(connection, schema.dues, [{"deployment_id": one, **asdict(due)} for one, due in dues.items()])


def load_dues(connection: sa.Connection) -> dict[str, Due]:
    return {
        row.deployment_id: Due(row.last_at, row.next_at, row.unmet_at, row.paused_at, row.called_off_at)
        for row in load_all(connection, schema.dues)
    }


def passed_dues(
    connection: sa.Connection, known: Mapping[str, Due], passed: Mapping[str, float], pair_ids: Mapping[str, int]
) -> dict[str, Due]:
    """The dues that move because a start that was expected then has passed; all by deployment id."""
    before = {one: known.get(one, UNKNOWN) for one in passed}
    moving = {one: at for one, at in passed.items() if at > (before[one].last_at or 0.0)}
    completed = _last_completions(connection, {pair_ids[one] for one in moving})
    return {one: after_passing(before[one], at, completed.get(pair_ids[one])) for one, at in moving.items()}


def _last_completions(connection: sa.Connection, pair_ids: Collection[int]) -> dict[int, float]:
    """When a run of each of these pairs last completed."""
    table = schema.last_outcomes
    found: dict[int, float] = {}
    for batch in batches(sorted(pair_ids)):
        query = sa.select(table.c.pair_id, table.c.at).where(table.c.pair_id.in_(batch), table.c.state == "completed")
        found.update((row.pair_id, row.at) for row in connection.execute(query))
    return found
