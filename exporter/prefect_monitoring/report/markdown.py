"""The report as Markdown (GitHub's, for its tables)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from prefect_monitoring.report.document import Column, Document, Table

_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_SPECIAL: Final = re.compile(r"[\\`*_\[\]|~#!$]")


def render(document: Document) -> str:
    """The document, ending with a newline; names and messages are escaped."""
    parts = [f"# {escape(document.title)}", escape(document.period)]
    parts.append("\n".join(f"- **{escape(line.label)}:** {escape(line.text)}" for line in document.lines))
    for table in document.tables:
        parts += [f"## {escape(table.title)}", *_table(table)]
    parts += [f"_{escape(note)}_" for note in document.notes]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text without markup: no HTML, emphasis, code, table, link, heading, mention or formula."""
    line = " ".join(text.split())
    line = "".join(_ENTITIES.get(character, character) for character in line)
    line = _SPECIAL.sub(r"\\\g<0>", line)
    return line.replace("@", "@\u200b").replace("://", "\\://").replace("www.", "www\\.")


def _table(table: Table) -> Iterator[str]:
    if not table.rows:
        yield escape(table.nothing)
        return
    yield escape(table.note)
    rows = [[escape(column.title) for column in table.columns], [_rule(column) for column in table.columns]]
    rows += [[escape(cell.text) for cell in row] for row in table.rows]
    yield "\n".join(f"| {' | '.join(row)} |" for row in rows)
    if table.more:
        yield f"… and {table.more:,} more."


def _rule(column: Column) -> str:
    return "---:" if column.is_number else "---"
