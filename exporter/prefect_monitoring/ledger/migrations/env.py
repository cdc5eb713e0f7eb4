"""What Alembic runs to migrate: on the connection that it was given, within the transaction that is open there."""

from __future__ import annotations

from alembic import context

from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.migrations import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.tables,
    version_table=VERSION_TABLE,
)
context.run_migrations()
