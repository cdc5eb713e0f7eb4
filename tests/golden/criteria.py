"""The filters of the Prefect API over rows of JSON, as far as the exporter uses them; others raise an error."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

Row = Mapping[str, Any]
_PAGE = {"limit", "offset", "sort"}


class UnknownCriterionError(Exception):
    """A filter that the stub does not support."""


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "any_": lambda value, wanted: value in wanted,
    "not_any_": lambda value, unwanted: value not in unwanted,
    "all_": lambda value, wanted: set(wanted) <= set(value),
    "is_null_": lambda value, is_null: (value is None) == is_null,
    "exists_": lambda value, exists: bool(value) == exists,
    "after_": lambda value, low: value is not None and _instant(value) >= _instant(low),
    "before_": lambda value, high: value is not None and _instant(value) <= _instant(high),
    "query": lambda value, query: any(term.lower() in value.lower() for term in re.findall(r'"([^"]+)"', query)),
}


def chosen(rows: Iterable[Row], kind: str, body: Mapping[str, Any]) -> list[Row]:
    """The rows of a kind that match the filters of a request's body, in its order."""
    filters = {name: criteria for name, criteria in body.items() if name not in _PAGE and criteria is not None}
    if not filters.keys() <= {kind}:
        raise UnknownCriterionError(f"{kind} by {sorted(filters)}")
    found = [row for row in rows if _matches(row, filters.get(kind, {}))]
    return _sorted(found, body.get("sort"))


def _matches(row: Row, criteria: Mapping[str, Any]) -> bool:
    return all(
        _satisfies(row, column, one)
        for column, one in criteria.items()
        if not (column == "operator" and one == "and_") and one is not None
    )


def _satisfies(row: Row, column: str, criterion: Mapping[str, Any]) -> bool:
    if column == "text":  # full-text search of log lines
        value = row["message"]
    elif column in row or f"_{column}" in row:
        value = row.get(column, row.get(f"_{column}"))
    else:
        raise UnknownCriterionError(f"no column {column}")
    if isinstance(value, Mapping):
        return _matches(value, criterion)
    for operator, operand in criterion.items():
        if operator not in _OPERATORS:
            raise UnknownCriterionError(f"{column}: {operator}")
        if not _OPERATORS[operator](value, operand):
            return False
    return True


def _sorted(rows: list[Row], sort: str | None) -> list[Row]:
    if sort is None:
        return rows
    column, _, direction = sort.lower().rpartition("_")
    # Rows without a value sort last in both directions.
    with_value = [row for row in rows if row[column] is not None]
    without = [row for row in rows if row[column] is None]
    return sorted(with_value, key=lambda row: str(row[column]), reverse=direction == "desc") + without


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
