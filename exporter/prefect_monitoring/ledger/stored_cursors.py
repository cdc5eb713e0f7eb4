"""Cursors as the ledger stores them: JSON, whose field names stay as they are when those of `Cursor` change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from prefect_monitoring.model.cursor import Cursor

_STORED_NAMES: Final[Mapping[str, str]] = {
    "baseline_complete": "level_complete",
    "window_newest": "walk_newest",
    "page_before": "walk_before",
    "page_offset": "walk_offset",
    "earliest_left": "walk_left",
}
_NAMES: Final = {stored: name for name, stored in _STORED_NAMES.items()}


def as_json(cursors: Mapping[str, Cursor]) -> dict[str, dict[str, Any]]:
    return {
        source: {_STORED_NAMES.get(name, name): value for name, value in asdict(cursor).items()}
        for source, cursor in cursors.items()
    }


def from_json(stored: Mapping[str, Mapping[str, Any]]) -> dict[str, Cursor]:
    return {
        source: Cursor(**{_NAMES.get(name, name): value for name, value in fields.items()})
        for source, fields in stored.items()
    }
