"""Whatever happens, in whatever order, and wherever the process dies: no run gets more than its retries."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from prefect_monitoring.ledger.opening import open_ledger
from prefect_monitoring.model.actions import ActionResult, retry_id
from prefect_monitoring.model.counted_metrics import DEFAULT_BOUNDS
from prefect_monitoring.model.records import BAD_TYPES
from prefect_monitoring.prefect_api.errors import ApiError
from support.ledgers import create_tables
from unit.acting_process import PAIR, ActingProcess
from unit.fake_actions import FAULTS
from unit.fake_prefect import FakePrefect, ServerRun
from unit.rig import API, DAY, NO_SYNC, pragma

MAX = 3
RULES = f"pipelines: [{{flow: etl, retry: {{max: {MAX}, delay: 1m, within: 1h}}}}]"
READS = ("history", "flow_runs", "deployments", "finished_page", "active_runs")
# Few, so that much happens to each.
MOST_RUNS = 2
RUNS = st.integers(0, MOST_RUNS - 1)


class SimulatedCrash(BaseException):
    """The process dies here."""


class Lifecycles(RuleBasedStateMachine):
    """Users, workers, Prefect's faults and crashes, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        (self.folder / "pipelines.yml").write_text(RULES)
        self.fake = FakePrefect()
        flow = self.fake.add_flow("etl")
        self.place = (flow, self.fake.add_deployment("daily", flow))
        self.taken_over: dict[str, int] = {}

    def _open(self) -> None:
        ledger = open_ledger(
            create_tables(f"sqlite:///{self.folder}/ledger.db"),
            API,
            bounds=DEFAULT_BOUNDS,
            lookbacks={"flow_runs": 30 * DAY, "task_runs": 30 * DAY, "log_lines": 30 * DAY},
            now=self.fake.now,
        )
        pragma(ledger, NO_SYNC)
        self.process = ActingProcess(self.fake, ledger, self.folder / "pipelines.yml")

    def _close(self) -> None:
        self.process.readers.flow_runs.close()

    def _run(self, number: int) -> ServerRun | None:
        runs = sorted(self.fake.runs.values(), key=lambda run: run.id)
        return runs[number % len(runs)] if runs else None

    @initialize()
    def begin(self) -> None:
        self._open()
        self.loop.run_until_complete(self.process.begin())

    def teardown(self) -> None:
        try:
            if hasattr(self, "process"):
                self._finish()
        finally:
            self.loop.close()
            shutil.rmtree(self.folder)

    def _finish(self) -> None:
        """With all faults over, a run that keeps failing gets exactly its retries and is then reported."""
        self.fake.broken.clear()
        self.fake.actions.faults.clear()
        self.process.ledger.change_acting(lambda acting: acting.resumed(self.fake.now))
        self.fake.now += 2 * 3600
        self.act()
        run = self.fake.runs[self.fake.schedule(*self.place)]
        for _ in range(MAX + 2):
            if run.state.name in {"Scheduled", "AwaitingRetry"}:
                self.process.fail(run.id)
            self.act()
        assert len(self._retries_of(run)) == MAX
        results = [action.result for action in self.process.actions() if action.run_id == run.id]
        assert sorted(results) == [ActionResult.DONE] * MAX + [ActionResult.EXHAUSTED]
        failure = self.process.last.standings[PAIR].last_failure
        assert failure is not None
        assert failure.run_id == run.id
        self._close()

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

    def _take_over(self, run: ServerRun) -> None:
        self.taken_over.setdefault(run.id, len(self._retries_of(run)))

    @rule(number=RUNS)
    def delete(self, number: int) -> None:
        run = self._run(number)
        if run is not None and run.run_count > 1:
            self.fake.delete_run(run.id)

    # Prefect's faults, and time

    @rule(faults=st.lists(st.sampled_from(FAULTS), min_size=1, max_size=3))
    def lose_and_refuse_requests(self, faults: list[str]) -> None:
        self.fake.actions.faults.extend(faults)

    @rule(endpoint=st.sampled_from(READS))
    def break_reads(self, endpoint: str) -> None:
        self.fake.broken[endpoint] = ApiError("broken", "503")

    @precondition(lambda self: self.fake.broken)
    @rule()
    def repair_reads(self) -> None:
        self.fake.broken.clear()

    @rule(seconds=st.sampled_from([60.0, 400.0]))
    def pass_time(self, seconds: float) -> None:
        self.fake.now += seconds

    # The exporter

    @rule()
    def act(self) -> None:
        self.loop.run_until_complete(self.process.act())

    @rule()
    def poll(self) -> None:
        self.loop.run_until_complete(self.process.poll())

    @rule()
    def restart(self) -> None:
        self._close()
        self._open()
        self.loop.run_until_complete(self.process.poll())

    @rule(
        kind=st.sampled_from(["read", "write", "before a record", "after a record", "after a write"]),
        countdown=st.integers(0, 6),
    )
    def act_and_crash(self, kind: str, countdown: int) -> None:
        """A round in which the process dies, if it gets that far; then the next process."""
        left = countdown

        def die(*_: object) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise SimulatedCrash

        self._die_at(kind, die)
        try:
            self.loop.run_until_complete(self.process.act())
        except SimulatedCrash:
            pass
        finally:
            self.fake.before_request = lambda _endpoint: None
            self.fake.actions.before_write = self.fake.actions.after_write = lambda: None
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
        self.restart()

    def _die_at(self, kind: str, die: Callable[..., None]) -> None:
        store = self.process.ledger.store_actions

        def store_and_die(*arguments: object) -> None:
            if kind == "before a record":
                die()
            store(*arguments)  # type: ignore[arg-type]
            if kind == "after a record":
                die()

        if kind == "read":
            self.fake.before_request = die
        elif kind == "write":
            self.fake.actions.before_write = die
        elif kind == "after a write":
            self.fake.actions.after_write = die
        else:
            self.process.ledger.store_actions = store_and_die  # type: ignore[method-assign,assignment]

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


TestLifecycles = Lifecycles.TestCase
TestLifecycles.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
