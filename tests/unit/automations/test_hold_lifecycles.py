"""Pausing, scaling and skipping under faults and crashes: manual changes are kept, and all others are undone."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from prefect_monitoring.automations.controller import VERIFY_SECONDS
from prefect_monitoring.model.actions import Action, ActionResult, Hold, Kind
from prefect_monitoring.model.changes import KnownRun
from prefect_monitoring.model.records import Pipeline, WorkPool
from prefect_monitoring.model.run_stats import RunStats
from prefect_monitoring.snapshot.model import ActiveRuns
from support.examples import examples
from unit.acting_machine import TROUBLE, ActingMachine, Trouble

HOUR, LATE = 3600.0, 120.0
SLOTS = {"etl": 10, "crm": 15}  # limit to which a long run of each flow raises the pool
BY_HAND = (3, 6, 20)
FLOWS = st.sampled_from(sorted(SLOTS))
RULES = "pipelines:\n" + "".join(
    f"""
  - flow: {flow}
    on_failure: {{pause: [report/daily], resume_on_success: true}}
    scale: {{when_running_longer_than: 10m, work_pool: data, concurrency: {slots}, back_after: 10m}}
    skip: {{when_later_than: 2m}}
"""
    for flow, slots in SLOTS.items()
)


class HoldLifecycles(ActingMachine):
    """Sets the run statistics instead of reading runs: a round without polls takes milliseconds."""

    rules_text = RULES
    reads = ("history", "flow_runs", "deployments", "overdue_runs", "work_pools")

    def __init__(self) -> None:
        super().__init__()
        flows = {flow: self.fake.add_flow(flow) for flow in (*SLOTS, "report")}
        places = {flow: (flow_id, self.fake.add_deployment("daily", flow_id)) for flow, flow_id in flows.items()}
        self.report = places.pop("report")[1]
        self.places = places
        self.run_stats = {Pipeline(flow, "daily"): RunStats() for flow in SLOTS}
        self.long_since: dict[Pipeline, float] = {}
        self._set_paused(paused=False)
        self._set_slots(4)
        self.paused_by_hand = False
        self.slots_by_hand = 4

    async def read_state(self) -> None:
        """Reads nothing: the next round covers everything."""

    async def act_once(self) -> None:
        self.fake.now += 15.0
        active = ActiveRuns({}, {(pipeline, "running"): since for pipeline, since in self.long_since.items()})
        # The poller's part: expires actions that were not carried out.
        self.process.planner.plan({}, self.fake.now)
        await self.process.controller.act(replace(self.snapshot, run_stats=dict(self.run_stats), active=active))

    def finish(self) -> None:
        """After all faults and with both pipelines successful, everything is as the last person left it."""
        self.long_since.clear()
        for flow in SLOTS:
            self.complete(flow)
        self.act()  # sends the events that a crash left behind, before they are outdated
        for _ in range(4):  # refused requests are retried an hour later
            self.fake.now += HOUR
            self.act()
        assert self._paused == self.paused_by_hand
        assert self._slots == self.slots_by_hand
        assert not self._holds()
        actions = self.process.actions()
        assert not [action for action in actions if not action.result.is_final]
        assert {action.id for action in actions} == self.fake.actions.events.keys()
        given_up = {action.run_id for action in actions if action.result is ActionResult.FAILED}
        for run in self.fake.runs.values():
            if run.run_count == 0 and run.id not in given_up:
                assert run.state.name == "Cancelled"

    # Current state

    @property
    def _paused(self) -> bool:
        return bool(self.fake.deployment_names[self.report].paused)

    def _set_paused(self, *, paused: bool) -> None:
        self.fake.deployment_names[self.report] = replace(self.fake.deployment_names[self.report], paused=paused)

    @property
    def _slots(self) -> int:
        return self.fake.inventory.pools[0].slots or 0

    def _set_slots(self, slots: int) -> None:
        self.fake.inventory.pools = [WorkPool("data", "process", paused=False, ready=True, slots=slots, slots_used=0)]

    def _holds(self) -> list[Action]:
        return [action for action in self.process.actions() if action.hold in (Hold.HELD, Hold.BY_HAND)]

    # Pipelines

    @rule(flow=FLOWS)
    def fail(self, flow: str) -> None:
        pipeline, before = Pipeline(flow, "daily"), self.run_stats[Pipeline(flow, "daily")]
        self.fake.now += 1.0
        run_id, state_id, now = self.fake.new_id(), self.fake.new_id(), self.fake.now
        run = KnownRun(
            run_id, pipeline, state_id, "FAILED", now, 1, start_counted=True, ended_at=now, cause="connection"
        )
        failures = before.consecutive_failures + 1
        self.run_stats[pipeline] = replace(before, consecutive_failures=failures, last_failure=run)

    @rule(flow=FLOWS, trouble=TROUBLE)
    def act_on_failure(self, flow: str, trouble: Trouble) -> None:
        self.fail(flow)
        self.act_in_trouble(trouble)

    @rule(flow=FLOWS)
    def complete(self, flow: str) -> None:
        self.fake.now += 1.0
        self.run_stats[Pipeline(flow, "daily")] = RunStats(last_outcomes={"completed": self.fake.now})

    @rule(trouble=TROUBLE)
    def act_on_success(self, trouble: Trouble) -> None:
        for flow in SLOTS:
            self.complete(flow)
        self.act_in_trouble(trouble)

    @rule(flow=FLOWS, trouble=TROUBLE)
    def act_on_long_run(self, flow: str, trouble: Trouble) -> None:
        self.long_since.setdefault(Pipeline(flow, "daily"), self.fake.now - 0.2 * HOUR)
        self.act_in_trouble(trouble)

    @rule(flow=FLOWS, trouble=TROUBLE)
    def act_on_end_of_long_run(self, flow: str, trouble: Trouble) -> None:
        self.long_since.pop(Pipeline(flow, "daily"), None)
        self.fake.now += 0.2 * HOUR
        self.act_in_trouble(trouble)

    @precondition(lambda self: len(self.fake.runs) < 4)
    @rule(flow=FLOWS, trouble=TROUBLE)
    def act_on_late_run(self, flow: str, trouble: Trouble) -> None:
        self.fake.schedule(*self.places[flow], in_seconds=1.0)
        self.fake.now += LATE + 2.0
        self.act_in_trouble(trouble)

    @precondition(lambda self: self.fake.runs)
    @rule(number=st.integers(0, 3))
    def start(self, number: int) -> None:
        run = list(self.fake.runs.values())[number % len(self.fake.runs)]
        if run.state.type == "SCHEDULED":
            self.fake.start(run.id)

    # People

    @rule()
    def switch_deployment(self) -> None:
        """Toggles the deployment as the switch in the UI does.

        Two cases cannot be detected (see docs/automations.md): a resume with a pause soon after it, and a manual change
        between a request and its lost response.
        """
        self.fake.now += VERIFY_SECONDS
        self.act()
        pauses = [action for action in self.process.actions() if action.kind in {Kind.PAUSE, Kind.RESUME}]
        unseen = not self._paused and any(action.hold is Hold.HELD for action in pauses)
        if not unseen and all(action.result.is_final for action in pauses):
            self.paused_by_hand = not self._paused
            self._set_paused(paused=self.paused_by_hand)

    @rule(slots=st.sampled_from(BY_HAND))
    def set_limit(self, slots: int) -> None:
        self.slots_by_hand = slots
        self._set_slots(slots)
        self.act()

    # Invariants

    @invariant()
    def deployments_paused_by_hand_stay_paused(self) -> None:
        assert self._paused or not self.paused_by_hand

    @invariant()
    def limit_is_never_below_the_manual_one(self) -> None:
        assert self._slots in {self.slots_by_hand, *SLOTS.values()}
        assert self._slots >= self.slots_by_hand

    @invariant()
    def only_late_runs_that_never_started_are_ended(self) -> None:
        for change, run_id in self.fake.actions.writes:
            if change == "skip":
                run = self.fake.runs[run_id]
                assert run.run_count == 0
                assert run.state.at - run.expected > LATE

    @invariant()
    def intention_is_recorded_before_each_request(self) -> None:
        if not hasattr(self, "process"):
            return
        recorded = {(action.kind, action.target or action.run_id) for action in self.process.actions()}
        for change, target in self.fake.actions.writes:
            kinds = {Kind.SCALE_UP, Kind.SCALE_DOWN} if change.startswith("slots") else {Kind(change)}
            assert {(kind, target) for kind in kinds} & recorded


TestHoldLifecycles = HoldLifecycles.TestCase
TestHoldLifecycles.settings = settings(
    max_examples=examples(16), stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
