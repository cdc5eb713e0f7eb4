"""Reads lists of the Prefect API, page by page, and decodes their rows."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeGuard, TypeVar
from uuid import UUID

from prefect_monitoring.analysis.failure_causes import ends_of
from prefect_monitoring.model.instants import parse_time
from prefect_monitoring.model.records import TERMINAL_TYPES
from prefect_monitoring.prefect_api.client import PrefectHttp
from prefect_monitoring.prefect_api.errors import ApiError, TooLargeError
from prefect_monitoring.prefect_api.partial_pages import may_be_one_row, read_in_parts
from prefect_monitoring.prefect_api.unreadable import UnreadableRow, collected, is_nameless, is_unlisted

log = logging.getLogger(__name__)

MAX_PAGE: Final = 200
# The target size of a page; decoded, it takes several times as much memory.
TARGET_BYTES: Final = 4 * 2**20
MAX_REREADS: Final = 3
# If more than half of at least this many rows cannot be read, the server is another product or version.
MANY_ROWS: Final = 10

Record = TypeVar("Record")
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Page(Generic[Record]):
    """One page of runs, newest end first. `complete`: nothing older is left in the window.

    `unreadable`: how many further rows could not be read.
    """

    runs: tuple[Record, ...]
    complete: bool
    unreadable: int = 0


class Paginator:
    """Reads lists, as rows of decoded JSON. Every method raises ApiError when there is no usable answer.

    The server's page limit (PREFECT_API_DEFAULT_LIMIT, 200) is learned once, from its refusal of a larger one.
    """

    def __init__(self, http: PrefectHttp) -> None:
        self.http = http
        self._page_limit = MAX_PAGE
        self._small_limits: dict[str, int] = {}  # where rows are large
        self._left_out: set[str] = set()

    async def by_id(
        self, endpoint: str, kind: str, ids: Collection[str] | None, *, sort: str = "NAME_ASC"
    ) -> list[Row]:
        """The objects of `ids` that exist, or all; `sort` must be by a unique field."""
        if ids is None:
            return await self.all(endpoint, {"sort": sort})
        return await self.among(endpoint, kind, "id", ids, sort=sort)

    async def among(
        self, endpoint: str, kind: str, column: str, values: Collection[str], *, sort: str, **others: object
    ) -> list[Row]:
        """The objects whose `column` is among `values`, requested a page at a time; `others` are further filters.

        Raises ApiError for rows with other ids than requested, because it would be unknown which objects are gone.
        """
        rows: list[Row] = []
        wanted = sorted(values)
        for start in range(0, len(wanted), MAX_PAGE):
            chosen = {column: {"any_": wanted[start : start + MAX_PAGE]}, **others}
            rows += await self.all(endpoint, {kind: chosen, "sort": sort})
        named = {row["id"] for row in rows if not is_nameless(row["id"])}
        if column == "id" and not named <= set(wanted):
            raise ApiError(f"{endpoint} answered other rows than those that were asked for", "invalid_json")
        return rows

    async def all(
        self,
        endpoint: str,
        criteria: Mapping[str, object],
        names: Mapping[str, str] | None = None,
        *,
        most: int | None = None,
    ) -> list[Row]:
        """Every row, once, or some more than `most`; `names` as for `PrefectHttp.request`.

        Pages overlap by one row: if it has moved, rows were added or removed and everything is read again. After
        `MAX_REREADS`, the last reading is used anyway.
        """
        found: dict[str, Row] = {}
        for rereads_left in reversed(range(MAX_REREADS)):
            offset, last = 0, None
            while True:
                rows, limit = await self.page(endpoint, criteria, offset, names)
                shifted = last is not None and (not rows or rows[0]["id"] != last)
                found.update((row["id"], _slim(row)) for row in rows)
                if most is not None and len(found) > most:
                    return list(found.values())
                if len(rows) < limit or (shifted and rereads_left):
                    break
                overlaps = limit > 1 and not is_unlisted(rows[-1]["id"])
                last = rows[-1]["id"] if overlaps else None
                offset += len(rows) - overlaps
            if not shifted:
                break
        return list(found.values())

    async def count(self, endpoint: str, criteria: Mapping[str, object]) -> int:
        """How many objects match, by an endpoint that ends in /count."""
        answer = await self.http.request(endpoint, json=criteria)
        if not isinstance(answer, int):
            raise ApiError(f"{endpoint} answered something that is not a number", "invalid_json")
        return answer

    def _learn(self, endpoint: str, rows: int, size: int) -> None:
        """Adjusts the number of rows to request, after an answer of `rows` in `size` bytes; at most doubles it."""
        if rows:
            fitting = max(TARGET_BYTES * rows // size, 1)
            self._small_limits[endpoint] = min(fitting, 2 * self._small_limits.get(endpoint, MAX_PAGE), MAX_PAGE)

    async def page(
        self,
        endpoint: str,
        criteria: Mapping[str, object],
        offset: int,
        names: Mapping[str, str] | None = None,
        *,
        at_most: int = MAX_PAGE,
    ) -> tuple[list[Row], int]:
        """At most `at_most` rows, and the limit of the request, which is lower after large answers.

        A row that is too large by itself counts as unreadable. A server with a lower page limit says so in its 422.
        """
        limit = min(self._page_limit, self._small_limits.get(endpoint, MAX_PAGE), at_most)

        async def ask(start: int, most: int) -> tuple[list[Any], int]:
            body = {**criteria, "limit": most, "offset": start}
            rows, size = await self.http.sized(endpoint, json=body, names=names)
            if not isinstance(rows, list):
                raise ApiError(f"{endpoint} answered something that is not a list", "invalid_json")
            return rows, size

        try:
            rows, size = await ask(offset, limit)
        except TooLargeError as fault:
            if limit == 1:
                level = logging.DEBUG if endpoint in self._left_out else logging.WARNING
                self._left_out.add(endpoint)
                log.log(level, "A row is left out: %s for one", fault)
                return rows_with_ids([{}], offset, whole=False), limit
            self._small_limits[endpoint] = limit // 4 or 1
            return await self.page(endpoint, criteria, offset, names, at_most=at_most)
        except ApiError as error:
            if may_be_one_row(error) and collected() is not None:
                parts, asked = await read_in_parts(ask, offset, limit, error)
                return rows_with_ids(parts, offset), asked
            allowed = _allowed_limit(error)
            if allowed is None or allowed >= limit:
                raise
            self._page_limit = allowed
            return await self.page(endpoint, criteria, offset, names, at_most=at_most)
        self._learn(endpoint, len(rows), size)
        return rows_with_ids(rows, offset), limit


# Fields of runs and deployments that are not needed, up to half a megabyte each.
_BULKY: Final = ("parameters", "parameter_openapi_schema", "job_variables", "context", "pull_steps", "task_inputs")


def _slim(row: Row) -> Row:
    """A row without large fields that are not needed, because a list may be long."""
    slim = {key: value for key, value in row.items() if key not in _BULKY}
    state = slim.get("state")
    if isinstance(state, Mapping) and isinstance(state.get("message"), str):
        slim["state"] = {**state, "message": ends_of(state["message"]), "data": None}
    return slim


def rows_with_ids(rows: Sequence[object], offset: int, *, whole: bool = True) -> list[Row]:
    """Rows of a list; a row without an id gets its place in the list as one, which no record accepts.

    Raises ApiError when no row of a `whole` list has an id.
    """
    if whole and rows and not any(map(_has_id, rows)):
        raise ApiError("the API answered rows of another shape than Prefect's", "invalid_json")
    return [row if _has_id(row) else {"id": f"row {offset + place}"} for place, row in enumerate(rows)]


def _has_id(row: object) -> TypeGuard[Row]:
    return isinstance(row, Mapping) and isinstance(row.get("id"), str)


def _allowed_limit(error: ApiError) -> int | None:
    found = re.search(rb"(?:less than or equal to|must be at most|maximum of)\s+(\d+)", error.detail)
    return max(int(found[1]), 1) if found and error.code == "422" else None


def decode(
    decoder: Callable[[Mapping[str, Any]], Record], rows: Iterable[Mapping[str, Any]], *, after: float | None = None
) -> list[Record]:
    """Records from rows, without those that cannot be read, which are noted with `after`.

    Raises ApiError for them where rows are not set aside, and where most of many rows cannot be read.
    """
    records: list[Record] = []
    unreadable: list[UnreadableRow] = []
    for row in rows:
        try:
            records.append(decoder(row))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            hidden = is_unlisted(row["id"])
            reason = "the server answers 500 for it" if hidden else f"{type(error).__name__}: {error}"
            unreadable.append(UnreadableRow(str(row["id"]), reason, after))
    noted = collected()
    malformed = sum(not is_unlisted(row.id) for row in unreadable)
    is_another_server = len(records) + malformed >= MANY_ROWS and malformed > len(records)
    if unreadable and (noted is None or is_another_server):
        reason = unreadable[0].reason
        raise ApiError(f"the API answered rows of another shape than Prefect's ({reason})", "invalid_json")
    if noted is not None:
        noted.update({row.id: row for row in unreadable})
    return records


def decode_all(decoder: Callable[[Mapping[str, Any]], Record], rows: Iterable[Mapping[str, Any]]) -> list[Record]:
    """Records from rows that are needed together. ApiError if one cannot be read."""
    try:
        return [decoder(row) for row in rows]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ApiError(f"the API answered rows of another shape than Prefect's ({what})", "invalid_json") from error


def identifier(text: object) -> str:
    """A UUID in Prefect's format. Raises ValueError for anything else."""
    return str(UUID(str(text)))


