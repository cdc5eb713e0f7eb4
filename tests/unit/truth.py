"""The expected totals of the ledger once it has read everything from the model of the server."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from prefect_monitoring.analysis.failure_causes import cause_of
from prefect_monitoring.model.records import BAD_TYPES, NO_FLOW, Pipeline
from unit.fake_details import EmittedValue, ServerTaskRun
from unit.fake_prefect import FakePrefect, ServerRun

CustomKey = tuple[Pipeline, str, str, tuple[tuple[str, str], ...]]
"""Pipeline, task, name and labels of a custom metric."""


@dataclass
class Truth:
    """`flows` and `deployments` are names by id, including deleted ones."""

    fake: FakePrefect
    flows: dict[str, str]
    deployments: dict[str, str]

    def pipeline(self, run: ServerRun) -> Pipeline:
        return Pipeline(self.flows[run.flow_id], self.deployments[run.deployment_id] if run.deployment_id else "")

    def all_runs(self) -> list[ServerRun]:
        return [*self.fake.runs.values(), *self.fake.deleted.values()]

    def outcomes(self) -> Counter[tuple[Pipeline, str]]:
        return Counter((self.pipeline(run), state.label) for run in self.all_runs() for state in run.terminal_states)

    def failures(self) -> Counter[tuple[Pipeline, str]]:
        return Counter(
            (self.pipeline(run), cause_of(state.message))
            for run in self.all_runs()
            for state in run.terminal_states
            if state.type in BAD_TYPES
        )

    def retries(self) -> Counter[Pipeline]:
        retries: Counter[Pipeline] = Counter()
        for run in self.all_runs():
            retries[self.pipeline(run)] += max(run.attempts_begun - 1, 0)
        return +retries

    def start_delays(self) -> dict[Pipeline, list[float]]:
        delays: defaultdict[Pipeline, list[float]] = defaultdict(list)
        for run in self.all_runs():
            if run.run_count and run.first_running is not None:
                delays[self.pipeline(run)].append(max(run.first_running - run.expected, 0.0))
        return delays

    def durations(self) -> dict[Pipeline, list[float]]:
        durations: defaultdict[Pipeline, list[float]] = defaultdict(list)
        for run in self.all_runs():
            durations[self.pipeline(run)] += [
                seconds for _, seconds in run.completed_durations() if seconds is not None
            ]
        return {pipeline: seconds for pipeline, seconds in durations.items() if seconds}

    def rollups(self, grain: int) -> dict[tuple[Pipeline, int], tuple[int, int]]:
        """(good, bad) runs by their last state, per pipeline and hour or day of their end."""
        totals: defaultdict[tuple[Pipeline, int], list[int]] = defaultdict(lambda: [0, 0])
        for run in self.all_runs():
            if run.over and run.end is not None and run.state.type != "CANCELLED":
                totals[self.pipeline(run), int(run.end // grain) * grain][run.state.type != "COMPLETED"] += 1
        return {key: (good, bad) for key, (good, bad) in totals.items()}

    def consecutive_failures(self) -> Counter[Pipeline]:
        """Failed runs since the last success, including deleted runs."""
        failures: Counter[Pipeline] = Counter()
        for pipeline in {self.pipeline(run) for run in self.all_runs()}:
            mine = [run for run in self.all_runs() if self.pipeline(run) == pipeline and run.over]
            last_good = max((run.end or 0.0 for run in mine if run.state.type == "COMPLETED"), default=0.0)
            failures[pipeline] = sum(run.state.type in BAD_TYPES and (run.end or 0.0) > last_good for run in mine)
        return +failures


@dataclass
class DetailTruth:
    """The expected totals of task runs and log lines; task names are never capped here."""

    flow_runs: Truth

    @property
    def _task_runs(self) -> list[ServerTaskRun]:
        return [run for run in self.flow_runs.fake.tasks.runs.values() if not run.is_placeholder]

    def _pipeline(self, flow_run_id: str | None) -> Pipeline:
        runs = {run.id: run for run in self.flow_runs.all_runs()}
        return NO_FLOW if flow_run_id is None else self.flow_runs.pipeline(runs[flow_run_id])

    def outcomes(self) -> Counter[tuple[Pipeline, str, str]]:
        """By pipeline, task and state."""
        return Counter(
            (self._pipeline(run.flow_run_id), run.task, state.label)
            for run in self._task_runs
            for state in run.states
            if state.is_terminal
        )

    def failures(self) -> Counter[tuple[Pipeline, str, str]]:
        """By pipeline, task and cause: final failures, and failed attempts that a retry saved."""
        failures: Counter[tuple[Pipeline, str, str]] = Counter()
        for run in self._task_runs:
            bad = [state.message for state in run.states if state.type in BAD_TYPES]
            failures.update(
                (self._pipeline(run.flow_run_id), run.task, cause_of(message)) for message in (*bad, *run.saved)
            )
        return failures

    def retries(self) -> Counter[tuple[Pipeline, str]]:
        retries: Counter[tuple[Pipeline, str]] = Counter()
        for run in self._task_runs:
            if run.over:
                retries[self._pipeline(run.flow_run_id), run.task] += run.attempts - 1
        return +retries

    def seconds(self) -> dict[tuple[Pipeline, str], float]:
        seconds: defaultdict[tuple[Pipeline, str], float] = defaultdict(float)
        for run in self._task_runs:
            if run.over:
                seconds[self._pipeline(run.flow_run_id), run.task] += run.run_time
        return dict(seconds)

    def observed(self) -> dict[CustomKey, tuple[int, float]]:
        """Count and sum of each custom metric."""
        observations: defaultdict[CustomKey, list[float]] = defaultdict(list)
        for key, emitted, _ in self._emitted():
            observations[key].append(emitted.value)
        return {key: (len(values), sum(values)) for key, values in observations.items()}

    def last_values(self) -> dict[CustomKey, set[float]]:
        """The possible last values of each metric: any of those with the latest timestamp."""
        values: defaultdict[CustomKey, list[tuple[float, float]]] = defaultdict(list)
        for key, emitted, at in self._emitted():
            values[key].append((at, emitted.value))
        return {key: {value for at, value in many if at == max(many)[0]} for key, many in values.items()}

    def _emitted(self) -> Iterator[tuple[CustomKey, EmittedValue, float]]:
        fake = self.flow_runs.fake
        for one in fake.logs.lines:
            if (emitted := one.emitted) is not None:
                task = fake.tasks.runs[one.line.task_run_id].task if one.line.task_run_id else ""
                yield (self._pipeline(one.line.flow_run_id), task, emitted.name, emitted.labels), emitted, one.line.at
