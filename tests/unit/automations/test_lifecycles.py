"""No run gets more than its retries, in any order of events and wherever the process dies."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from prefect_monitoring.model.actions import ActionResult, retry_id
from prefect_monitoring.model.records import BAD_TYPES
from support.examples import examples
from unit.acting_machine import TROUBLE, ActingMachine, Trouble
from unit.acting_process import PIPELINE
from unit.fake_prefect import ServerRun

MAX = 2
NUMBERS = st.integers(0, 3)


class RetryLifecycles(ActingMachine):
    """Users, workers, Prefect's faults and crashes, in any order."""

    rules_text = f"pipelines: [{{flow: etl, retry: {{max: {MAX}, delay: 1m, within: 1h}}}}]"
    reads = ("history", "flow_runs", "deployments", "finished_page", "active_runs")

    def __init__(self) -> None:
        super().__init__()
        flow = self.fake.add_flow("etl")
        self.place = (flow, self.fake.add_deployment("daily", flow))
        self.taken_over: dict[str, int] = {}

    async def read_state(self) -> None:
        await self.process.poll()

    async def act_once(self) -> None:
        await self.process.poll()
        await self.process.controller.act(self.process.last)

    def finish(self) -> None:
        """A run that keeps failing gets exactly its retries, then counts as failed; each action emits an event."""
        self.process.ledger.change_acting(lambda acting: acting.resumed(self.fake.now))
        self.fake.now += 2 * 3600
        self.act()
        run = self.fake.runs[self.fake.schedule(*self.place)]
        for _ in range(MAX + 2):
            if run.state.name in {"Scheduled", "AwaitingRetry"}:
                self.process.fail(run.id)
            self.act()
        assert len(self._retries_of(run)) == MAX
        actions = [action for action in self.process.actions() if action.run_id == run.id]
        results = [action.result for action in actions]
        assert sorted(results) == [ActionResult.DONE] * MAX + [ActionResult.EXHAUSTED]
        assert {action.id for action in actions} <= self.fake.actions.events.keys()
        failure = self.process.last.run_stats[PIPELINE].last_failure
        assert failure is not None
        assert failure.run_id == run.id

    def _waiting(self, number: int) -> ServerRun:
        """A run that waits for a worker; scheduled anew if there is none."""
        waiting = [run for run in self.fake.runs.values() if run.state.type == "SCHEDULED"]
        return waiting[number % len(waiting)] if waiting else self.fake.runs[self.fake.schedule(*self.place)]

    def _pick(self, number: int, wanted: Callable[[ServerRun], bool]) -> ServerRun | None:
        eligible = [run for run in self.fake.runs.values() if wanted(run)]
        return eligible[number % len(eligible)] if eligible else None

    # Users and workers

    @rule(state_type=st.sampled_from(sorted(BAD_TYPES)), troubles=st.lists(TROUBLE, min_size=1, max_size=MAX + 1))
    def act_on_failures(self, state_type: str, troubles: list[Trouble]) -> None:
        """Fails one run for as long as it is retried."""
        for trouble in troubles:
            self._end(0, state_type)
            self.act_in_trouble(trouble)

    @rule(number=NUMBERS)
    def fail(self, number: int) -> None:
        self._end(number, "FAILED")

    @rule(number=NUMBERS)
    def complete(self, number: int) -> None:
        self._end(number, "COMPLETED")

    def _end(self, number: int, state_type: str) -> None:
        run = self._waiting(number)
        self.fake.start(run.id)
        self.fake.finish(run.id, 1.0, state_type, "connection refused")

    @rule(number=NUMBERS, fails_again=st.booleans())
    def retry_by_hand(self, number: int, *, fails_again: bool) -> None:
        run = self._pick(number, lambda run: run.over)
        if run is not None and self.fake.retry(run.id):
            self._take_over(run)
            if fails_again:
                self.process.fail(run.id)
                self.act()

    @rule(number=NUMBERS)
    def cancel_by_hand(self, number: int) -> None:
        run = self._pick(number, lambda run: run.run_count > 0)
        if run is not None:
            self.fake.set_state(run.id, "CANCELLED", force=True)
            self._take_over(run)

    @rule(number=NUMBERS)
    def report_a_crash_after_a_cancellation(self, number: int) -> None:
        """A worker kills the process of a cancelled run and reports a crash."""
        run = self._waiting(number)
        self.fake.start(run.id)
        self.fake.set_state(run.id, "CANCELLING")
        self.fake.finish(run.id, 1.0, "CRASHED", "exit code -15")
        self._take_over(run)
        self.act()

    def _take_over(self, run: ServerRun) -> None:
        self.taken_over.setdefault(run.id, len(self._retries_of(run)))

    @rule(number=NUMBERS)
    def delete(self, number: int) -> None:
        run = self._pick(number, lambda run: run.run_count > 1)
        if run is not None:
            self.fake.delete_run(run.id)

    # The exporter

    @rule()
    def poll(self) -> None:
        self.run(self.read_state())

    # Invariants

    def _retries_of(self, run: ServerRun) -> list[int]:
        """The indexes of our retries among the run's states."""
        ours = {retry_id(run.id, state.id, attempt) for state in run.states for attempt in range(1, MAX + 1)}
        transitions = self.fake.actions.transitions
        return [place for place, state in enumerate(run.states) if transitions.get(state.id) in ours]

    @invariant()
    def no_run_has_more_than_its_retries_and_each_follows_a_failure(self) -> None:
        for run in (*self.fake.runs.values(), *self.fake.deleted.values()):
            places = self._retries_of(run)
            assert len(places) <= MAX
            assert all(run.states[place - 1].type in BAD_TYPES for place in places)

    @invariant()
    def run_taken_over_by_hand_is_left_alone(self) -> None:
        for run_id, retries in self.taken_over.items():
            run = self.fake.runs.get(run_id) or self.fake.deleted[run_id]
            assert len(self._retries_of(run)) == retries

    @invariant()
    def intention_is_recorded_before_each_request(self) -> None:
        if hasattr(self, "process"):
            recorded = {action.id for action in self.process.actions()}
            assert {*self.fake.actions.transitions.values()} <= recorded


TestRetryLifecycles = RetryLifecycles.TestCase
TestRetryLifecycles.settings = settings(
    max_examples=examples(12), stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
