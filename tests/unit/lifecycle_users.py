"""Actions of people, schedules and workers on the model of the server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st

from unit.fake_prefect import FakePrefect, ServerRun


@dataclass
class Users:
    """Actions of people, schedules and workers on the server, chosen by numbers."""

    fake: FakePrefect
    places: list[tuple[str, str | None]]

    def pick(self, number: int, wanted: Callable[[ServerRun], bool]) -> ServerRun | None:
        eligible = [run for run in self.fake.runs.values() if wanted(run)]
        return eligible[number % len(eligible)] if eligible else None

    def act(self, kind: str, number: int) -> None:
        getattr(self, kind)(number)

    def schedule(self, number: int) -> ServerRun:
        flow_id, deployment_id = self.places[number % len(self.places)]
        run_id = self.fake.schedule(flow_id, deployment_id, retries=number // 4 % 3, in_seconds=number % 7)
        return self.fake.runs[run_id]

    def start(self, number: int) -> ServerRun:
        run = self.pick(number, lambda run: run.state.type in {"SCHEDULED", "PENDING"}) or self.schedule(number)
        self.fake.start(run.id, after=number % 3)
        return run

    def pend(self, number: int) -> None:
        run = self.pick(number, lambda run: run.state.type == "SCHEDULED") or self.schedule(number)
        self.fake.set_state(run.id, "PENDING")

    def complete(self, number: int) -> None:
        run = self.pick(number, lambda run: run.state.type == "RUNNING") or self.start(number)
        self.fake.finish(run.id, after=number % 5)

    def fail(self, number: int) -> ServerRun:
        run = self.pick(number, lambda run: run.state.type == "RUNNING") or self.start(number)
        message = ("", "HTTP 429 Too Many Requests", "deadlock detected")[number % 3]
        self.fake.finish(run.id, after=number % 5, state_type="FAILED", message=message)
        return run

    def crash(self, number: int) -> None:
        run = self.pick(number, lambda run: not run.over) or self.schedule(number)
        self.fake.finish(run.id, state_type="CRASHED", message="Flow run process exited with status code 137")

    def cancel(self, number: int) -> None:
        run = self.pick(number, lambda run: not run.over) or self.schedule(number)
        self.fake.set_state(run.id, "CANCELLING")
        self.fake.finish(run.id, state_type="CANCELLED")

    def pause(self, number: int) -> None:
        run = self.pick(number, lambda run: run.state.type == "RUNNING") or self.start(number)
        self.fake.set_state(run.id, "PAUSED")
        self.fake.now += number
        self.fake.set_state(run.id, "RUNNING")

    def retry(self, number: int) -> None:
        run = self.pick(number, lambda run: run.over and run.deployment_id is not None) or self.fail(number)
        self.fake.retry(run.id)

    def set_by_hand(self, number: int) -> None:
        """Failed → Completed or Cancelled only: opposite changes would leave every count unchanged."""
        run = self.pick(number, lambda run: run.state.type in {"FAILED", "CRASHED"}) or self.fail(number)
        if run.over:
            self.fake.set_state(run.id, ("COMPLETED", "CANCELLED")[number % 2], message="by hand")

    def end_together(self, number: int) -> None:
        """Ends several runs in the same microsecond."""
        for _ in range(number % 3):
            self.start(number)
        running = [run for run in self.fake.runs.values() if run.state.type == "RUNNING"]
        if running:
            self.fake.now = max(run.state.at for run in running) + 1
            for run in running:
                self.fake.set_state(run.id, "COMPLETED")

    def wait(self, number: int) -> None:
        self.fake.now += (0, 1, 15, 80, 400, 4000)[number % 6]


ACTIONS = (
    "schedule",
    "start",
    "start",
    "pend",
    "pause",
    "complete",
    "fail",
    "fail",
    "crash",
    "cancel",
    "retry",
    "retry",
    "set_by_hand",
    "end_together",
    "wait",
)
actions = st.tuples(st.sampled_from(ACTIONS), st.integers(0, 11))
