"""When a run first started, and whether its failure still has to be shown: which failures are unresolved."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("prefect_monitoring_flow_runs", sa.Column("started_at", sa.Float))
    op.add_column("prefect_monitoring_flow_runs", sa.Column("held", sa.Boolean))
