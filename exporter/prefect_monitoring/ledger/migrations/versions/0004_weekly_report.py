"""What the weekly report compares: what failure messages have in common, and counters by day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("prefect_monitoring_flow_runs", sa.Column("pattern", sa.Text))
    op.create_table(
        "prefect_monitoring_daily_counts",
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("metric", sa.Text, nullable=False),
        sa.Column("flow", sa.Text, nullable=False),
        sa.Column("deployment", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("amount", sa.Float, nullable=False),
        sa.Column("seen", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("start", "metric", "flow", "deployment", "detail", "task", "labels"),
        sqlite_with_rowid=False,
    )
