"""What goes wrong around the runs: a table of troubles, and what each does to the world when it begins and ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from months.beside import MonthArchive, MonthSink
from months.details import DOWN
from months.schedules import HOUR, MINUTE
from months.server import MonthRun
from months.world import World
from prefect_monitoring.model.records import FailedAction, State
from prefect_monitoring.model.sink_status import SinkError
from unit.fake_actions import FORBID


def _nothing() -> None:
    """What has happened once does not have to end."""


@dataclass(frozen=True)
class Trouble:
    """Something that is amiss from `begin` until `end`; `Troubles` knows each kind."""

    kind: str
    begin: float
    end: float
    subject: str = ""


Change = Callable[[], object]


class Troubles:
    """Does what troubles do to the world, and to what runs beside the exporter."""

    def __init__(self, world: World, pipelines_file: Path, sink: MonthSink, archive: MonthArchive) -> None:
        self._world = world
        self._server = world.server
        self._file = pipelines_file
        self._text = pipelines_file.read_text()
        self._doubtful = ""
        self._sink = sink
        self._archive = archive

    def plan(self, troubles: Sequence[Trouble]) -> None:
        for trouble in troubles:
            changes = {**self._around(trouble), **self._of_runs(trouble), **self._beside(trouble)}
            begin, end = changes[trouble.kind]
            self._server.later(trouble.begin, begin)
            self._server.later(trouble.end, end)

    def _around(self, trouble: Trouble) -> dict[str, tuple[Change, Change]]:
        """Of each kind, what begins and what ends it."""
        subject, server, inventory = trouble.subject, self._server, self._server.inventory
        pool, _, queue = subject.partition("/")
        return {
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
        }

    def _of_runs(self, trouble: Trouble) -> dict[str, tuple[Change, Change]]:
        subject, server = trouble.subject, self._server
        return {
            "script fails": (lambda: self._fail_thrice(subject), _nothing),
            "run lost": (lambda: self._lose_a_run(subject), self._find_it),
            "run unreadable": (lambda: self._spoil_a_run(subject), server.unreadable.clear),
            "write forbidden": (lambda: server.actions.faults.append(FORBID), server.actions.faults.clear),
            "automation fails": (
                lambda: server.events.happened.append(FailedAction(server.new_id(), subject, server.now)),
                _nothing,
            ),
        }

    def _beside(self, trouble: Trouble) -> dict[str, tuple[Change, Change]]:
        archive, sink = self._archive, self._sink
        return {
            "archive stuck": (
                lambda: setattr(archive, "stuck_at", self._server.now),
                lambda: setattr(archive, "stuck_at", None),
            ),
            "run not archived": (lambda: archive.set_aside.add(trouble.subject), archive.set_aside.clear),
            "sink fails": (lambda: sink.fail(SinkError(trouble.subject)), sink.recover),
        }

    def _api_down(self) -> None:
        self._server.down = True

    def _api_up(self) -> None:
        self._server.down = False
        self._world.api_is_back()

    def _pause(self, flow: str, *, paused: bool) -> None:
        self._world.stands(self._world.ids[flow][1], paused=paused)

    def _fail_thrice(self, flow: str) -> None:
        for _ in range(3):
            run = self._server.add_run_without_deployment(flow)
            self._server.start(run)
            self._server.finish(run, 1, "FAILED", "boom")

    def _spoil_a_run(self, flow: str) -> None:
        """A run that is cancelled before it begins, and whose row cannot be decoded."""
        run = self._server.add_run(self._world.ids[flow][1], self._server.now, 0, by_schedule=False)
        self._server.unreadable.add(run)
        self._server.set_state(run, "CANCELLED")

    def _lose_a_run(self, flow: str) -> None:
        """Its machine's clock is an hour ahead: to the ledger, it began to run after it had ended."""
        self._doubtful = run_id = self._server.add_run(self._world.ids[flow][1], self._server.now, 0, by_schedule=False)
        run, now = self._server.runs[run_id], self._server.now
        assert isinstance(run, MonthRun)
        self._server._enter(run, State(self._server.new_id(), "RUNNING", "Running", now + HOUR, ""))
        crash = State(self._server.new_id(), "CANCELLED", "Cancelled", now + 5 * MINUTE, "")
        self._server.later(crash.at, lambda: self._server._enter(run, crash))

    def _find_it(self) -> None:
        self._server.forget(self._doubtful)
