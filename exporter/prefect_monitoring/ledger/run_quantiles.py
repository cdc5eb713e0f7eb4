"""Exact quantiles of durations and start delays, by nearest rank: sorted in the database, where it is cheapest.

Unlike run statistics they read every run of the window, so they are updated less often: snapshot/live_runs.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from prefect_monitoring.ledger.schema import flow_runs
from prefect_monitoring.ledger.sql import batches
from prefect_monitoring.model.records import TERMINAL_TYPES, Pipeline
from prefect_monitoring.model.run_quantiles import QUANTILE_WINDOWS, QUANTILES, RunQuantiles

# A column of the ledger's flow runs, and the types of the runs that count.
_MEASURED: Final[Mapping[str, tuple[str, ...]]] = {
    "duration": ("COMPLETED",),
    "start_delay": tuple(sorted(TERMINAL_TYPES)),
}


def run_quantiles(connection: sa.Connection, names: Mapping[int, Pipeline], now: float) -> dict[Pipeline, RunQuantiles]:
    """The quantiles at `now` of pipelines, by their numbers in the ledger."""
    values: defaultdict[str, defaultdict[int, dict[tuple[str, str], float]]] = defaultdict(lambda: defaultdict(dict))
    runs: dict[int, int] = {}
    for batch in batches(sorted(names)):
        for column in _MEASURED:
            for window, length in QUANTILE_WINDOWS.items():
                for row in connection.execute(_ranked(column, batch, now - length)):
                    found = values[column][row.pipeline_id]
                    found |= {(window, name): row.value for name in QUANTILES if row.rank == getattr(row, f"at_{name}")}
                    if column == "duration":
                        runs[row.pipeline_id] = row.runs
    return {
        pipeline: RunQuantiles(values["duration"][number], values["start_delay"][number], runs.get(number, 0))
        for number, pipeline in names.items()
    }


def _ranked(column: str, numbers: Any, since: float) -> sa.Select[Any]:
    """The values at the ranks of the quantiles, with how many runs there are, of runs that ended after `since`."""
    value, pipeline = flow_runs.c[column], flow_runs.c.pipeline_id
    measured = (
        sa.select(
            pipeline,
            value.label("value"),
            sa.func.row_number().over(partition_by=pipeline, order_by=value).label("rank"),
            sa.func.count().over(partition_by=pipeline).label("runs"),
        )
        .where(pipeline.in_(numbers), flow_runs.c.state_type.in_(_MEASURED[column]))
        .where(flow_runs.c.ended_at > since, value.is_not(None))
        .subquery()
    )
    ranks = {name: (measured.c.runs * percent + 99) // 100 for name, percent in QUANTILES.items()}
    columns = [rank.label(f"at_{name}") for name, rank in ranks.items()]
    return sa.select(measured, *columns).where(measured.c.rank.in_(tuple(ranks.values())))
