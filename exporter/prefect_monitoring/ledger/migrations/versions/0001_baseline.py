"""The tables of the first release."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _create_names()
    _create_runs()
    _create_counts()
    _create_rollups()
    _create_backfill()


def _create_names() -> None:
    op.create_table(
        "prefect_monitoring_meta",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "prefect_monitoring_flows",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("gone_at", sa.Float),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "prefect_monitoring_deployments",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("flow_id", sa.Text, nullable=False),
        sa.Column("work_pool", sa.Text, nullable=False),
        sa.Column("work_queue", sa.Text, nullable=False),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("gone_at", sa.Float),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "prefect_monitoring_schedules",
        sa.Column("deployment_id", sa.Text, nullable=False),
        sa.Column("last_at", sa.Float),
        sa.Column("next_at", sa.Float),
        sa.Column("unmet_at", sa.Float),
        sa.Column("paused_at", sa.Float),
        sa.Column("called_off_at", sa.Float),
        sa.PrimaryKeyConstraint("deployment_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "prefect_monitoring_pipelines",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("flow", sa.Text, nullable=False),
        sa.Column("deployment", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("flow", "deployment", name="prefect_monitoring_pipelines_by_name"),
    )


def _create_runs() -> None:
    op.create_table(
        "prefect_monitoring_flow_runs",
        sa.Column("run_id", sa.LargeBinary, nullable=False),
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
        sa.Column("gone", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_index(
        "prefect_monitoring_flow_runs_by_end", "prefect_monitoring_flow_runs", ["ended_at", "state_type", "gone"]
    )
    op.create_index(
        "prefect_monitoring_flow_runs_by_pipeline",
        "prefect_monitoring_flow_runs",
        ["pipeline_id", "state_type", "ended_at"],
    )
    op.create_table(
        "prefect_monitoring_counted_states",
        sa.Column("run_id", sa.LargeBinary, nullable=False),
        sa.Column("state_id", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "state_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "prefect_monitoring_task_runs",
        sa.Column("run_id", sa.LargeBinary, nullable=False),
        sa.Column("flow_run_id", sa.LargeBinary),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("state_id", sa.LargeBinary, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state_at", sa.Float, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("ended_at", sa.Float, nullable=False),
        sa.Column("run_time", sa.Float, nullable=False),
        sa.Column("gone", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_index("prefect_monitoring_task_runs_by_end", "prefect_monitoring_task_runs", ["ended_at", "kind", "gone"])
    op.create_index("prefect_monitoring_task_runs_by_flow_run", "prefect_monitoring_task_runs", ["flow_run_id"])
    op.create_table(
        "prefect_monitoring_log_lines",
        sa.Column("log_id", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("log_id"),
        sqlite_with_rowid=False,
    )


def _create_counts() -> None:
    op.create_table(
        "prefect_monitoring_series",
        sa.Column("metric", sa.Text, nullable=False),
        sa.Column("flow", sa.Text, nullable=False),
        sa.Column("deployment", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("value", sa.Float, nullable=False),
        sa.Column("buckets", sa.JSON, nullable=False),
        sa.Column("released", sa.Boolean, nullable=False),
        sa.Column("updated_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("metric", "flow", "deployment", "detail", "task", "labels"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "prefect_monitoring_last_values",
        sa.Column("metric", sa.Text, nullable=False),
        sa.Column("flow", sa.Text, nullable=False),
        sa.Column("deployment", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("value", sa.Float, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("metric", "flow", "deployment", "detail", "task", "labels"),
        sqlite_with_rowid=False,
    )


def _create_rollups() -> None:
    op.create_table(
        "prefect_monitoring_last_outcomes",
        sa.Column("pipeline_id", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("pipeline_id", "state"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "prefect_monitoring_hourly_rollups",
        sa.Column("pipeline_id", sa.Integer, nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("good", sa.Integer, nullable=False),
        sa.Column("bad", sa.Integer, nullable=False),
        sa.Column("timed", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("pipeline_id", "start"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "prefect_monitoring_daily_rollups",
        sa.Column("pipeline_id", sa.Integer, nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("good", sa.Integer, nullable=False),
        sa.Column("bad", sa.Integer, nullable=False),
        sa.Column("timed", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("pipeline_id", "start"),
        sqlite_with_rowid=False,
    )


def _create_backfill() -> None:
    op.create_table(
        "prefect_monitoring_backfill_series",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("metric", sa.Text, nullable=False),
        sa.Column("flow", sa.Text, nullable=False),
        sa.Column("deployment", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint(
            "metric", "flow", "deployment", "detail", "task", "labels", name="prefect_monitoring_backfill_series_by_key"
        ),
    )
    op.create_table(
        "prefect_monitoring_backfill_moves",
        sa.Column("slot", sa.BigInteger, nullable=False),
        sa.Column("series_id", sa.Integer, nullable=False),
        sa.Column("amount", sa.Float, nullable=False),
        sa.Column("seen", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("slot", "series_id"),
        sqlite_with_rowid=False,
    )
