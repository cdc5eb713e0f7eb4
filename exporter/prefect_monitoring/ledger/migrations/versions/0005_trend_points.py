"""Points of trend stores that are counted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "prefect_monitoring_trend_points",
        sa.Column("metric", sa.Text, nullable=False),
        sa.Column("point", sa.LargeBinary, nullable=False),
        sa.Column("gone_at", sa.Float),
        sa.PrimaryKeyConstraint("metric", "point"),
        sqlite_with_rowid=False,
    )
