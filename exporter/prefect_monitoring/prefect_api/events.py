"""Events of Prefect: actions of automations that failed, and assets that were materialized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeGuard
from urllib.parse import parse_qs, urlsplit

from prefect_monitoring.model.records import FailedAction, Materialization
from prefect_monitoring.prefect_api.client import PrefectHttp
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.pagination import Row, decode, instant, iso

PAGE: Final = 50  # the server allows no more
MAX_PAGES: Final = 2
_TOKEN: Final = "page-token"  # noqa: S105 it says where a page begins
_MATERIALIZATION: Final = "prefect.asset.materialization."
_MATERIALIZED: Final = (f"{_MATERIALIZATION}succeeded", f"{_MATERIALIZATION}failed")
_FAILED: Final = ("prefect.automation.action.failed", "prefect-cloud.automation.action.failed")
# Prefect cancels a run that has no infrastructure yet, and reports that as a failure.
_CANCELLED_ALL_THE_SAME: Final = "has no infrastructure to terminate"


@dataclass(frozen=True, slots=True)
class FailedActions:
    """Oldest first. `last`: when the newest of the events that were read occurred, those left out included.

    `complete`: nothing newer is left.
    """

    actions: tuple[FailedAction, ...]
    last: float | None
    complete: bool


@dataclass(frozen=True, slots=True)
class Materializations:
    """Oldest first. `last`: when the newest occurred; `complete`: nothing newer is left."""

    materializations: tuple[Materialization, ...]
    last: float | None
    complete: bool


class EventsApi:
    """Reads of events. Every method raises ApiError when there is no usable answer."""

    def __init__(self, http: PrefectHttp) -> None:
        self._http = http

    async def failed_actions(self, after: float, before: float) -> FailedActions:
        """Actions that failed within [after, before]: at most two pages."""
        rows, complete = await self._oldest(_FAILED, after, before)
        failed = [row for row in rows if _is_failure(row)]
        return FailedActions(tuple(decode(_failed_action, failed)), _last(rows), complete=complete)

    async def materializations(self, after: float, before: float) -> Materializations:
        """Assets that were materialized, or should have been, within [after, before]: at most two pages."""
        rows, complete = await self._oldest(_MATERIALIZED, after, before)
        return Materializations(tuple(decode(_materialization, rows)), _last(rows), complete=complete)

    async def _oldest(self, names: Sequence[str], after: float, before: float) -> tuple[list[Row], bool]:
        """The oldest events of these names, and whether that is all of them."""
        criteria = {"occurred": {"since": iso(after), "until": iso(before)}, "event": {"name": names}, "order": "ASC"}
        answer = await self._http.request("/events/filter", json={"filter": criteria, "limit": PAGE})
        rows, token = _page(answer)
        for _ in range(MAX_PAGES - 1):
            if not token:
                break
            more, token = _page(await self._http.request("/events/filter/next", params={_TOKEN: token}))
            rows += more
        return rows, not token


def _last(rows: Sequence[Row]) -> float | None:
    last = decode(_occurred, rows[-1:])
    return last[0] if last else None


def _page(answer: Any) -> tuple[list[Row], str]:
    """The rows, and the token of the next page: its address may name a host that only the server knows."""
    try:
        rows, address = list(answer["events"]), answer.get("next_page")
        token = parse_qs(urlsplit(address).query)[_TOKEN][0] if address else ""
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ApiError("/events/filter answered something of another shape than Prefect's", "invalid_json") from error
    return rows, token


def _is_failure(row: Row) -> bool:
    payload = row.get("payload")
    reason = payload.get("reason") if isinstance(payload, Mapping) else None
    return _CANCELLED_ALL_THE_SAME not in str(reason)


def _occurred(row: Row) -> float:
    return instant(row["occurred"])


def _failed_action(row: Row) -> FailedAction:
    resource = row["resource"]
    name = resource.get("prefect.resource.name") or resource["prefect.resource.id"]
    return FailedAction(str(row["id"]), str(name), _occurred(row))


def _materialization(row: Row) -> Materialization:
    result = row["event"].removeprefix(_MATERIALIZATION)
    numbers = _numbers(row.get("payload")) if result == "succeeded" else ()
    return Materialization(str(row["id"]), str(row["resource"]["prefect.resource.id"]), _occurred(row), result, numbers)


def _numbers(payload: object) -> tuple[tuple[str, float], ...]:
    """The numbers in an asset's metadata; what else it says is for people. JSON has only finite ones."""
    items = payload.items() if isinstance(payload, Mapping) else ()
    return tuple((str(name), float(value)) for name, value in items if _is_number(value))


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
