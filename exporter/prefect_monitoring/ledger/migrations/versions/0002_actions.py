"""What the exporter does to Prefect."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "prefect_monitoring_actions",
        sa.Column("id", sa.Text, nullable=False),
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
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index("prefect_monitoring_actions_by_run", "prefect_monitoring_actions", ["run_id", "state_id"])
    op.create_index("prefect_monitoring_actions_by_decision", "prefect_monitoring_actions", ["decided_at"])
    op.create_index("prefect_monitoring_actions_by_result", "prefect_monitoring_actions", ["result", "hold"])
