"""Access to a ledger that another process serves from, in single transactions: reading, and stopping actions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from prefect_monitoring.ledger import action_rows
from prefect_monitoring.ledger.dialect import Database
from prefect_monitoring.ledger.dialects import join, read
from prefect_monitoring.ledger.errors import LedgerError
from prefect_monitoring.ledger.opening import is_current
from prefect_monitoring.model.actions import Acting, Action


def actions_since(url: str, since: float) -> tuple[Acting, list[Action]]:
    """Whether actions are allowed, and those decided since then, the oldest first. Raises LedgerError."""
    with _transaction(url) as connection:
        return action_rows.read_acting(connection), action_rows.actions_since(connection, since)


def change_acting(url: str, change: Callable[[Acting], Acting]) -> Acting:
    """Applies `change` to whether actions are allowed; the exporter sees it at its next poll. Raises LedgerError."""
    with _transaction(url) as connection:
        return action_rows.change_acting(connection, change)


@contextmanager
def reading(url: str) -> Iterator[sa.Connection]:
    """A read transaction on the ledger or a copy of it; it blocks nobody. Raises LedgerError."""
    with _connected(read(url)) as connection:
        yield connection


@contextmanager
def _transaction(url: str) -> Iterator[sa.Connection]:
    with _connected(join(url)) as connection:
        yield connection


@contextmanager
def _connected(database: Database) -> Iterator[sa.Connection]:
    try:
        with database.engine.begin() as connection:
            database.check(connection)
            if not is_current(connection, database.name):
                raise LedgerError(f"The ledger {database.name} has older tables: start this release's `serve` first")
            yield connection
    except DatabaseError as error:
        raise database.explain(error) from error
    finally:
        database.close()