def text(value: object) -> str:
    """A required text. Raises TypeError."""
    if not isinstance(value, str):
        raise TypeError(f"a text is expected, not {type(value).__name__}")
    return value


def maybe_int(value: Any) -> int | None:
    return None if value is None else int(value)


def ended(low: float, high: float | None, types: Iterable[str] = ()) -> dict[str, Any]:
    """The filter for runs that ended within [low, high], in one of these state types if any are given.

    It is much faster without types: with them, SQLite uses its index of states and sorts all ended runs for each page.
    """
    window = {"after_": iso(low)} | ({"before_": iso(high)} if high is not None else {})
    chosen = sorted(types)
    return {"end_time": window} | ({"state": {"type": {"any_": chosen}}} if chosen else {})


async def count_by_type(count: Callable[[Sequence[str]], Awaitable[int]], types: Collection[str]) -> dict[str, int]:
    """How many there are of each of `types`, by `count`, which counts all types when given none.

    For all terminal types, completed runs are the difference to the total, because SQLite counts them slowly by state.
    """
    counted = set(types) - {"COMPLETED"} if set(types) >= TERMINAL_TYPES else set(types)
    # One after the other: after a failure, concurrent requests would continue unobserved.
    counts = {one: await count([one]) for one in sorted(counted)}
    if len(counted) < len(set(types)):
        counts["COMPLETED"] = await count(()) - sum(counts.values())
    return counts


def iso(instant: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC, to the microsecond, as Prefect keeps times."""
    return datetime.fromtimestamp(round(instant * 1e6) / 1e6, UTC).isoformat()


def instant(text: str) -> float:
    """An ISO 8601 time as seconds since the epoch; without an offset it is UTC. Raises ValueError."""
    return parse_time(text).timestamp()


def last_instant(rows: Sequence[Row], key: str) -> float | None:
    """The instant of the last row that has a readable one."""
    for row in reversed(rows):
        with suppress(KeyError, TypeError, ValueError, AttributeError):
            return instant(row[key])
    return None


def maybe_instant(text: str | None) -> float | None:
    return None if text is None else instant(text)
