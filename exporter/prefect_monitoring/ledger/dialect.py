"""What the ledger needs of a database that SQLAlchemy Core does not say the same way to each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from prefect_monitoring.ledger.errors import LedgerError

Merge = Callable[[sa.ColumnElement[Any], sa.ColumnElement[Any]], sa.ColumnElement[Any]]
"""From the stored and the new value of a column: the one to keep."""


class Database(Protocol):
    """A ledger's database, claimed by this process."""

    @property
    def name(self) -> str:
        """What messages call it; never with a password."""

    @property
    def engine(self) -> sa.Engine: ...

    def check(self, connection: sa.Connection) -> None:
        """LedgerError unless the database is intact and has room for a ledger, or has one."""

    def explain(self, error: DatabaseError) -> LedgerError:
        """A database error as a message that says what to do."""

    def bytes_used(self) -> int: ...

    def close(self) -> None:
        """Gives up connections and the claim."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind of database.

    `claim` opens the one behind a URL; LedgerInUseError when another process has it. `join` opens an existing one for
    single transactions beside the process that has it. `read` opens an existing one, or a copy of it, for reading: it
    delays nobody, and the copy may lie on a disk that cannot be written. `upsert` is an insert which merges columns, by
    name, where the primary key is there already. `insert_all` executes an insert for each of many rows, which name the
    same columns.
    """

    claim: Callable[[str], Database]
    join: Callable[[str], Database]
    upsert: Callable[[sa.Table, Mapping[str, Merge]], sa.Insert]
    insert_all: Callable[[sa.Connection, sa.Insert, Sequence[Mapping[str, Any]]], None]
    read: Callable[[str], Database]
