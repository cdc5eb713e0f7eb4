"""Carries out actions: reads the current state right before each request and records the result.

It follows the snapshots in a separate task, so no poll and no scrape waits for it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from prefect_monitoring.automations.downstream import Pipelines, plan_downstream, resumed_by_hand
from prefect_monitoring.automations.events import event_of
from prefect_monitoring.automations.late_runs import plan_skips
from prefect_monitoring.automations.log import log_end
from prefect_monitoring.automations.planner import Planner
from prefect_monitoring.automations.slots import changed_by_hand, plan_slots, wants
from prefect_monitoring.automations.steps import STEPS
from prefect_monitoring.automations.unresponsive import announcement, plan_marks
from prefect_monitoring.automations.world import World
from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.ledger import action_rows
from prefect_monitoring.model.actions import HOLDING, Acting, Action, ActionResult, Hold, Kind
from prefect_monitoring.model.records import Deployment, Pipeline
from prefect_monitoring.model.units import DAY, HOUR
from prefect_monitoring.prefect_api.actions import DONE, Outcome
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.flow_runs import RunGroup
from prefect_monitoring.snapshot.model import Snapshot

log = logging.getLogger(__name__)

# How often held pauses are checked for a resume by hand.
VERIFY_SECONDS: Final = 60.0
EVENTS_AT_ONCE: Final = 100
# An event that could not be sent for this long is dropped as outdated.
EVENT_PATIENCE_SECONDS: Final = HOUR


@dataclass(frozen=True, slots=True)
class State:
    """The actions that are open or in force, as the ledger has them."""

    acting: Acting
    open_actions: Sequence[Action]
    holds: Sequence[Action]

    def holds_of(self, kind: Kind) -> list[Action]:
        return [hold for hold in self.holds if hold.kind is kind]


class Controller:
    """One round per snapshot. All ledger work happens on the reader's thread."""

    def __init__(self, reader: Reader, planner: Planner, world: World, clock: Callable[[], float] = time.time) -> None:
        self._reader = reader
        self._planner = planner
        self._world = world
        self._clock = clock
        self._verified_at = 0.0

    async def act(self, snapshot: Snapshot) -> None:
        """Decides on new actions from `snapshot`, and carries out every open one. Raises LedgerError."""
        state = await self._state()
        if state.acting.stopped_by_hand:
            await self._refuse(state)
        else:
            await self._decide_and_carry_out(snapshot, state)
        if not self._planner.mode.dry_run:
            await self._send_events()

    async def _decide_and_carry_out(self, snapshot: Snapshot, state: State) -> None:
        if state.acting.enabled_at is not None and not _was_stopped(snapshot):
            await self._plan(snapshot, state)
        if self._planner.mode.dry_run:
            return
        for action in (await self._state()).open_actions:
            if not await self._carry_out(action, snapshot):
                break

    async def _state(self) -> State:
        return await self._reader.in_ledger(self._read_state, self._clock())

    def _read_state(self, now: float) -> State:
        acting = self._planner.acting(now)
        with self._reader.ledger.transaction() as connection:
            return State(acting, action_rows.open_actions(connection), action_rows.holds(connection))

    async def _store(self, *actions: Action) -> None:
        if actions:
            await self._reader.in_ledger(self._reader.ledger.store_actions, actions, self._clock())

    async def _refuse(self, state: State) -> None:
        """Refuses what was not sent before a person stopped actions: sending it later would be too late."""
        for action in state.open_actions:
            if action.result is ActionResult.PLANNED:
                await self._finish(action, Outcome(ActionResult.REFUSED, "actions were stopped"), state.holds)

    # Deciding

    async def _plan(self, snapshot: Snapshot, state: State) -> None:
        """Applies each rule separately, so that an API error in one does not stop the others."""
        for plan in (self._plan_downstream, self._plan_slots, self._plan_skips, self._plan_marks):
            try:
                await plan(snapshot, state)
            except ApiError as fault:
                log.warning("Prefect could not be read for an action: %s", fault)

    async def _plan_downstream(self, snapshot: Snapshot, state: State) -> None:
        held = state.holds_of(Kind.PAUSE)
        if held and self._is_time_to_verify():
            existing = await self._world.deployments({hold.target for hold in held})
            await self._store(*resumed_by_hand(held, existing))
            held = (await self._state()).holds_of(Kind.PAUSE)
        view = Pipelines(snapshot.run_stats, snapshot.policies, dict(self._live_deployments()))
        enabled_at, now = state.acting.enabled_at or 0.0, self._clock()
        decided = plan_downstream(view, held, enabled_at=enabled_at, now=now, open_actions=state.open_actions)
        await self._record(decided)

    def _live_deployments(self) -> Iterator[tuple[Pipeline, Deployment]]:
        return self._reader.ledger.names.live_deployments()

    async def _plan_slots(self, snapshot: Snapshot, state: State) -> None:
        held, now = state.holds_of(Kind.SCALE_UP), self._clock()
        if snapshot.active is None:
            return  # unknown what is running: neither raise nor restore
        wanted = wants(snapshot.policies, snapshot.active.oldest, now)
        if wanted or held:
            slots = await self._world.slots()
            changed = list(changed_by_hand(held, slots))
            await self._store(*changed)
            newest = {hold.id: hold for hold in (*held, *changed)}
            in_force = [hold for hold in newest.values() if hold.hold is not Hold.RELEASED]
            busy = {action.target for action in state.open_actions}
            await self._record(plan_slots(wanted, in_force, slots, now, busy=busy))

    async def _plan_skips(self, snapshot: Snapshot, state: State) -> None:
        limits = {
            pipeline: policy.skip.when_later_than
            for pipeline, policy in snapshot.policies.items()
            if policy.skip is not None
        }
        if not limits:
            return
        now, names = self._clock(), self._reader.ledger.names
        deployments = tuple(deployment.id for pipeline, deployment in names.live_deployments() if pipeline in limits)
        flows = tuple(flow.id for flow in names.live_flows() if Pipeline(flow.name, "") in limits)
        groups = [RunGroup(deployments=deployments), RunGroup(flows=flows)]
        overdue = await self._world.overdue(now - min(limits.values()), groups)
        runs = [(names.pipeline_of(run.flow_id, run.deployment_id), run) for run in overdue]
        await self._record(plan_skips(runs, snapshot.policies, enabled_at=state.acting.enabled_at or 0.0, now=now))

    async def _plan_marks(self, snapshot: Snapshot, _state: State) -> None:
        now, silent = self._clock(), snapshot.active.silent if snapshot.active is not None else None
        wanted = list(plan_marks(silent or (), snapshot.policies, now))
        new = await self._reader.in_ledger(self._unknown, wanted) if wanted else []
        if new and (self._planner.mode.dry_run or await self._world.keeps_events(announcement(new[0]), now - DAY)):
            await self._record(iter(new))

    def _unknown(self, actions: Sequence[Action]) -> list[Action]:
        with self._reader.ledger.transaction() as connection:
            return action_rows.without_known(connection, actions)

    async def _record(self, decided: Iterator[Action]) -> None:
        """Sends new intentions through the fuse; changes of holds are stored as they are."""
        actions = list(decided)
        await self._store(*(action for action in actions if action.hold is not Hold.NONE))
        wanted = [action for action in actions if action.hold is Hold.NONE]
        if wanted:
            await self._reader.in_ledger(self._planner.record, wanted, self._clock())

    def _is_time_to_verify(self) -> bool:
        now = self._clock()
        if now - self._verified_at < VERIFY_SECONDS:
            return False
        self._verified_at = now
        return True

    # Carrying out

    async def _carry_out(self, action: Action, snapshot: Snapshot) -> bool:
        """Advances an action as far as possible now. False if actions were stopped meanwhile."""
        state = await self._state()
        if not state.acting.allowed and not state.acting.fuse_blown:
            return False
        step, holds = STEPS[action.kind], state.holds
        try:
            outcome = await step.check(self._world, action, holds)
            obstacle = _obstacle(action, snapshot)
            if outcome.result is ActionResult.PLANNED and obstacle is not None:
                outcome = obstacle
            elif outcome.result is ActionResult.PLANNED and self._clock() <= action.expires_at:
                action = replace(action, result=ActionResult.SENT)
                await self._store(action)
                outcome = await step.send(self._world.actions, action)
                if outcome.result is ActionResult.REFUSED:  # has an earlier request succeeded?
                    again = await step.check(self._world, action, holds)
                    outcome = again if again.result is ActionResult.DONE else outcome
        except ApiError as fault:
            outcome = Outcome(action.result, str(fault))
        updated = replace(action, result=outcome.result, reason=outcome.reason)
        if outcome.result.is_final:
            await self._finish(action, outcome, holds)
        elif self._clock() > action.expires_at and not updated.may_be_in_force:  # if it may be, Prefect decides
            await self._finish(action, Outcome(*_too_late(action, outcome)), holds)
        else:
            await self._store(updated)
        return True

    async def _finish(self, action: Action, outcome: Outcome, holds: Sequence[Action]) -> None:
        done = outcome.result is ActionResult.DONE
        ended = replace(
            action,
            result=outcome.result,
            reason=outcome.reason,
            finished_at=self._clock(),
            hold=Hold.HELD if done and action.kind in HOLDING else action.hold,
        )
        await self._store(ended, *STEPS[action.kind].then(ended, holds))
        log_end(ended)

    async def _send_events(self) -> None:
        """Sends the queued events. Events that a kill left in the queue are sent again, with the same ids."""
        ledger = self._reader.ledger
        while due := await self._reader.in_ledger(ledger.events_due, EVENTS_AT_ONCE):
            oldest = self._clock() - EVENT_PATIENCE_SECONDS
            young = [event_of(action) for action in due if (action.finished_at or action.decided_at) > oldest]
            sent = await self._world.actions.emit(young) if young else DONE
            if not sent.result.is_final:
                log.debug("%d events wait for another try: %s", len(young), sent.reason)
                return
            if sent.result is not ActionResult.DONE:
                log.warning("%d events are lost: %s", len(young), sent.reason)
            await self._reader.in_ledger(ledger.drop_events, [action.id for action in due])


