"""Raw rows of Prefect's API, good and bad, with the interface of `PrefectHttp`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prefect_monitoring.prefect_api.errors import ApiError

# By endpoint: the key of its filter, and the timestamp column that windows filter by.
_WINDOWS = {
    "/flow_runs/filter": ("flow_runs", "end_time"),
    "/flow_runs/count": ("flow_runs", "end_time"),
    "/task_runs/filter": ("task_runs", "end_time"),
    "/task_runs/count": ("task_runs", "end_time"),
    "/logs/filter": ("logs", "timestamp"),
}


@dataclass
class Kept:
    """A record in the server's database; `row` is what the server answers, right or wrong.

    `at`: when it ended or was written, None if it has not. `fails`: a page with it answers 500.
    `repaired`: the row after a repair.
    """

    id: str
    row: Any
    type: str = ""
    at: float | None = None
    flow_run: str = ""
    fails: bool = False
    repaired: Any = None


@dataclass
class RawPrefect:
    """`lists` by endpoint; `owners`: the rows of its flow and its deployment, by flow run."""

    lists: dict[str, list[Kept]] = field(default_factory=dict)
    owners: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)

    async def sized(self, endpoint: str, **asked: Any) -> tuple[Any, int]:
        return await self.request(endpoint, **asked), 1

    async def request(
        self,
        endpoint: str,
        *,
        json: Any = None,
        params: Mapping[str, str] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> Any:
        del names
        self.requests[endpoint] += 1
        if endpoint == "/admin/version":
            return "3.8.8"
        if endpoint.endswith("_states/"):
            return self._history(endpoint, *(params or {}).values())
        if endpoint.startswith("/events/"):
            return self._events(endpoint, json)
        run_ids = (json or {}).get("flow_runs", {}).get("id", {}).get("any_")
        if endpoint in {"/flows/filter", "/deployments/filter"} and run_ids:
            which = int(endpoint == "/deployments/filter")
            return [self.owners[run_id][which] for run_id in run_ids if run_id in self.owners]
        records = self._found(endpoint, json or {})
        if endpoint.endswith("/count"):
            return len(records)
        return _page(records[json.get("offset", 0) :][: json.get("limit", 200)])

    def _history(self, endpoint: str, run_id: str) -> list[Any]:
        runs = self.lists["/flow_runs/filter" if endpoint == "/flow_run_states/" else "/task_runs/filter"]
        states = [record.row.get("state") for record in runs if record.id == run_id]
        if not all(states):
            raise ApiError("the server failed", "500")
        return states

    def _found(self, endpoint: str, asked: Mapping[str, Any]) -> list[Kept]:
        kept = self.lists.get(endpoint.replace("/count", "/filter"), [])
        if endpoint not in _WINDOWS:
            key = endpoint.split("/")[1]
            ids = asked.get(key, {}).get("id", {}).get("any_") if isinstance(asked.get(key), Mapping) else None
            return [record for record in kept if ids is None or record.id in ids]
        key, column = _WINDOWS[endpoint]
        wanted = asked.get(key) or {}
        matching = [record for record in kept if _is_wanted(record, wanted, column)]
        ascending = asked.get("sort") == "TIMESTAMP_ASC"
        return sorted(matching, key=lambda record: record.at or 0.0, reverse=not ascending)

    def _events(self, endpoint: str, asked: Any) -> Any:
        if endpoint == "/events/count-by/resource":
            return _page(self.lists.get(endpoint, []))
        wanted = asked["filter"]
        low, high = (_seconds(wanted["occurred"][bound]) for bound in ("since", "until"))
        ids = wanted.get("id", {}).get("id")
        events = [record for record in self.lists.get(endpoint, []) if record.type in wanted["event"]["name"]]
        matching = [
            record for record in events if low <= (record.at or 0.0) <= high and (ids is None or record.id in ids)
        ]
        return {"events": _page(matching), "next_page": None}


def _page(records: Sequence[Kept]) -> list[Any]:
    if any(record.fails for record in records):
        raise ApiError("the server failed", "500")
    return [record.row for record in records]


def _is_wanted(record: Kept, wanted: Mapping[str, Any], column: str) -> bool:
    window, state = wanted.get(column) or {}, wanted.get("state") or {}
    types = state.get("type") or {}
    checks: Iterable[bool] = (
        "id" not in wanted or record.id in wanted["id"]["any_"],
        "flow_run_id" not in wanted or record.flow_run in wanted["flow_run_id"]["any_"],
        "parent_flow_run_id" not in wanted,
        "is_null_" not in window or record.at is None,
        "after_" not in window or (record.at is not None and record.at >= _seconds(window["after_"])),
        "before_" not in window or (record.at is not None and record.at <= _seconds(window["before_"])),
        "any_" not in types or record.type in types["any_"],
        "not_any_" not in types or record.type not in types["not_any_"],
    )
    return all(checks)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
