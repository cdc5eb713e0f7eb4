"""What happens on a server in a month: its pipelines are due, workers take their runs, and the runs end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from months.pipelines import FOREVER, USUAL, Behaviour, Phase, Pipeline
from months.schedules import on
from months.server import MonthRun, MonthServer
from prefect_monitoring.model.records import ConcurrencyLimit, Materialization

LATE_AFTER: Final = 15.0
POLL_OF_WORKERS: Final = 15.0
RETRY_DELAY: Final = 30.0
HEARTBEAT: Final = 30.0


@dataclass
class World:
    """A server with its pipelines and workers, from 30 days before the month on."""

    pipelines: Sequence[Pipeline]
    phases: Sequence[Phase] = ()
    pools: dict[str, str] = field(default_factory=lambda: {"main": "process"})
    own_limits: dict[str, int] = field(default_factory=dict)
    server: MonthServer = field(default_factory=lambda: MonthServer(on(-30)))

    def __post_init__(self) -> None:
        self.ids: dict[str, tuple[str, str]] = {}
        self._by_deployment: dict[str, Pipeline] = {}
        self._counts: dict[Phase, int] = {}
        self._deferred: list[Callable[[], object]] = []
        self._lives: dict[str, tuple[Pipeline, Behaviour]] = {}
        self.server.actions.rescheduled = self._retried
        self.server.inventory.types = self.pools
        self.server.inventory.next_start = self._next_start
        for pipeline in self.pipelines:
            self.server.later(pipeline.since, partial(self._deploy, pipeline))

    def api_is_back(self) -> None:
        deferred, self._deferred = self._deferred, []
        for action in deferred:
            action()

    # Schedules

    def _deploy(self, pipeline: Pipeline) -> None:
        flow = self.server.flow_called(pipeline.flow)
        names = {"pool": pipeline.pool, "queue": pipeline.queue, "tags": pipeline.tags}
        one = self.server.add_deployment(pipeline.deployment, flow, **names)  # type: ignore[arg-type] # of three types
        self.stands(one, paused=False)
        self.ids[pipeline.flow] = flow, one
        self._by_deployment[one] = pipeline
        if pipeline.flow in self.own_limits:
            limit = ConcurrencyLimit(f"deployment:{one}", one, self.own_limits[pipeline.flow], 0)
            self.server.inventory.limits.append(limit)
        self._plan(pipeline, one, self.server.now)
        if pipeline.until < FOREVER:
            self.server.later(pipeline.until, partial(self.server.delete_deployment, one))

    def stands(self, deployment: str, *, paused: bool) -> None:
        now = replace(self.server.deployment_names[deployment], paused=paused, ready=True, schedules="there is one")
        self.server.deployment_names[deployment] = now

    def _plan(self, pipeline: Pipeline, deployment: str, after: float) -> None:
        at = pipeline.schedule.after(after)
        if at < pipeline.until:
            self.server.later(at, partial(self._due, pipeline, deployment, at))

    def _next_start(self, deployment: str, now: float) -> float | None:
        at = self._by_deployment[deployment].schedule.after(now - 1e-3)
        return at if at < self._by_deployment[deployment].until else None

    def _due(self, pipeline: Pipeline, deployment: str, at: float) -> None:
        self._plan(pipeline, deployment, at)
        for _ in range(pipeline.parallel):
            behaviour = self._conduct_of(pipeline, at)
            if not (self.server.deployment_names[deployment].paused or behaviour.missed):
                run = self.server.add_run(deployment, at, behaviour.flow_retries)
                self._lives[run] = pipeline, behaviour
                self.server.later(at + 4, partial(self._offer, run, pipeline, behaviour))

    def _retried(self, run: str, at: float) -> None:
        """By the exporter: a worker takes it once more."""
        self.server.later(at, partial(self._offer, run, *self._lives[run]))

    def _conduct_of(self, pipeline: Pipeline, at: float) -> Behaviour:
        for phase in self.phases:
            if phase.flow == pipeline.flow and phase.begin <= at < phase.end:
                self._counts[phase] = number = self._counts.get(phase, 0) + 1
                if number % phase.every == 0:
                    return phase.behaviour
        return USUAL

    # The life of a run. Nothing happens to it while the API is down; then it goes on.

    def _when_up(self, action: Callable[[], object]) -> None:
        if self.server.down:
            self._deferred.append(action)
        else:
            action()

    def _enter(self, run: str, state: str, name: str = "", message: str = "") -> None:
        self._when_up(lambda: self.server.set_state(run, state, name, message))

    def _offer(self, run: str, pipeline: Pipeline, behaviour: Behaviour) -> None:
        """A worker asks for runs that are due; a run that it does not get is late after a while."""
        now, one = self.server.now, self._run(run)
        again = partial(self._offer, run, pipeline, behaviour)
        if self.server.down:
            self._deferred.append(partial(self._after_outage, run, again))
        elif now - one.expected >= behaviour.late and self._is_taken(one):
            self._pend(run, pipeline, behaviour)
        else:
            if now - one.expected >= LATE_AFTER and one.state.name != "Late":
                self.server.set_state(run, "SCHEDULED", "Late")
            self.server.later(now + POLL_OF_WORKERS, again)

    def _after_outage(self, run: str, again: Callable[[], object]) -> None:
        """The server notes first that it is late; the worker asks a little later."""
        self.server.set_state(run, "SCHEDULED", "Late")
        self.server.later(self.server.now + POLL_OF_WORKERS, again)

    def _is_taken(self, run: MonthRun) -> bool:
        inventory = self.server.inventory
        is_full = run.pool in inventory.slots and (inventory.used(run.pool)) >= inventory.slots[run.pool]
        return not (run.pool in inventory.down_since or (run.pool, run.queue) in inventory.unpolled or is_full)

    def _run(self, run: str) -> MonthRun:
        found = self.server.runs[run]
        assert isinstance(found, MonthRun)
        return found

    def _pend(self, run: str, pipeline: Pipeline, behaviour: Behaviour) -> None:
        self._enter(run, "PENDING")
        wait = behaviour.pending
        if behaviour.slot_wait:
            self._enter(run, "SCHEDULED", "AwaitingConcurrencySlot")
            wait = behaviour.slot_wait
            self.server.later(self.server.now + wait - 1, partial(self._enter, run, "PENDING"))
        self.server.later(self.server.now + wait, partial(self._when_up, partial(self._work, run, pipeline, behaviour)))

    def _work(self, run: str, pipeline: Pipeline, behaviour: Behaviour) -> None:
        """Runs, as often as retries save it; its tasks follow one another."""
        self.server.set_state(run, "RUNNING")
        seconds = behaviour.seconds if behaviour.seconds is not None else pipeline.seconds
        attempts_left = behaviour.flow_retries + 1 - self._run(run).run_count
        if attempts_left > 0:
            self.server.later(self.server.now + seconds / 2, partial(self._enter, run, "FAILED"))
            again = partial(self._when_up, partial(self._work, run, pipeline, behaviour))
            self.server.later(self.server.now + seconds / 2 + RETRY_DELAY, again)
            return
        begin = self.server.now
        for beat in range(int(behaviour.beats / HEARTBEAT)):
            self.server.later(begin + beat * HEARTBEAT, partial(self.server.events.beat, run))
        if behaviour.one_more_task:
            self._task(run, behaviour.one_more_task, seconds, 0)
        for task, share in pipeline.tasks:
            self.server.later(begin, partial(self._task, run, task, share * seconds, behaviour.task_retries))
            begin += share * seconds
        end = partial(self._when_up, partial(self._end, run, pipeline, behaviour))
        self.server.later(self.server.now + seconds, end)

    def _task(self, run: str, task: str, seconds: float, retries: int) -> None:
        one = self.server.tasks.begin(task, run, attempt=self._run(run).run_count)
        for _ in range(retries):
            self.server.tasks.fail_and_retry(one, self.server.logs)
        self.server.later(self.server.now + seconds - 1, partial(self.server.tasks.finish, one))

    def _end(self, run: str, pipeline: Pipeline, behaviour: Behaviour) -> None:
        if pipeline.metric and behaviour.reports is not None:
            self.server.logs.emit(pipeline.metric, behaviour.reports, run)
        if pipeline.asset and behaviour.reports is not None:
            event = Materialization(self.server.new_id(), pipeline.asset, self.server.now, "succeeded")
            self.server.events.materialized.append(event)
        if behaviour.orphan or behaviour.part_fails:
            part = self.server.add_run_without_deployment(f"{pipeline.flow}-part", run)
            self.server.start(part)
            part_end = "FAILED" if behaviour.part_fails else "COMPLETED"
            self.server.later(self.server.now + behaviour.orphan, partial(self._enter, part, part_end))
        is_retried = self._run(run).run_count > behaviour.flow_retries + 1
        end = (behaviour.after_retry if is_retried else "") or behaviour.ends
        self.server.set_state(run, end, message=behaviour.message if end == behaviour.ends else "")
