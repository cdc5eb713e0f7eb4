"""Records that could not be read, and when each is tried again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "prefect_monitoring_unreadable",
        sa.Column("cursor", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("next_at", sa.Float, nullable=False),
        sa.Column("counted", sa.Boolean, nullable=False),
        sa.Column("after", sa.Float),
        sa.PrimaryKeyConstraint("cursor", "id"),
        sqlite_with_rowid=False,
    )
