"""What the ledger needs from a database and SQLAlchemy Core does not abstract."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from prefect_monitoring.ledger.errors import LedgerError

Merge = Callable[[sa.ColumnElement[Any], sa.ColumnElement[Any]], sa.ColumnElement[Any]]
"""Gives the value to keep, from the stored and the new value of a column."""


class Database(Protocol):
    """A ledger's database, claimed by this process."""

    @property
    def name(self) -> str:
        """The name in messages, without a password."""

    @property
    def engine(self) -> sa.Engine: ...

    def check(self, connection: sa.Connection) -> None:
        """Raises LedgerError unless the database is intact and is empty or has a ledger."""

    def explain(self, error: DatabaseError) -> LedgerError:
        """Turns a database error into a message that says what to do."""

    def bytes_used(self) -> int: ...

    def close(self) -> None:
        """Closes connections and releases the claim."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind of database.

    `claim` opens the database of a URL; LedgerInUseError when another process has it. `join` opens an existing one for
    single transactions beside the process that has it. `read` opens an existing one, or a copy of it, for reading: it
    blocks nobody, and the copy may be on a read-only disk. `upsert` is an insert that merges columns, by name, where
    the primary key exists. `insert_all` executes an insert for many rows with the same columns.
    """

    claim: Callable[[str], Database]
    join: Callable[[str], Database]
    upsert: Callable[[sa.Table, Mapping[str, Merge]], sa.Insert]
    insert_all: Callable[[sa.Connection, sa.Insert, Sequence[Mapping[str, Any]]], None]
    read: Callable[[str], Database]
