"""Whatever happens, in whatever order, and wherever the process dies: no run gets more than its retries."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from prefect_monitoring.model.actions import ActionResult, retry_id
from prefect_monitoring.model.records import BAD_TYPES
from unit.acting_machine import ActingMachine
from unit.acting_process import PAIR
from unit.fake_prefect import ServerRun

MAX = 2
# Few, so that much happens to each.
MOST_RUNS = 2
RUNS = st.integers(0, MOST_RUNS - 1)


class RetryLifecycles(ActingMachine):
    """Users, workers, Prefect's faults and crashes, in any order."""

    rules_text = f"pipelines: [{{flow: etl, retry: {{max: {MAX}, delay: 1m, within: 1h}}}}]"
    reads = ("history", "flow_runs", "deployments", "finished_page", "active_runs")

    def __init__(self) -> None:
        super().__init__()
        flow = self.fake.add_flow("etl")
        self.place = (flow, self.fake.add_deployment("daily", flow))
        self.taken_over: dict[str, int] = {}

    async def look(self) -> None:
        await self.process.poll()

    async def act_once(self) -> None:
        await self.process.poll()
        await self.process.controller.act(self.process.last)

    def finish(self) -> None:
        """A run that keeps failing gets exactly its retries, is then reported, and each of its actions is an event."""
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
        failure = self.process.last.standings[PAIR].last_failure
        assert failure is not None
        assert failure.run_id == run.id

    def _run(self, number: int) -> ServerRun | None:
        runs = sorted(self.fake.runs.values(), key=lambda run: run.id)
        return runs[number % len(runs)] if runs else None

    # Users and workers

    @precondition(lambda self: len(self.fake.runs) < MOST_RUNS)
    @rule()
    def schedule(self) -> None:
        self.fake.schedule(*self.place)

    @rule(number=RUNS, state_type=st.sampled_from(["FAILED", "CRASHED"]))
    def run_and_fail(self, number: int, state_type: str) -> None:
        self._run_and_end(number, state_type)

    @rule(number=RUNS)
    def run_and_complete(self, number: int) -> None:
        self._run_and_end(number, "COMPLETED")

    @rule(number=RUNS)
    def run_fail_and_act(self, number: int) -> None:
        self._run_and_end(number, "FAILED")
        self.act()

    def _run_and_end(self, number: int, state_type: str) -> None:
        run = self._run(number)
        if run is not None and run.state.type == "SCHEDULED":
            self.fake.start(run.id)
            self.fake.finish(run.id, 1.0, state_type, "connection refused")

    @rule(number=RUNS, fails_again=st.booleans())
    def retry_by_hand(self, number: int, *, fails_again: bool) -> None:
        run = self._run(number)
        if run is not None and run.over and self.fake.retry(run.id):
            self._take_over(run)
            if fails_again:
                self.run_fail_and_act(number)

    @rule(number=RUNS)
    def cancel_by_hand(self, number: int) -> None:
        run = self._run(number)
        if run is not None and run.run_count:
            self.fake.set_state(run.id, "CANCELLED", force=True)
            self._take_over(run)

    @rule(number=RUNS)
    def cancel_and_crash(self, number: int) -> None:
        """Its process is killed for a cancellation, and its worker reports that."""
        run = self._run(number)
        if run is not None and run.state.type == "SCHEDULED":
            self.fake.start(run.id)
            self.fake.set_state(run.id, "CANCELLING")
            self.fake.finish(run.id, 1.0, "CRASHED", "exit code -15")
            self._take_over(run)

    def _take_over(self, run: ServerRun) -> None:
        self.taken_over.setdefault(run.id, len(self._retries_of(run)))

    @rule(number=RUNS)
    def delete(self, number: int) -> None:
        run = self._run(number)
        if run is not None and run.run_count > 1:
            self.fake.delete_run(run.id)

    # The exporter

    @rule()
    def poll(self) -> None:
        self.run(self.look())

    # What always holds

    def _retries_of(self, run: ServerRun) -> list[int]:
        """The places of our retries among the run's states."""
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
    def a_run_that_somebody_took_over_is_left_alone(self) -> None:
        for run_id, retries in self.taken_over.items():
            run = self.fake.runs.get(run_id) or self.fake.deleted[run_id]
            assert len(self._retries_of(run)) == retries

    @invariant()
    def an_intention_was_recorded_before_each_request(self) -> None:
        if hasattr(self, "process"):
            recorded = {action.id for action in self.process.actions()}
            assert {*self.fake.actions.transitions.values()} <= recorded


TestRetryLifecycles = RetryLifecycles.TestCase
TestRetryLifecycles.settings = settings(
    max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
