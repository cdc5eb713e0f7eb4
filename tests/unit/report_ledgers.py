"""A ledger with two weeks in it, of which reports are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.actions import Action, ActionResult, Kind
from prefect_monitoring.model.changes import Changes, Schedule, SeriesKey
from prefect_monitoring.model.counted_metrics import (
    CUSTOM_OBSERVED,
    FAILED_ACTIONS,
    TASK_FAILURES,
    TASK_RETRIES,
    TASK_SECONDS,
    births,
)
from prefect_monitoring.model.names import Names
from prefect_monitoring.model.records import NO_FLOW, Deployment, Flow, Pair
from unit.ledger_values import level, outcome, run_id
from unit.rig import DAY


class Past:
    """Writes what happened into a ledger. `now` is when a report is made of it."""

    def __init__(self, ledger: Ledger, now: float) -> None:
        self.ledger, self.now = ledger, now
        self._runs = 0

    def exists(self, *pipelines: Pair, tags: Sequence[str] = ()) -> None:
        flows = {f"f-{one.flow}": Flow(f"f-{one.flow}", one.flow) for one in pipelines}
        deployments = {
            f"d-{one.flow}": Deployment(
                *(f"d-{one.flow}", one.deployment, f"f-{one.flow}", "pool", "default", tuple(tags))
            )
            for one in pipelines
            if one.deployment
        }
        known = self.ledger.names
        names = Names({**known.flows, **flows}, {**known.deployments, **deployments}, frozenset())
        self.ledger.store_names(names, [key for one in pipelines for key in births(one)], self.now)

    def ran(
        self,
        pipeline: Pair,
        days_ago: float,
        *,
        state_type: str = "COMPLETED",
        times: int = 1,
        seconds: float = 60.0,
        cause: str = "",
        pattern: str = "",
    ) -> list[str]:
        """`times` runs that ended so within the hour before `days_ago`; their ids."""
        ids = []
        for number in range(times):
            self._runs += 1
            at = self.now - days_ago * DAY - 30 * number / times
            changes = outcome(self._runs, at, pipeline, state_type, seconds)
            identifier = run_id(self._runs)
            changes.runs[identifier] = replace(changes.runs[identifier], cause=cause, pattern=pattern)
            self.ledger.commit(changes, level(self.ledger, self.now), self.now)
            ids.append(identifier)
        return ids

    def task(
        self,
        pipeline: Pair,
        task: str,
        days_ago: float,
        *,
        runs: int = 10,
        seconds: float = 30.0,
        retries: int = 0,
        cause: str = "",
    ) -> None:
        changes, at = Changes(), self.now - days_ago * DAY
        for _ in range(runs):
            changes.count(SeriesKey(TASK_SECONDS, pipeline, task=task), at, seconds)
        if retries:
            changes.count(SeriesKey(TASK_RETRIES, pipeline, task=task), at, retries)
            changes.count(SeriesKey(TASK_FAILURES, pipeline, cause, task), at, retries)
        self.ledger.commit(changes, None, self.now)

    def observed(self, pipeline: Pair, metric: str, days_ago: float, value: float) -> None:
        changes = Changes()
        key = SeriesKey(CUSTOM_OBSERVED, pipeline, metric, "load", (("table", "orders"),))
        changes.observe(key, self.now - days_ago * DAY, value)
        self.ledger.commit(changes, None, self.now)

    def automation_failed(self, name: str, days_ago: float) -> None:
        changes = Changes()
        changes.count(SeriesKey(FAILED_ACTIONS, NO_FLOW, name), self.now - days_ago * DAY)
        self.ledger.commit(changes, None, self.now)

    def acted(
        self, pipeline: Pair, kind: Kind, result: ActionResult, run: str, days_ago: float = 1, state: str = run_id(7)
    ) -> None:
        at = self.now - days_ago * DAY
        action = Action(
            *(f"{kind}-{result}-{run}", kind, pipeline, at, at, result), finished_at=at, run_id=run, state_id=state
        )
        self.ledger.store_actions([action], self.now)

    def scheduled(self, pipeline: Pair, schedule: Schedule) -> None:
        self.ledger.store_schedules({f"d-{pipeline.flow}": schedule})
