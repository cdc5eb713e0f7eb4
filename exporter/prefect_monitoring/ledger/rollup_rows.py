"""Rows of hourly and daily rollups, within the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.sql import PairIds, insert_all
from prefect_monitoring.model.changes import Changes, Tally
from prefect_monitoring.model.units import DAY, HOUR


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
