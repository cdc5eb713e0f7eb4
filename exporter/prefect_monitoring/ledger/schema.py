"""The ledger's current tables; `migrations/versions/` has the steps that create them.

Every name begins with PREFIX: the ledger may share a database with Prefect or others.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

PREFIX: Final = "prefect_monitoring_"
tables = sa.MetaData()


SERIES_KEY = ("metric", "flow", "deployment", "detail", "task", "labels")


def _series_key() -> list[sa.Column[str]]:
    """The columns that identify a series; `labels` are the user's own, as JSON."""
    return [sa.Column(name, sa.Text, primary_key=True) for name in SERIES_KEY]


meta = sa.Table(
    f"{PREFIX}meta",
    tables,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
# Names outlive the objects, because runs keep the id of a deployment that is gone (since `gone_at`).
flows = sa.Table(
    f"{PREFIX}flows",
    tables,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("gone_at", sa.Float),
)
deployments = sa.Table(
    f"{PREFIX}deployments",
    tables,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("flow_id", sa.Text, nullable=False),
    sa.Column("work_pool", sa.Text, nullable=False),
    sa.Column("work_queue", sa.Text, nullable=False),
    sa.Column("tags", sa.JSON, nullable=False),
    sa.Column("gone_at", sa.Float),
)
# Rows about runs have the number of a pipeline; series have its names.
pipelines = sa.Table(
    f"{PREFIX}pipelines",
    tables,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("flow", sa.Text, nullable=False),
    sa.Column("deployment", sa.Text, nullable=False),
    sa.UniqueConstraint("flow", "deployment", name=f"{PREFIX}pipelines_by_name"),
)
flow_runs = sa.Table(
    f"{PREFIX}flow_runs",
    tables,
    sa.Column("run_id", sa.LargeBinary, primary_key=True),
    sa.Column("pipeline_id", sa.Integer),
    sa.Column("state_id", sa.LargeBinary, nullable=False),
    sa.Column("state_type", sa.Text, nullable=False),
    sa.Column("state_at", sa.Float, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("start_counted", sa.Boolean, nullable=False),
    sa.Column("ended_at", sa.Float),
    sa.Column("duration", sa.Float),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    # No longer in the API under this end: deleted, or running again.
    sa.Column("gone", sa.Boolean, nullable=False),
    sa.Column("pattern", sa.Text),
    # Its first start, and whether it is a failure that has not been shown long enough for an alert.
    sa.Column("started_at", sa.Float),
    sa.Column("held", sa.Boolean),
    sa.Column("start_delay", sa.Float),
    sa.Column("message", sa.Text),
    sa.Index(f"{PREFIX}flow_runs_by_pipeline", "pipeline_id", "state_type", "ended_at"),
    sa.Index(f"{PREFIX}flow_runs_by_end", "ended_at", "state_type", "gone"),
)
counted_states = sa.Table(
    f"{PREFIX}counted_states",
    tables,
    sa.Column("run_id", sa.LargeBinary, primary_key=True),
    sa.Column("state_id", sa.LargeBinary, primary_key=True),
    # When a failed or crashed state was entered; null for states counted before revision 0008.
    sa.Column("failed_at", sa.Float),
    sqlite_with_rowid=False,
)
# A counter has a value; a histogram has its sum as value and its observations by bucket (the last is +Inf).
series = sa.Table(
    f"{PREFIX}series",
    tables,
    *_series_key(),
    sa.Column("value", sa.Float, nullable=False),
    sa.Column("buckets", sa.JSON, nullable=False),
    sa.Column("released", sa.Boolean, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)
last_outcomes = sa.Table(
    f"{PREFIX}last_outcomes",
    tables,
    sa.Column("pipeline_id", sa.Integer, primary_key=True),
    sa.Column("state", sa.Text, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)

# Finished task runs: for counting, and for the tasks' shares of a flow run's time.
task_runs = sa.Table(
    f"{PREFIX}task_runs",
    tables,
    sa.Column("run_id", sa.LargeBinary, primary_key=True),
    sa.Column("flow_run_id", sa.LargeBinary),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("state_id", sa.LargeBinary, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state_at", sa.Float, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("started_at", sa.Float),
    sa.Column("ended_at", sa.Float, nullable=False),
    sa.Column("run_time", sa.Float, nullable=False),
    # No longer in the API under this end: deleted.
    sa.Column("gone", sa.Boolean, nullable=False),
    sa.Index(f"{PREFIX}task_runs_by_flow_run", "flow_run_id"),
    sa.Index(f"{PREFIX}task_runs_by_end", "ended_at", "kind", "gone"),
)
# Counted log lines, kept as long as they can be read again.
log_lines = sa.Table(
    f"{PREFIX}log_lines",
    tables,
    sa.Column("log_id", sa.LargeBinary, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)
# Records that could not be read, to be tried again from `next_at` on. `counted`: only its history is missing; `after`:
# the instant after which what is missing lies.
unreadable = sa.Table(
    f"{PREFIX}unreadable",
    tables,
    sa.Column("cursor", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("next_at", sa.Float, nullable=False),
    sa.Column("counted", sa.Boolean, nullable=False),
    sa.Column("after", sa.Float),
    sqlite_with_rowid=False,
)
last_values = sa.Table(
    f"{PREFIX}last_values",
    tables,
    *_series_key(),
    sa.Column("value", sa.Float, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)
# Points of trend stores that a metric counted, by a digest. No longer in their store since `gone_at`.
trend_points = sa.Table(
    f"{PREFIX}trend_points",
    tables,
    sa.Column("metric", sa.Text, primary_key=True),
    sa.Column("point", sa.LargeBinary, primary_key=True),
    sa.Column("gone_at", sa.Float),
    sqlite_with_rowid=False,
)
# When a deployment's schedules last expected a start and expect the next, the earliest unmet start, since when it is
# paused, when it was last found paused or without schedules, and when it was last resumed.
schedules = sa.Table(
    f"{PREFIX}schedules",
    tables,
    sa.Column("deployment_id", sa.Text, primary_key=True),
    sa.Column("last_at", sa.Float),
    sa.Column("next_at", sa.Float),
    sa.Column("unmet_at", sa.Float),
    sa.Column("paused_at", sa.Float),
    sa.Column("called_off_at", sa.Float),
    sa.Column("resumed_at", sa.Float),
    sqlite_with_rowid=False,
)

# Actions in Prefect, written before the request is sent. Rows outlive the runs that they are about.
actions = sa.Table(
    f"{PREFIX}actions",
    tables,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("flow", sa.Text, nullable=False),
    sa.Column("deployment", sa.Text, nullable=False),
    sa.Column("decided_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
    sa.Column("result", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("finished_at", sa.Float),
    sa.Column("run_id", sa.LargeBinary),
    sa.Column("run_name", sa.Text, nullable=False),
    sa.Column("state_id", sa.LargeBinary),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("allowed", sa.Integer, nullable=False),
    sa.Column("at", sa.Float),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("target_name", sa.Text, nullable=False),
    sa.Column("before", sa.Integer),
    sa.Column("after", sa.Integer),
    sa.Column("hold", sa.Text, nullable=False),
    sa.Column("held_until", sa.Float),
    sa.Index(f"{PREFIX}actions_by_run", "run_id", "state_id"),
    sa.Index(f"{PREFIX}actions_by_decision", "decided_at"),
    sa.Index(f"{PREFIX}actions_by_result", "result", "hold"),
    sqlite_with_rowid=False,
)

# State of sinks and what they have yet to deliver, as JSON. With a row id, because values may be long.
sinks = sa.Table(
    f"{PREFIX}sinks",
    tables,
    sa.Column("sink", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
)


def _rollup_table(name: str, *more: sa.Column[float]) -> sa.Table:
    """Runs by result and seconds of completed runs, per pipeline and hour or day (`start`: epoch seconds, UTC)."""
    return sa.Table(
        f"{PREFIX}{name}",
        tables,
        sa.Column("pipeline_id", sa.Integer, primary_key=True),
        sa.Column("start", sa.BigInteger, primary_key=True),
        sa.Column("good", sa.Integer, nullable=False),
        sa.Column("bad", sa.Integer, nullable=False),
        sa.Column("timed", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        *more,
        sqlite_with_rowid=False,
    )


# `median`: of the durations of its completed runs, in seconds; null for hours before revision 0008.
hourly_rollups = _rollup_table("hourly_rollups", sa.Column("median", sa.Float))
daily_rollups = _rollup_table("daily_rollups")

# Daily increases of some counters (`start`: epoch seconds, UTC), and how often they moved: for the weekly report.
daily_counts = sa.Table(
    f"{PREFIX}daily_counts",
    tables,
    sa.Column("start", sa.BigInteger, primary_key=True),
    *_series_key(),
    sa.Column("amount", sa.Float, nullable=False),
    sa.Column("seen", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)

# The journal of a backfill, kept until `serve` starts: how far a series moved in the step before each slot of the grid.
backfill_series = sa.Table(
    f"{PREFIX}backfill_series",
    tables,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in SERIES_KEY),
    sa.UniqueConstraint(*SERIES_KEY, name=f"{PREFIX}backfill_series_by_key"),
)
backfill_moves = sa.Table(
    f"{PREFIX}backfill_moves",
    tables,
    sa.Column("slot", sa.BigInteger, primary_key=True),
    sa.Column("series_id", sa.Integer, primary_key=True),
    sa.Column("amount", sa.Float, nullable=False),
    sa.Column("seen", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)
