"""A model of the Prefect API for the archive: runs with task runs, states and log lines, a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from json import dumps
from typing import Any

from prefect_monitoring.prefect_api.errors import ApiError

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp()


def at(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).isoformat()


def state(identifier: str, kind: str, when: float, message: str | None = None) -> dict[str, Any]:
    return {"id": identifier, "type": kind, "name": kind.capitalize(), "timestamp": at(when), "message": message}


@dataclass
class FakeRuns:
    """Answers the requests of the archiver. `limit` is the largest page; `fault` may raise for an endpoint."""

    limit: int = 200
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    states: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=lambda: {"flow-1": "etl", "deployment-1": "nightly"})
    asked: list[str] = field(default_factory=list)
    fault: Callable[[str], None] = lambda _: None

    def add(self, number: int, end: float, kind: str = "COMPLETED", message: str | None = None, **more: Any) -> str:
        run_id = f"run-{number:06}"
        history = [
            state(f"{run_id}-r", "RUNNING", end - 10),
            state(f"{run_id}-e", kind, end, message),
        ]
        self.states[run_id] = history
        self.runs[run_id] = {
            "id": run_id,
            "name": f"brave-owl-{number}",
            "flow_id": "flow-1",
            "deployment_id": "deployment-1",
            "tags": ["nightly"],
            "run_count": 1,
            "created": at(end - 20),
            "expected_start_time": at(end - 15),
            "start_time": at(end - 10),
            "end_time": at(end),
            "total_run_time": 10.0,
            "parameters": {"rows": number},
            **more,
        }
        self._set_state(run_id, history[-1])
        return run_id

    def end_again(self, run_id: str, kind: str, when: float, *, end: float | None = None) -> None:
        """Sets a later state; `end` is the run's new end, None if the state was set by hand."""
        self.states[run_id].append(state(f"{run_id}-{len(self.states[run_id])}", kind, when))
        self._set_state(run_id, self.states[run_id][-1])
        if end is not None:
            self.runs[run_id] |= {"end_time": at(end), "run_count": 2}

    def _set_state(self, run_id: str, present: dict[str, Any]) -> None:
        self.runs[run_id] |= {"state": present, "state_id": present["id"], "state_type": present["type"]}
        self.runs[run_id] |= {"state_name": present["name"]}

    def add_task(self, run_id: str, name: str, end: float, child: str | None = None) -> None:
        number = len(self.tasks)
        ended = state(f"task-state-{number}", "COMPLETED", end)
        self.tasks.append(
            {
                "id": f"task-{number:06}",
                "flow_run_id": run_id,
                "name": f"{name}-0",
                "task_key": f"{name}-0123abcd",
                "dynamic_key": "0",
                "tags": [],
                "run_count": 1,
                "flow_run_run_count": 1,
                "expected_start_time": at(end - 2),
                "start_time": at(end - 1),
                "end_time": at(end),
                "total_run_time": 1.0,
                "state": {**ended, "state_details": {"child_flow_run_id": child}},
            }
        )

    def log(self, run_id: str, when: float, message: str, task_run_id: str | None = None) -> None:
        about = {"flow_run_id": run_id, "task_run_id": task_run_id, "name": "prefect.flow_runs", "level": 20}
        self.lines.append({"id": f"line-{len(self.lines):07}", "timestamp": at(when), "message": message, **about})

    async def request(
        self,
        endpoint: str,
        *,
        json: Any = None,
        params: Mapping[str, str] | None = None,
        names: object = None,
    ) -> Any:
        self.asked.append(endpoint)
        self.fault(endpoint)
        if endpoint == "/flow_run_states/":
            assert params is not None
            return self.states[params["flow_run_id"]]
        rows = list(self._rows(endpoint, json))
        if endpoint.endswith("/count"):
            return len(rows)
        if json["limit"] > self.limit:
            raise ApiError("limit", "422", detail=f"must be less than or equal to {self.limit}".encode())
        return rows[json["offset"] :][: json["limit"]]

    async def sized(self, endpoint: str, **asked: Any) -> tuple[Any, int]:
        answer = await self.request(endpoint, **asked)
        return answer, len(dumps(answer))

    def _rows(self, endpoint: str, json: Any) -> Iterable[dict[str, Any]]:
        if endpoint.startswith("/flow_runs/"):
            window = json["flow_runs"]["end_time"]
            found = [run for run in self.runs.values() if window["after_"] <= run["end_time"] <= window["before_"]]
            return sorted(found, key=lambda run: (run["end_time"], run["id"]), reverse=True)
        if endpoint.startswith("/task_runs/"):
            wanted = set(json["flow_runs"]["id"]["any_"])
            return [task for task in reversed(self.tasks) if task["flow_run_id"] in wanted]
        if endpoint == "/logs/filter":
            wanted = set(json["logs"]["flow_run_id"]["any_"])
            after = json["logs"].get("timestamp", {}).get("after_", "")
            found = [line for line in self.lines if line["flow_run_id"] in wanted and line["timestamp"] >= after]
            return sorted(found, key=lambda line: line["timestamp"])
        (kind,) = json.keys() & {"flows", "deployments"}
        return [
            {"id": identifier, "name": self.names[identifier]}
            for identifier in json[kind]["id"]["any_"]
            if identifier in self.names
        ]