def _was_stopped(snapshot: Snapshot) -> bool:
    """Whether a person had stopped actions: no retry was planned, so that its failures only seem to be for good."""
    acting = snapshot.actions.acting if snapshot.actions is not None else None
    return acting is not None and acting.stopped_by_hand


def _obstacle(action: Action, snapshot: Snapshot) -> Outcome | None:
    """Why the newest snapshot rules out a request that is otherwise valid; None if it does not."""
    if _must_wait(action, snapshot):
        return Outcome(ActionResult.PLANNED, "another run of the pipeline is still running")
    if action.kind is not Kind.MARK_CRASHED:
        return None
    if snapshot.active is None or snapshot.active.silent is None:
        return Outcome(ActionResult.PLANNED, "it is not known whether the run sends heartbeats")
    if action.run_id not in {silent.run.id for silent in snapshot.active.silent}:
        return Outcome(ActionResult.REFUSED, "the run sends heartbeats again")
    return None


def _must_wait(action: Action, snapshot: Snapshot) -> bool:
    """Whether a retry waits: another run of its pipeline is running, or it is unknown whether one is."""
    policy = snapshot.policies.get(action.pipeline)
    if action.kind is not Kind.RETRY or policy is None or policy.retry is None or not policy.retry.unless_running:
        return False
    running = {"running", "retrying"}
    return snapshot.active is None or any(
        count
        for (pipeline, _, state), count in snapshot.active.counts.items()
        if pipeline == action.pipeline and state in running
    )


def _too_late(action: Action, outcome: Outcome) -> tuple[ActionResult, str]:
    if action.kind is Kind.RETRY and outcome.reason.startswith("another run"):
        return ActionResult.REFUSED, outcome.reason
    return ActionResult.FAILED, outcome.reason or "Prefect did not answer in time"
