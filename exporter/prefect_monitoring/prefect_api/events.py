"""Reads Prefect's events: failed actions of automations, materializations of assets, heartbeats of flow runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeGuard
from urllib.parse import parse_qs, urlsplit

from prefect_monitoring.model.heartbeats import Beats
from prefect_monitoring.model.records import FailedAction, Materialization
from prefect_monitoring.prefect_api.capabilities import Capability
from prefect_monitoring.prefect_api.client import PrefectHttp
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.pagination import (
    Row,
    decode,
    identifier,
    instant,
    iso,
    last_instant,
    rows_with_ids,
    text,
)
from prefect_monitoring.prefect_api.partial_pages import may_be_one_row, split_window
from prefect_monitoring.prefect_api.unreadable import UNLISTED, collected

PAGE: Final = 50  # the server's maximum
MAX_PAGES: Final = 2
_CANNOT_COUNT: Final = frozenset({"404", "405", "422"})
MAX_RUNS: Final = 1000  # per request
_HEARTBEAT: Final = "prefect.flow-run.heartbeat"
_RUN: Final = "prefect.flow-run."
_TOKEN: Final = "page-token"  # noqa: S105 it says where a page begins
_MATERIALIZATION: Final = "prefect.asset.materialization."
_MATERIALIZED: Final = (f"{_MATERIALIZATION}succeeded", f"{_MATERIALIZATION}failed")
_FAILED: Final = ("prefect.automation.action.failed", "prefect-cloud.automation.action.failed")
# Prefect cancels a run that has no infrastructure yet, but reports this as a failure.
_CANCELLED_ALL_THE_SAME: Final = "has no infrastructure to terminate"


@dataclass(frozen=True, slots=True)
class FailedActions:
    """Oldest first. `last`: when the newest event that was read occurred, including events that are left out.

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
        self._counts = Capability(
            "The server cannot count events by run: runs that died are not found by their heartbeats"
        )

    async def heartbeats(self, run_ids: Collection[str], since: float, until: float) -> dict[str, Beats]:
        """The heartbeats within [since, until] of flow runs that sent any; empty where the server cannot count them.

        With ids and `since`, the request takes 20 ms for 200 runs, however many events there are.
        """
        found: dict[str, Beats] = {}
        wanted = sorted(run_ids)
        for start in range(0, len(wanted) if self._counts.is_there else 0, MAX_RUNS):
            ids = [f"{_RUN}{run_id}" for run_id in wanted[start : start + MAX_RUNS]]
            criteria = {
                "occurred": {"since": iso(since), "until": iso(until)},
                "event": {"name": [_HEARTBEAT]},
                "resource": {"id": ids},
            }
            try:
                rows = await self._http.request("/events/count-by/resource", json={"filter": criteria})
            except ApiError as error:
                if error.code not in _CANNOT_COUNT:
                    raise
                self._counts.refused()
                break
            if not isinstance(rows, list):
                raise ApiError("/events/count-by answered something that is not a list", "invalid_json")
            named = rows_with_ids([{**row, "id": row.get("value")} for row in rows if isinstance(row, Mapping)], 0)
            found |= dict(decode(_beats, named))
        return found

    async def exists(self, event_id: str, since: float) -> bool:
        """Whether the server keeps this event, which occurred after `since`."""
        criteria = {"occurred": {"since": iso(since)}, "id": {"id": [event_id]}}
        rows, _ = _page(await self._http.request("/events/filter", json={"filter": criteria, "limit": 1}))
        return bool(rows)

    async def failed_actions(self, after: float, before: float, ids: Collection[str] = ()) -> FailedActions:
        """Actions that failed within [after, before]: at most two pages; with `ids`, only those events."""
        rows, complete = await self._oldest(_FAILED, after, before, ids)
        failed = [row for row in rows if _is_failure(row)]
        actions = tuple(decode(_failed_action, failed, after=after))
        return FailedActions(actions, last_instant(rows, "occurred"), complete=complete)

    async def materializations(self, after: float, before: float, ids: Collection[str] = ()) -> Materializations:
        """Assets that were materialized, or should have been, within [after, before], as `failed_actions`."""
        rows, complete = await self._oldest(_MATERIALIZED, after, before, ids)
        found = tuple(decode(_materialization, rows, after=after))
        return Materializations(found, last_instant(rows, "occurred"), complete=complete)

    async def _oldest(
        self, names: Sequence[str], after: float, before: float, ids: Collection[str] = ()
    ) -> tuple[list[Row], bool]:
        """The oldest events of these names, and whether these are all."""
        criteria: dict[str, object] = {"event": {"name": names}, "order": "ASC"}
        if ids:
            criteria["id"] = {"id": sorted(ids)}

        async def ask(since: float, until: float) -> tuple[list[Row], str]:
            occurred = {"since": iso(since), "until": iso(until)}
            chosen = {"filter": {"occurred": occurred, **criteria}, "limit": PAGE}
            return _page(await self._http.request("/events/filter", json=chosen))

        try:
            rows, token = await ask(after, before)
        except ApiError as fault:
            if not may_be_one_row(fault) or collected() is None:
                raise
            return _joined(*await split_window(ask, after, before, fault))
        for _ in range(MAX_PAGES - 1):
            if not token:
                break
            more, token = _page(await self._http.request("/events/filter/next", params={_TOKEN: token}))
            rows += more
        return rows, not token


def _joined(
    before: tuple[list[Row], str] | None, after: tuple[list[Row], str] | None, low: float, high: float
) -> tuple[list[Row], bool]:
    """The rows around one between `low` and `high` that the server cannot answer, and whether these are all."""
    rows, has_more = before or ([], "")
    if has_more:
        return rows, False
    later, has_more = after or ([], "more")
    hidden = {"id": f"{UNLISTED}1 between {iso(low)} and {iso(high)}", "occurred": iso(high)}
    return [*rows, hidden, *later], not has_more


def _page(answer: Any) -> tuple[list[Row], str]:
    """The rows, and the token of the next page, because its address may have a host that only the server knows."""
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


def _beats(row: Row) -> tuple[str, Beats]:
    run_id = identifier(text(row["value"]).removeprefix(_RUN))
    return run_id, Beats(int(row["count"]), instant(row["start_time"]), instant(row["end_time"]))


def _failed_action(row: Row) -> FailedAction:
    resource = row["resource"]
    name = resource.get("prefect.resource.name") or resource["prefect.resource.id"]
    return FailedAction(identifier(row["id"]), str(name), instant(row["occurred"]))


def _materialization(row: Row) -> Materialization:
    result = row["event"].removeprefix(_MATERIALIZATION)
    numbers = _numbers(row.get("payload")) if result == "succeeded" else ()
    name = str(row["resource"]["prefect.resource.id"])
    return Materialization(identifier(row["id"]), name, instant(row["occurred"]), result, numbers)


def _numbers(payload: object) -> tuple[tuple[str, float], ...]:
    """The numbers in an asset's metadata, which are finite in JSON; other values are left out."""
    items = payload.items() if isinstance(payload, Mapping) else ()
    return tuple((str(name), float(value)) for name, value in items if _is_number(value))


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
