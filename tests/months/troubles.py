"""Problems other than failing runs: a table of troubles, and their effect on the world when they begin and end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from months.schedules import HOUR, MINUTE
from months.server import DOWN, MonthRun
from months.world import World
from prefect_monitoring.model.records import State


@dataclass(frozen=True)
class Trouble:
    """A problem from `begin` until `end`; `Troubles` has the kinds."""

    kind: str
    begin: float
    end: float
    subject: str = ""


class Troubles:
    def __init__(self, world: World, pipelines_file: Path, troubles: Sequence[Trouble]) -> None:
        self._world = world
        self._server = world.server
        self._file = pipelines_file
        self._text = pipelines_file.read_text()
        self._doubtful = ""
        for trouble in troubles:
            begin, end = self._pair(trouble)
            self._server.later(trouble.begin, begin)
            self._server.later(trouble.end, end)

    def _pair(self, trouble: Trouble) -> tuple[Callable[[], object], Callable[[], object]]:
        subject, server, inventory = trouble.subject, self._server, self._server.inventory
        pool, _, queue = subject.partition("/")
        pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "API down": (self._api_down, self._api_up),
            "worker down": (
                lambda: inventory.down_since.update({subject: server.now}),
                lambda: inventory.down_since.pop(subject),
            ),
            "queue not polled": (
                lambda: inventory.unpolled.update({(pool, queue): server.now}),
                lambda: inventory.unpolled.pop((pool, queue)),
            ),
            "paused": (lambda: self._pause(subject, paused=True), lambda: self._pause(subject, paused=False)),
            "source broken": (lambda: inventory.broken.update({subject: DOWN}), lambda: inventory.broken.pop(subject)),
            "file broken": (
                lambda: self._file.write_text("pipelines: [{flow: [}]"),
                lambda: self._file.write_text(self._text),
            ),
            "script fails": (lambda: self._fail_thrice(subject), lambda: None),
            "run lost": (lambda: self._lose_a_run(subject), self._find_it),
        }
        return pairs[trouble.kind]

    def _api_down(self) -> None:
        self._server.down = True

    def _api_up(self) -> None:
        self._server.down = False
        self._world.api_is_back()

    def _pause(self, flow: str, *, paused: bool) -> None:
        self._world.set_paused(self._world.ids[flow][1], paused=paused)

    def _fail_thrice(self, flow: str) -> None:
        for _ in range(3):
            run = self._server.add_run_without_deployment(flow)
            self._server.start(run)
            self._server.finish(run, 1, "FAILED", "boom")

    def _lose_a_run(self, flow: str) -> None:
        """Adds a run of a machine whose clock is an hour ahead: for the ledger, it started after it had ended."""
        self._doubtful = run_id = self._server.add_run(self._world.ids[flow][1], self._server.now, 0, by_schedule=False)
        run, now = self._server.runs[run_id], self._server.now
        assert isinstance(run, MonthRun)
        self._server._enter(run, State(self._server.new_id(), "RUNNING", "Running", now + HOUR, ""))
        crash = State(self._server.new_id(), "CANCELLED", "Cancelled", now + 5 * MINUTE, "")
        self._server.later(crash.at, lambda: self._server._enter(run, crash))

    def _find_it(self) -> None:
        self._server.forget(self._doubtful)
