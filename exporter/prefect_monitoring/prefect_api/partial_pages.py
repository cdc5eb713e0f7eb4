"""Splits pages that the server cannot answer because of single rows, until the other rows are read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.unreadable import UNLISTED

# Requests for one page at most; remaining rows are left to the next page. Finding 1 row in 200 takes 16 requests.
MAX_PARTS: Final = 40
SMALLEST_WINDOW_SECONDS: Final = 1.0
_SERVER_FAULT: Final = "500"
_INSTANTS: Final = ("end_time", "timestamp", "occurred")

Ask = Callable[[int, int], Awaitable[tuple[list[Any], int]]]
"""Gives the rows of a list from an offset, up to a limit, and their size in bytes."""


def may_be_one_row(error: ApiError) -> bool:
    """Whether a page may have failed because of a row in it."""
    return error.code == _SERVER_FAULT


async def read_in_parts(ask: Ask, offset: int, limit: int, fault: ApiError) -> tuple[list[Any], int]:
    """The rows from `offset` on, at most `limit`, and how many were requested: fewer than `limit` if some are left.

    A placeholder replaces a row that the server cannot answer. Raises `fault` if it answers nothing of the list.
    """
    if not (await _answers(ask, offset + limit) or await _answers(ask, offset)):
        raise fault
    rows: list[Any] = []
    parts = _halves(offset, limit)
    for _ in range(MAX_PARTS):
        start, size = parts.pop(0)
        try:
            found, _ = await ask(start, size)
        except ApiError as error:
            if not may_be_one_row(error):
                raise
            if size > 1:
                parts = _halves(start, size) + parts
                continue
            found = [None]
        rows += found
        if len(found) < size:
            return _with_stand_ins(rows, offset), limit
        if not parts:
            break
    return _with_stand_ins(rows, offset), len(rows)


async def _answers(ask: Ask, offset: int) -> bool:
    try:
        await ask(offset, 1)
    except ApiError as error:
        if may_be_one_row(error):
            return False
        raise
    return True


AskWithin = Callable[[float, float], Awaitable[Any]]
"""Gives the oldest records within these instants."""


async def split_window(ask: AskWithin, low: float, high: float, fault: ApiError) -> tuple[Any, Any, float, float]:
    """The answers before and after the first record that the server cannot answer, and the instants around it.

    The answer after it is None where the server cannot answer that either. Raises `fault` if it answers nothing.
    """

    async def answer(since: float, until: float) -> Any:
        try:
            return await ask(since, until)
        except ApiError as error:
            if may_be_one_row(error):
                return None
            raise

    before = await answer(low, low)
    if before is None and await answer(high, high) is None:
        raise fault
    good, bad = low, high
    while bad - good > SMALLEST_WINDOW_SECONDS:
        middle = (good + bad) / 2
        found = await answer(low, middle)
        good, bad, before = (middle, bad, found) if found is not None else (good, middle, before)
    return before, await answer(bad, high), good, bad


def _halves(start: int, size: int) -> list[tuple[int, int]]:
    half = size // 2
    return [(start, half), (start + half, size - half)] if half else [(start, size)]


def _with_stand_ins(rows: Sequence[Any], offset: int) -> list[Any]:
    """`rows` with a placeholder for each None, whose id says where in the list it is."""
    following = next((row for row in rows if row is not None), None)
    place = f"ahead of {_named(following)}" if following is not None else f"from {offset} on"
    named: list[Any] = []
    unknown = 0
    for row in rows:
        if row is None:
            unknown += 1
            named.append({"id": f"{UNLISTED}{unknown} {place}"})
        else:
            unknown, place = 0, f"behind {_named(row)}"
            named.append(row)
    return named


def _named(row: object) -> str:
    """A row's id and time, so that users can find its neighbour."""
    if not isinstance(row, Mapping):
        return "another"
    at = next((row[name] for name in _INSTANTS if row.get(name)), None)
    return f"{row.get('id')} ({at})" if at else str(row.get("id"))
