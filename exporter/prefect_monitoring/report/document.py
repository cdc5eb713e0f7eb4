"""The report as text, the same for every format: five lines, then tables, without markup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tone = Literal["", "bad", "good", "dim"]


@dataclass(frozen=True, slots=True)
class Line:
    """One of the lines at the top: its subject and its text."""

    label: str
    text: str
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Column:
    """`is_number`: aligned to the right, and never broken."""

    title: str
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """`nothing` stands for a table without rows; `more` rows were left out. `is_list`: complete, not for messages."""

    title: str
    note: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    nothing: str
    more: int = 0
    is_list: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """`period` is what the report covers, in words."""

    title: str
    period: str
    lines: tuple[Line, ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...]
