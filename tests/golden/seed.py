"""The contents of the seeded server. Every instant is a whole number of seconds or a binary fraction of one.

So sums and differences are exact in any order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from golden.model import FlowRun, Row, Run, State, Step, TaskRun, Thing, identity, iso, states_of

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
# A Thursday, at 45 minutes past the hour: an exact binary fraction.
NOW = datetime(2026, 3, 5, 10, 45, tzinfo=UTC).timestamp()
YESTERDAY = NOW - DAY - 20 * MINUTE
EVER = 0.0
IN_ADVANCE = 2 * DAY  # how long before their start the scheduler creates runs


class Seed:
    """Creates objects by name; `rows` and `history` return their state at an instant."""

    def __init__(self) -> None:
        self._things: defaultdict[str, list[Thing]] = defaultdict(list)
        self._runs: dict[str, Run] = {}
        self._runs_of: defaultdict[str, list[FlowRun]] = defaultdict(list)
        self._flow_names: dict[str, str] = {}
        self._deployments: dict[str, dict[str, Any]] = {}

    def thing(self, kind: str, *names: object, **row: Any) -> None:
        """An object that always exists."""
        self._things[kind].append(Thing(((EVER, {"id": identity(kind, *names), **row}),)))

    def flow(self, name: str) -> None:
        flow_id = identity("flow", name)
        self._things["flows"].append(Thing(((EVER, {"id": flow_id, "name": name}),)))
        self._flow_names[name] = flow_id

    def deployment(
        self,
        flow: str,
        name: str,
        *,
        pool: str | None = "k8s",
        queue: str | None = "default",
        tags: Sequence[str] = (),
        cron: str = "",
        paused: bool = False,
        ready: bool = True,
        deleted_at: float | None = None,
    ) -> None:
        schedules = [{"schedule": {"cron": cron, "timezone": "UTC"}, "active": True}] if cron else []
        row = {
            "id": identity("deployment", flow, name),
            "created": iso(NOW - 90 * DAY + len(self._deployments)),
            "name": name,
            "flow_id": self._flow_names[flow],
            "work_pool_name": pool,
            "work_queue_name": queue,
            "tags": list(tags),
            "paused": paused,
            "status": "READY" if ready else "NOT_READY",
            "schedules": schedules,
        }
        end: list[tuple[float, Row | None]] = [] if deleted_at is None else [(deleted_at, None)]
        self._things["deployments"].append(Thing(((EVER, row), *end)))
        self._deployments[f"{flow}/{name}"] = row

    def run(
        self,
        of: str,
        at: float,
        *steps: Step,
        by_schedule: bool = False,
        **more: Any,
    ) -> FlowRun:
        """A run of "flow" or "flow/deployment", Scheduled for `at`, and from then on in the states of `steps`."""
        deployment = self._deployments.get(of, {})
        run_id = identity("run", of, at, len(self._runs))
        made_at = at - IN_ADVANCE if by_schedule else at
        scheduled = State(identity(run_id, "scheduled"), "SCHEDULED", "Scheduled", made_at, "")
        run = FlowRun(
            id=run_id,
            name=f"{of.partition('/')[0]}-{len(self._runs)}",
            states=(scheduled, *states_of(run_id, at, steps)),
            expected_at=at,
            flow_id=self._flow_names[of.partition("/")[0]],
            deployment_id=deployment.get("id"),
            pool=deployment.get("work_pool_name"),
            queue=deployment.get("work_queue_name"),
            by_schedule=by_schedule,
            **more,
        )
        self._runs[run_id] = run
        self._runs_of[of].append(run)
        return run

    def finished_runs(self, of: str, since: float) -> list[FlowRun]:
        """Finished runs that ended since then, in order of creation."""
        return [run for run in self._runs_of[of] if run.is_over and run.states[-1].at >= since]

    def open_runs(self, of: str) -> list[FlowRun]:
        return [run for run in self._runs_of[of] if not run.is_over]

    def task(self, flow_run: FlowRun | None, task: str, at: float, *steps: Step, **more: Any) -> TaskRun:
        """A task run that was Pending `at` and then in the states of `steps`."""
        number = len(self._runs)
        run_id = identity("task", task, at, number)
        key = str(number).zfill(3)
        run = TaskRun(
            id=run_id,
            name=f"{task}-{key}",
            states=states_of(run_id, at, [("Pending", 0.0), *steps]),
            expected_at=at,
            task_key=f"{task}-0123abcd",
            dynamic_key=key,
            flow_run=flow_run,
            **more,
        )
        self._runs[run_id] = run
        return run

    def log(self, at: float, message: str, flow_run: FlowRun | None, task_run: TaskRun | None = None) -> None:
        number = len(self._things["logs"])
        row = {
            "id": identity("log", number),
            "timestamp": iso(at),
            "message": message,
            "flow_run_id": flow_run.id if flow_run else None,
            "task_run_id": task_run.id if task_run else None,
        }
        self._things["logs"].append(Thing(((at, row),)))

    def rows(self, now: float) -> dict[str, list[Row]]:
        """The rows of all objects at `now`, by kind."""
        found: defaultdict[str, list[Row]] = defaultdict(list)
        for kind, things in self._things.items():
            found[kind] = [row for thing in things if (row := thing.row(now)) is not None]
        for run in self._runs.values():
            if (row := run.row(now)) is not None:
                found["flow_runs" if isinstance(run, FlowRun) else "task_runs"].append(row)
        return found

    def history(self, run_id: str, now: float) -> list[Row]:
        run = self._runs.get(run_id)
        return [state.row() for state in run.states_at(now)] if run else []
