"""The write side of the model of the server, with the interface of `ActionsApi`; can lose requests and responses."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prefect_monitoring.model.actions import ActionResult
from prefect_monitoring.prefect_api.actions import DONE, Outcome, Transition
from prefect_monitoring.prefect_api.errors import ApiError

if TYPE_CHECKING:
    from unit.fake_prefect import FakePrefect

GONE = Outcome(ActionResult.REFUSED, "it does not exist any more")
NO_ANSWER = Outcome(ActionResult.SENT, "no answer")
REPEATED = Outcome(ActionResult.REFUSED, "reject: This run has already made this state transition.")
# Faults of a request: it is lost, its response is lost, it is refused.
LOSE_REQUEST, LOSE_ANSWER, THROTTLE, FORBID = "lose request", "lose answer", "throttle", "forbid"
FAULTS = (LOSE_REQUEST, LOSE_ANSWER, THROTTLE, FORBID)


class FakeActions:
    """`writes`: the requests that changed the server. `faults`: those of the next requests, one each."""

    def __init__(self, fake: FakePrefect) -> None:
        self.fake = fake
        self.transitions: dict[str, str] = {}  # by state id
        self.events: dict[str, Mapping[str, Any]] = {}
        self.writes: list[tuple[str, str]] = []
        self.faults: deque[str] = deque()
        self.before_write: Callable[[], None] = lambda: None
        self.after_write: Callable[[], None] = lambda: None

    async def history(self, run_id: str) -> tuple[Transition, ...]:
        await self.fake.request("history")
        run = self.fake.runs.get(run_id)
        return tuple(
            Transition(state.id, state.type, state.name, state.at, self.transitions.get(state.id, ""))
            for state in (run.states if run is not None else ())
        )

    async def retry(self, run_id: str, scheduled_at: float, transition_id: str, _message: str) -> Outcome:
        def change() -> Outcome:
            outcome = self._set_state(run_id, "SCHEDULED", "AwaitingRetry", transition_id)
            if outcome is DONE:
                self.fake.runs[run_id].scheduled = scheduled_at
            return outcome

        return await self._write("retry", run_id, change)

    async def skip(self, run_id: str, transition_id: str, _message: str) -> Outcome:
        def change() -> Outcome:
            run = self.fake.runs.get(run_id)
            if run is not None and run.state.type == "SCHEDULED":  # rejected, and set to CANCELLED instead
                self.fake.set_state(run_id, "CANCELLED")
                return DONE
            return self._set_state(run_id, "CANCELLING", "Cancelling", transition_id)

        return await self._write("skip", run_id, change)

    async def mark_crashed(self, run_id: str, transition_id: str, _message: str) -> Outcome:
        return await self._write(
            "mark_crashed", run_id, lambda: self._set_state(run_id, "CRASHED", "Crashed", transition_id)
        )

    async def pause(self, deployment_id: str) -> Outcome:
        return await self._write("pause", deployment_id, lambda: self._set_paused(deployment_id, paused=True))

    async def resume(self, deployment_id: str) -> Outcome:
        return await self._write("resume", deployment_id, lambda: self._set_paused(deployment_id, paused=False))

    async def set_slots(self, pool: str, slots: int) -> Outcome:
        def change() -> Outcome:
            pools = self.fake.inventory.pools
            if pool not in {work_pool.name for work_pool in pools}:
                return GONE
            self.fake.inventory.pools = [
                replace(work_pool, slots=slots) if work_pool.name == pool else work_pool for work_pool in pools
            ]
            return DONE

        return await self._write(f"slots {slots}", pool, change)

    async def emit(self, events: Sequence[Mapping[str, Any]]) -> Outcome:
        try:
            await self.fake.request("emit")
        except ApiError as error:
            return Outcome(ActionResult.SENT, str(error))
        self.before_write()
        self.events.update((str(event["id"]), event) for event in events)
        if not self.fake.events.loses:
            self.fake.events.kept.update(self.events)
        self.after_write()
        return DONE

    def _set_state(self, run_id: str, state_type: str, name: str, transition_id: str) -> Outcome:
        run = self.fake.runs.get(run_id)
        if run is None:
            return GONE
        if self.transitions.get(run.state.id) == transition_id:
            return REPEATED
        if not self.fake.set_state(run_id, state_type, name):
            return Outcome(ActionResult.REFUSED, "abort: this run has already terminated")
        self.transitions[run.state.id] = transition_id
        return DONE

    def _set_paused(self, deployment_id: str, *, paused: bool) -> Outcome:
        deployment = self.fake.deployment_names.get(deployment_id)
        if deployment is None:
            return GONE
        self.fake.deployment_names[deployment_id] = replace(deployment, paused=paused)
        return DONE

    async def _write(self, kind: str, target: str, change: Callable[[], Outcome]) -> Outcome:
        try:
            await self.fake.request(kind.split(maxsplit=1)[0])
        except ApiError as error:
            return Outcome(ActionResult.SENT, str(error))
        self.before_write()
        fault = self.faults.popleft() if self.faults else ""
        if fault == LOSE_REQUEST:
            return NO_ANSWER
        if fault == THROTTLE:
            return Outcome(ActionResult.PLANNED, "throttled")
        if fault == FORBID:
            return Outcome(ActionResult.FAILED, "403")
        outcome = change()
        if outcome is DONE:
            self.writes.append((kind, target))
        self.after_write()
        return NO_ANSWER if fault == LOSE_ANSWER else outcome
