"""Brings the ledger's tables to the newest revision, in the caller's transaction.

Each file of `versions/` is one step, named by its revision, a number of four digits: `0002_what_it_does.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa

from prefect_monitoring.ledger.schema import PREFIX

# Prefect's own database has an `alembic_version` of Prefect's.
VERSION_TABLE: Final = f"{PREFIX}version"
FOLDER: Final = Path(__file__).parent


def revisions() -> list[str]:
    """Every revision that this release knows, the oldest first."""
    return sorted(file.name[:4] for file in (FOLDER / "versions").glob("[0-9]*.py"))


def current_revision(connection: sa.Connection) -> str | None:
    """The revision of the ledger in this database; None where there is none yet."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    version = sa.table(VERSION_TABLE, sa.column("version_num", sa.Text))
    return connection.scalar(sa.select(version.c.version_num))


def migrate(connection: sa.Connection) -> None:
    """Takes the steps that are missing, or creates the tables. Nothing is committed."""
    # Needed only here, and its import takes as long as opening a ledger that is up to date does ten times.
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, "head")
