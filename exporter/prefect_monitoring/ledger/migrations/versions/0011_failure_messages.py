"""The first line of each failure's message."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("prefect_monitoring_flow_runs", sa.Column("message", sa.Text))
