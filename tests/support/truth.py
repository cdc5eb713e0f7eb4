"""The outcomes that the exporter must count, from the complete state histories of the API."""

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from support.seeder import Seeder

Outcome = tuple[str, str, str]  # flow, deployment ("" for none), state

_TERMINAL_TYPES = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
_NAMES = {
    "Completed": "completed",
    "Cached": "cached",
    "Failed": "failed",
    "TimedOut": "timed_out",
    "Crashed": "crashed",
    "Cancelled": "cancelled",
    "Skipped": "skipped",
    "RolledBack": "rolled_back",
}


def truth(
    api_url: str,
    *,
    flow_prefix: str = "",
    deployments: Mapping[str, str] | None = None,
    auth: str | None = None,
) -> Counter[Outcome]:
    """Entries into terminal states, over all runs of flows whose name starts with `flow_prefix`.

    A deleted deployment is "(deleted)", unless `deployments` (id → name) has its name.
    """
    with Seeder(api_url, auth=auth) as api:
        flows = {row["id"]: row["name"] for row in all_rows(api, "/flows/filter", {"sort": "NAME_ASC"})}
        known = dict(deployments or {})
        known |= {row["id"]: row["name"] for row in all_rows(api, "/deployments/filter", {"sort": "NAME_ASC"})}
        wanted: dict[str, Any] = {"flows": {"name": {"like_": flow_prefix}}} if flow_prefix else {}
        runs = [
            run
            for run in all_rows(api, "/flow_runs/filter", {"sort": "ID_DESC", **wanted})
            if flows[run["flow_id"]].startswith(flow_prefix)
        ]
        outcomes: Counter[Outcome] = Counter()
        with ThreadPoolExecutor(4) as pool:
            for run, history in zip(runs, pool.map(lambda run: api.history(run["id"]), runs), strict=True):
                deployment = known.get(run["deployment_id"], "(deleted)") if run["deployment_id"] else ""
                for state in history:
                    if state["type"] in _TERMINAL_TYPES:
                        outcomes[flows[run["flow_id"]], deployment, state_label(state)] += 1
    return outcomes


def state_label(state: Mapping[str, str]) -> str:
    return _NAMES.get(state["name"], state["type"].lower())


def all_rows(api: Seeder, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every row, in pages as large as the server allows."""
    offset = 0
    while page := api.call("POST", path, {**body, "offset": offset}):
        yield from page
        offset += len(page)
