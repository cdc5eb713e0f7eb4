"""Events of Prefect: actions of automations that failed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from prefect_monitoring.model.records import FailedAction
from prefect_monitoring.prefect_api.client import PrefectHttp
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.pagination import Row, decode, identifier, instant, iso, last_instant, rows_with_ids

PAGE: Final = 50  # the server allows no more
MAX_PAGES: Final = 2
_TOKEN: Final = "page-token"  # noqa: S105 it says where a page begins
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


class EventsApi:
    """Reads of events. Every method raises ApiError when there is no usable answer."""

    def __init__(self, http: PrefectHttp) -> None:
        self._http = http

    async def failed_actions(self, after: float, before: float, ids: Collection[str] = ()) -> FailedActions:
        """Actions that failed within [after, before]: at most two pages; with `ids`, only those events."""
        criteria = {"occurred": {"since": iso(after), "until": iso(before)}, "event": {"name": _FAILED}, "order": "ASC"}
        if ids:
            criteria["id"] = {"id": sorted(ids)}
        answer = await self._http.request("/events/filter", json={"filter": criteria, "limit": PAGE})
        rows, token = _page(answer)
        for _ in range(MAX_PAGES - 1):
            if not token:
                break
            more, token = _page(await self._http.request("/events/filter/next", params={_TOKEN: token}))
            rows += more
        failed = [row for row in rows if _is_failure(row)]
        return FailedActions(tuple(decode(_failed_action, failed)), last_instant(rows, "occurred"), complete=not token)


def _page(answer: Any) -> tuple[list[Row], str]:
    """The rows, and the token of the next page: its address may name a host that only the server knows."""
    try:
        rows, address = rows_with_ids(list(answer["events"]), 0), answer.get("next_page")
        token = parse_qs(urlsplit(address).query)[_TOKEN][0] if address else ""
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ApiError("/events/filter answered something of another shape than Prefect's", "invalid_json") from error
    return rows, token


def _is_failure(row: Row) -> bool:
    payload = row.get("payload")
    reason = payload.get("reason") if isinstance(payload, Mapping) else None
    return _CANCELLED_ALL_THE_SAME not in str(reason)


def _failed_action(row: Row) -> FailedAction:
    resource = row["resource"]
    name = resource.get("prefect.resource.name") or resource["prefect.resource.id"]
    return FailedAction(identifier(row["id"]), str(name), instant(row["occurred"]))
