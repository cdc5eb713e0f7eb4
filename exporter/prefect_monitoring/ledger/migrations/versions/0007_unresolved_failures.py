"""Which failures are unresolved: when runs first started, which failures have to be shown. When pauses ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("prefect_monitoring_flow_runs", sa.Column("started_at", sa.Float))
    op.add_column("prefect_monitoring_flow_runs", sa.Column("held", sa.Boolean))
    op.add_column("prefect_monitoring_schedules", sa.Column("resumed_at", sa.Float))
