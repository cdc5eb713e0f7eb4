"""Shared base of the state machines for actions: faults of Prefect, time, restarts, and crashes at each step."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from prefect_monitoring.ledger.opening import open_ledger
from prefect_monitoring.model.counted_metrics import DEFAULT_BOUNDS
from prefect_monitoring.prefect_api.errors import ApiError
from support.ledgers import create_tables
from unit.acting_process import ActingProcess
from unit.fake_actions import FAULTS, LOSE_ANSWER, LOSE_REQUEST, THROTTLE
from unit.fake_prefect import FakePrefect
from unit.ledger_values import lookbacks_of
from unit.rig import API, DAY, NO_SYNC, pragma

CRASHES = ("read", "write", "before a record", "after a record", "after a write")
# A request's fault, where the process dies ("" for none), and how often it passes that point before.
UNCLEAR = ("", "", LOSE_REQUEST, LOSE_ANSWER, THROTTLE)
TROUBLE = st.tuples(st.sampled_from(UNCLEAR), st.sampled_from(("", "", *CRASHES)), st.integers(0, 3))
Trouble = tuple[str, str, int]


class SimulatedCrash(BaseException):
    """The process dies here."""


class ActingMachine(RuleBasedStateMachine):
    """One server, one ledger file, and one process after the other that acts."""

    rules_text: ClassVar[str]
    reads: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        (self.folder / "pipelines.yml").write_text(self.rules_text)
        self.fake = FakePrefect()

    def open(self) -> None:
        ledger = open_ledger(
            create_tables(f"sqlite:///{self.folder}/ledger.db"),
            API,
            bounds=DEFAULT_BOUNDS,
            lookbacks=lookbacks_of(30 * DAY),
            now=self.fake.now,
        )
        pragma(ledger, NO_SYNC)
        self.process = ActingProcess(self.fake, ledger, self.folder / "pipelines.yml")

    def run(self, work: Coroutine[Any, Any, object]) -> None:
        self.loop.run_until_complete(work)

    async def read_state(self) -> None:
        """Reads the state after a start, without acting."""
        raise NotImplementedError

    async def act_once(self) -> None:
        """Runs one round: decides on all due actions and carries them out."""
        raise NotImplementedError

    def finish(self) -> None:
        """Checks the final state, after all faults are over."""
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.open()
        self.run(self.process.begin())
        self.snapshot = self.process.last

    def teardown(self) -> None:
        try:
            if hasattr(self, "process"):
                self.repair()
                self.finish()
                self.process.readers.flow_runs.close()
        finally:
            self.loop.close()
            shutil.rmtree(self.folder)

    def repair(self) -> None:
        self.fake.broken.clear()
        self.fake.inventory.broken.clear()
        self.fake.actions.faults.clear()

    # Prefect's faults, and time

    @rule(faults=st.lists(st.sampled_from(FAULTS), min_size=1, max_size=2))
    def lose_and_refuse_requests(self, faults: list[str]) -> None:
        self.fake.actions.faults.extend(faults)

    @rule(data=st.data())
    def break_reads(self, data: st.DataObject) -> None:
        endpoint = data.draw(st.sampled_from(self.reads))
        broken = self.fake.inventory.broken if endpoint == "work_pools" else self.fake.broken
        broken[endpoint] = ApiError("broken", "503")

    @precondition(lambda self: self.fake.broken or self.fake.inventory.broken)
    @rule()
    def repair_reads(self) -> None:
        self.fake.broken.clear()
        self.fake.inventory.broken.clear()

    @rule(seconds=st.sampled_from([60.0, 400.0]))
    def pass_time(self, seconds: float) -> None:
        self.fake.now += seconds

    # The exporter

    @rule()
    def act(self) -> None:
        self.run(self.act_once())

    @rule()
    def restart(self) -> None:
        self.process.readers.flow_runs.close()
        self.open()
        self.run(self.read_state())

    @rule(kind=st.sampled_from(CRASHES), countdown=st.integers(0, 6))
    def act_and_crash(self, kind: str, countdown: int) -> None:
        """Runs a round in which the process dies, if it gets that far; then starts the next process."""
        left = countdown

        def die(*_: object) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise SimulatedCrash

        self._die_at(kind, die)
        try:
            self.run(self.act_once())
        except SimulatedCrash:
            pass
        finally:
            self.fake.before_request = lambda _endpoint: None
            self.fake.actions.before_write = self.fake.actions.after_write = lambda: None
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
        self.restart()

    def act_in_trouble(self, trouble: Trouble) -> None:
        fault, crash, countdown = trouble
        if fault:
            self.fake.actions.faults.appendleft(fault)
        if crash:
            self.act_and_crash(kind=crash, countdown=countdown)
        self.act()

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
