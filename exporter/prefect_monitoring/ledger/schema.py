"""The ledger's tables."""

from __future__ import annotations

import sqlalchemy as sa

tables = sa.MetaData()


_SERIES_KEY = ("metric", "flow", "deployment", "detail", "task", "labels")


def _series_key() -> list[sa.Column[str]]:
    """What tells one series from another; `labels` are the user's own, as JSON."""
    return [sa.Column(name, sa.Text, primary_key=True) for name in _SERIES_KEY]


meta = sa.Table(
    "meta",
    tables,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
# Names outlive the objects: a run keeps the id of a deployment that is gone.
flows = sa.Table(
    "flows",
    tables,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("gone", sa.Boolean, nullable=False),
)
deployments = sa.Table(
    "deployments",
    tables,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("flow_id", sa.Text, nullable=False),
    sa.Column("work_pool", sa.Text, nullable=False),
    sa.Column("work_queue", sa.Text, nullable=False),
    sa.Column("tags", sa.JSON, nullable=False),
    sa.Column("gone", sa.Boolean, nullable=False),
)
# The long memory hangs on a pair's number, so that a rename keeps it; series are keyed by names.
pairs = sa.Table(
    "pairs",
    tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("flow", sa.Text, nullable=False),
    sa.Column("deployment", sa.Text, nullable=False),
    sa.UniqueConstraint("flow", "deployment"),
)
runs = sa.Table(
    "runs",
    tables,
    sa.Column("run_id", sa.LargeBinary, primary_key=True),
    sa.Column("pair_id", sa.Integer),
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
    sa.Index("runs_by_pair", "pair_id", "state_type", "ended_at"),
    sa.Index("runs_by_end", "ended_at", "state_type", "gone"),
)
counted = sa.Table(
    "counted",
    tables,
    sa.Column("run_id", sa.LargeBinary, primary_key=True),
    sa.Column("state_id", sa.LargeBinary, primary_key=True),
    sqlite_with_rowid=False,
)
# A counter has a value; a histogram has its sum as value and its observations by bucket (the last is +Inf).
series = sa.Table(
    "series",
    tables,
    *_series_key(),
    sa.Column("value", sa.Float, nullable=False),
    sa.Column("buckets", sa.JSON, nullable=False),
    sa.Column("released", sa.Boolean, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)
last_outcomes = sa.Table(
    "last_outcomes",
    tables,
    sa.Column("pair_id", sa.Integer, primary_key=True),
    sa.Column("state", sa.Text, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)

# Finished task runs: what is counted, and what shares of a flow run's time its tasks had.
task_runs = sa.Table(
    "task_runs",
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
    sa.Index("task_runs_by_flow_run", "flow_run_id"),
    sa.Index("task_runs_by_end", "ended_at", "kind", "gone"),
)
# Log lines that are counted, as long as they can be read again.
log_lines = sa.Table(
    "log_lines",
    tables,
    sa.Column("log_id", sa.LargeBinary, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)
last_values = sa.Table(
    "last_values",
    tables,
    *_series_key(),
    sa.Column("value", sa.Float, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)
# When a deployment's schedules last expected a start and expect the next, which is unmet, since when it pauses, and
# when they were last switched off.
dues = sa.Table(
    "dues",
    tables,
    sa.Column("deployment_id", sa.Text, primary_key=True),
    sa.Column("last_at", sa.Float),
    sa.Column("next_at", sa.Float),
    sa.Column("unmet_at", sa.Float),
    sa.Column("paused_at", sa.Float),
    sa.Column("called_off_at", sa.Float),
    sqlite_with_rowid=False,
)


def _tally_table(name: str) -> sa.Table:
    """Runs by result and seconds of completed runs, per pair and hour or day (`start`: epoch seconds, UTC)."""
    return sa.Table(
        name,
        tables,
        sa.Column("pair_id", sa.Integer, primary_key=True),
        sa.Column("start", sa.Integer, primary_key=True),
        sa.Column("good", sa.Integer, nullable=False),
        sa.Column("bad", sa.Integer, nullable=False),
        sa.Column("timed", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sqlite_with_rowid=False,
    )


hourly = _tally_table("hourly")
daily = _tally_table("daily")

# What a backfill writes down, until `serve` begins: how far a series moved in the time before each slot of the grid.
history_series = sa.Table(
    "history_series",
    tables,
    sa.Column("id", sa.Integer, primary_key=True),
    *(sa.Column(name, sa.Text, nullable=False) for name in _SERIES_KEY),
    sa.UniqueConstraint(*_SERIES_KEY),
)
history = sa.Table(
    "history",
    tables,
    sa.Column("slot", sa.Integer, primary_key=True),
    sa.Column("series_id", sa.Integer, primary_key=True),
    sa.Column("amount", sa.Float, nullable=False),
    sa.Column("seen", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)
