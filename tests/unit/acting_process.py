"""An exporter process that acts on the model of the Prefect server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from prefect_monitoring.automations.controller import Controller
from prefect_monitoring.automations.fuse import Fuse
from prefect_monitoring.automations.planner import Mode, Planner
from prefect_monitoring.automations.world import World
from prefect_monitoring.ledger import action_rows
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.actions import Action
from prefect_monitoring.model.records import Deployment, Pipeline
from prefect_monitoring.prefect_api.client import Traffic
from prefect_monitoring.runtime.poller import make_poller
from prefect_monitoring.snapshot.model import Snapshot
from support.options import settings_with
from unit.fake_prefect import FakePrefect
from unit.rig import readers_of

PIPELINE = Pipeline("etl", "daily")
ACT = Mode(Fuse(100, 50), act=True)
DRY_RUN = replace(ACT, act=False, dry_run=True)
OFF = replace(ACT, act=False)


@dataclass
class ActingProcess:
    """Poller, planner and controller over one ledger; `pipelines` is the file with the rules."""

    fake: FakePrefect
    ledger: Ledger
    pipelines: Path
    mode: Mode = ACT
    published: list[Snapshot] = field(default_factory=list)

    def __post_init__(self) -> None:
        # A busy machine must not time out a reading.
        settings = settings_with(pipelines=str(self.pipelines), birth_hold="0s", source_timeout="1h")
        self.readers = readers_of(self.fake, self.ledger, settings)
        self.planner = Planner(self.ledger, self.mode)
        self.poller = make_poller(self.readers, settings, Traffic(), self.publish, self.fake.clock, self.planner.plan)
        self.world = World(self.fake, self.fake.inventory, self.fake.actions, self.fake.events)  # type: ignore[arg-type]
        self.controller = Controller(self.readers.flow_runs, self.planner, self.world, self.fake.clock)

    async def publish(self, snapshot: Snapshot) -> None:
        self.published.append(snapshot)

    @property
    def last(self) -> Snapshot:
        return self.published[-1]

    async def begin(self) -> None:
        """Loads the baseline and the inventory; failures from now on are acted upon."""
        await self.poller.poll()
        await self.poller.take_inventory()
        await self.poller.poll()

    async def poll(self, after: float = 15.0) -> Snapshot:
        """Polls, without carrying out any action."""
        self.fake.now += after
        await self.poller.poll()
        return self.last

    async def act(self, after: float = 15.0) -> Snapshot:
        """Polls, carries out the planned actions and polls again."""
        await self.poll(after)
        await self.controller.act(self.last)
        await self.poller.poll()
        return self.last

    def actions(self) -> list[Action]:
        with self.ledger.transaction() as connection:
            return action_rows.actions_since(connection, 0.0)

    def results(self) -> list[tuple[str, str, str]]:
        return [(action.kind.value, action.result.value, action.reason) for action in self.actions()]

    def fail(self, run_id: str, message: str = "connection refused", state_type: str = "FAILED") -> None:
        """Starts the run and lets it fail."""
        self.fake.start(run_id)
        self.fake.finish(run_id, 1.0, state_type, message)

    def deployment(self, deployment_id: str) -> Deployment:
        return self.fake.deployment_names[deployment_id]


Begin = Callable[..., ActingProcess]
"""Creates a process with the given rules over the ledger of the test."""
