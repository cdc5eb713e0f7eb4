"""The outcomes of task runs that the exporter must count, from the state histories of the API."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from support.seeder import Seeder
from support.truth import all_rows, state_label

TaskOutcome = tuple[str, str, str]  # flow, task, state
_TERMINAL_TYPES = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def task_runs(api: Seeder, flow_prefix: str) -> dict[str, list[dict[str, Any]]]:
    """The task runs of all flows with that prefix, by flow name; without placeholders of subflows."""
    flows = {row["id"]: row["name"] for row in all_rows(api, "/flows/filter", {"sort": "NAME_ASC"})}
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in all_rows(api, "/flow_runs/filter", {"sort": "ID_DESC", "flows": {"name": {"like_": flow_prefix}}}):
        wanted = {"flow_run_id": {"any_": [run["id"]]}, "subflow_runs": {"exists_": False}}
        found[flows[run["flow_id"]]] += all_rows(api, "/task_runs/filter", {"sort": "ID_DESC", "task_runs": wanted})
    return dict(found)


def task_truth(api: Seeder, flow_prefix: str, tasks: Mapping[str, str]) -> Counter[TaskOutcome]:
    """Entries into terminal states. `tasks` names the task of a run's name up to its last hyphen, where it differs."""
    outcomes: Counter[TaskOutcome] = Counter()
    for flow, runs in task_runs(api, flow_prefix).items():
        for run in runs:
            name = run["name"].rpartition("-")[0]
            for state in api.call("GET", f"/task_run_states/?task_run_id={run['id']}"):
                if state["type"] in _TERMINAL_TYPES:
                    outcomes[flow, tasks.get(name, name), state_label(state)] += 1
    return outcomes
