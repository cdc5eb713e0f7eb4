"""Counts the statements that the ledger executes, and the rows that it writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

WRITING = ("INSERT", "UPDATE", "DELETE")


@dataclass
class Statements:
    """`executed`: statements by text; `rows`: the number of rows inserted, updated or deleted."""

    executed: Counter[str] = field(default_factory=Counter)
    parameters: dict[str, Any] = field(default_factory=dict)
    rows: int = 0

    @property
    def count(self) -> int:
        return self.executed.total()

    def note(self, _connection: object, cursor: Any, text: str, parameters: Any, *_: object) -> None:
        self.executed[text] += 1
        self.parameters[text] = parameters
        if text.startswith(WRITING):
            self.rows += max(cursor.rowcount, 0)


@contextmanager
def counted(engine: sa.Engine | type[sa.Engine] = sa.Engine) -> Iterator[Statements]:
    """Counts the statements of the block, on one engine or on all."""
    statements = Statements()
    sa.event.listen(engine, "after_cursor_execute", statements.note)
    try:
        yield statements
    finally:
        sa.event.remove(engine, "after_cursor_execute", statements.note)
