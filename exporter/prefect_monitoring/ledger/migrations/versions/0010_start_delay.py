"""How late each flow run started, for quantiles."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("prefect_monitoring_flow_runs", sa.Column("start_delay", sa.Float))
