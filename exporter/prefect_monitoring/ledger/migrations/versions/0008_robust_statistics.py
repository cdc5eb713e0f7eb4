"""When runs failed, also those that were retried since, and how long half the runs of an hour took."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("prefect_monitoring_counted_states", sa.Column("failed_at", sa.Float))
    op.add_column("prefect_monitoring_hourly_rollups", sa.Column("median", sa.Float))
