"""A ledger with two weeks of runs for reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace

from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.actions import Action, ActionResult, Kind
from prefect_monitoring.model.changes import Changes, Schedule, SeriesKey
from prefect_monitoring.model.counted_metrics import (
    CUSTOM_OBSERVED,
    FAILED_ACTIONS,
    TASK_FAILURES,
    TASK_RETRIES,
    TASK_SECONDS,
    zero_born_series,
)
from prefect_monitoring.model.names import Names
from prefect_monitoring.model.records import NO_FLOW, Deployment, Flow, Pipeline
from unit.ledger_values import baseline_cursor, outcome, run_id
from unit.rig import DAY


class Past:
    """Writes past events into a ledger. `now` is the time of the report."""

    def __init__(self, ledger: Ledger, now: float) -> None:
        self.ledger, self.now = ledger, now
        self._runs = 0
        self._waiting: Changes | None = None

    @contextmanager
    def in_one_commit(self) -> Iterator[None]:
        """Commits everything written within the block at once, for hundreds of pipelines."""
        self._waiting = Changes()
        yield
        changes, self._waiting = self._waiting, None
        self._write(changes)

    def _write(self, changes: Changes) -> None:
        if self._waiting is None:
            self.ledger.commit(changes, baseline_cursor(self.ledger, self.now), self.now)
        else:
            merge(self._waiting, changes)

    def exists(self, *pipelines: Pipeline, tags: Sequence[str] = ()) -> None:
        flows = {f"f-{pipeline.flow}": Flow(f"f-{pipeline.flow}", pipeline.flow) for pipeline in pipelines}
        deployments = {
            f"d-{pipeline.flow}": Deployment(
                *(f"d-{pipeline.flow}", pipeline.deployment, f"f-{pipeline.flow}", "pool", "default", tuple(tags))
            )
            for pipeline in pipelines
            if pipeline.deployment
        }
        known = self.ledger.names
        names = Names({**known.flows, **flows}, {**known.deployments, **deployments}, frozenset())
        self.ledger.store_names(names, [key for one in pipelines for key in zero_born_series(one)], self.now)

    def ran(
        self,
        pipeline: Pipeline,
        days_ago: float,
        *,
        state_type: str = "COMPLETED",
        times: int = 1,
        seconds: float = 60.0,
        cause: str = "",
        pattern: str = "",
    ) -> list[str]:
        """Adds `times` runs that ended like this in the hour before `days_ago`; returns their ids."""
        changes = Changes()
        for number in range(times):
            self._runs += 1
            at = self.now - days_ago * DAY - 30 * number / times
            run = outcome(self._runs, at, pipeline, state_type, seconds)
            identifier = run_id(self._runs)
            run.runs[identifier] = replace(run.runs[identifier], cause=cause, pattern=pattern)
            merge(changes, run)
        self._write(changes)
        return list(changes.runs)

    def task(
        self,
        pipeline: Pipeline,
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
        self._write(changes)

    def observed(self, pipeline: Pipeline, metric: str, days_ago: float, value: float) -> None:
        changes = Changes()
        key = SeriesKey(CUSTOM_OBSERVED, pipeline, metric, "load", (("table", "orders"),))
        changes.observe(key, self.now - days_ago * DAY, value)
        self._write(changes)

    def automation_failed(self, name: str, days_ago: float) -> None:
        changes = Changes()
        changes.count(SeriesKey(FAILED_ACTIONS, NO_FLOW, name), self.now - days_ago * DAY)
        self._write(changes)

    def acted(
        self,
        pipeline: Pipeline,
        kind: Kind,
        result: ActionResult,
        run: str,
        days_ago: float = 1,
        state: str = run_id(7),
    ) -> None:
        at = self.now - days_ago * DAY
        action = Action(
            *(f"{kind}-{result}-{run}", kind, pipeline, at, at, result), finished_at=at, run_id=run, state_id=state
        )
        self.ledger.store_actions([action], self.now)

    def scheduled(self, pipeline: Pipeline, schedule: Schedule) -> None:
        self.ledger.store_schedules({f"d-{pipeline.flow}": schedule})


def merge(changes: Changes, more: Changes) -> None:
    """Adds the changes of `more`, as if both came from one batch of records."""
    changes.runs |= more.runs
    changes.counted |= more.counted
    changes.zero_born |= more.zero_born
    changes.last_outcomes |= {
        key: max(at, changes.last_outcomes.get(key, at)) for key, at in more.last_outcomes.items()
    }
    changes.moments += more.moments
    for key, amount in more.increments.items():
        changes.increments[key] += amount
    for key, values in more.observations.items():
        changes.observations[key] += values
    for hour, rollup in more.rollups.items():
        for name, value in asdict(rollup).items():
            setattr(changes.rollups[hour], name, getattr(changes.rollups[hour], name) + value)
