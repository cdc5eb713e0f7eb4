"""Reads log lines from the Prefect API: only those with metrics or failures that a retry follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from prefect_monitoring.analysis.metric_lines import FAILURE_PHRASE, MARK
from prefect_monitoring.model.records import LogLine
from prefect_monitoring.prefect_api.capabilities import Capability
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.pagination import (
    Paginator,
    Row,
    decode,
    identifier,
    instant,
    iso,
    last_instant,
    text,
)
from prefect_monitoring.prefect_api.unreadable import is_unlisted

# Terms are ORed; the server also matches logger names and ignores case, so that each hit is checked again.
_QUERY: Final = f'"{MARK}" "{FAILURE_PHRASE}"'
_CANNOT_SEARCH: Final = frozenset({"422", "500"})
SEARCH_TRIES: Final = 2  # a temporary 500 must not disable the search, which would read all lines for an hour


@dataclass(frozen=True, slots=True)
class LogPage:
    """Lines, oldest first, from `rows` rows, the last of which was written at `last`.

    `complete`: nothing newer is left in the window.
    """

    lines: tuple[LogLine, ...]
    rows: int
    last: float | None
    complete: bool


class LogApi:
    """Reads of log lines. Every method raises ApiError when there is no usable answer.

    `can_search`: whether the server can search text; otherwise all lines are read and searched here.
    """

    def __init__(self, paginator: Paginator) -> None:
        self._paginator = paginator
        self._search = Capability(
            "The server cannot search its logs (on SQLite that takes 3.44): all of them are read instead"
        )

    @property
    def can_search(self) -> bool:
        return self._search.is_there

    async def page(self, after: float, before: float | None, offset: int) -> LogPage:
        """Lines written within [after, before], oldest first: the page at `offset`."""
        written = {"after_": iso(after)} | ({"before_": iso(before)} if before is not None else {})
        criteria: dict[str, Any] = {"timestamp": written}
        if not self.can_search:
            return await self._page(criteria, after, offset)
        for _ in range(SEARCH_TRIES):
            try:
                return await self._page({**criteria, "text": {"query": _QUERY}}, after, offset)
            except ApiError as error:
                if error.code not in _CANNOT_SEARCH:
                    raise
        # Before the refusal is recorded: this raises if the endpoint is broken, rather than without search.
        page = await self._page(criteria, after, offset)
        self._search.refused()
        return page

    async def _page(self, criteria: Mapping[str, Any], after: float, offset: int) -> LogPage:
        rows, limit = await self._paginator.page("/logs/filter", {"logs": criteria, "sort": "TIMESTAMP_ASC"}, offset)
        hits = [row for row in rows if _is_wanted(row)]
        lines = tuple(decode(_log_line, hits, after=after))
        return LogPage(lines, len(rows), last_instant(rows, "timestamp"), len(rows) < limit)


def _is_wanted(row: Row) -> bool:
    message = str(row.get("message"))
    return MARK in message or FAILURE_PHRASE in message or is_unlisted(row["id"])


def _log_line(row: Row) -> LogLine:
    return LogLine(
        id=identifier(row["id"]),
        at=instant(row["timestamp"]),
        message=text(row["message"]),
        flow_run_id=row.get("flow_run_id"),
        task_run_id=row.get("task_run_id"),
    )
