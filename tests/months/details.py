"""What the model of the server holds beside runs: task runs, log lines, events, and the writes of the exporter."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Collection
from typing import Any

from prefect_monitoring.model.heartbeats import Beats
from prefect_monitoring.model.records import TaskRun
from prefect_monitoring.prefect_api.actions import DONE, Outcome
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.events import FailedActions, Materializations
from prefect_monitoring.prefect_api.logs import LogPage
from unit.fake_actions import FakeActions
from unit.fake_details import FakeLogs, FakeTasks
from unit.fake_events import FakeEvents

DOWN = ApiError("the API answered 503", "503")


class MonthTasks(FakeTasks):
    """The recorder is never behind here: what is over was seen so."""

    def __init__(self, server: Any) -> None:
        super().__init__(server)
        self.ended: list[tuple[float, str, TaskRun]] = []
        self.under_way: set[str] = set()

    def enter(self, run_id: str, name: str, message: str = "", state_type: str = "") -> None:
        super().enter(run_id, name, message, state_type)
        run = self.runs[run_id]
        record = run.record(self.server.now)
        if run.over and record is not None and record.ended_at is not None:
            self.under_way.discard(run_id)
            insort(self.ended, (record.ended_at, run_id, record), key=lambda row: row[:2])
        else:
            self.under_way.add(run_id)

    def _seen(self) -> list[TaskRun]:
        open_ones = (self.runs[one].record(self.server.now) for one in self.under_way)
        return [record for record in open_ones if record is not None]

    def _ended(self, low: float, high: float | None) -> list[TaskRun]:
        begin = bisect_left(self.ended, low, key=lambda row: row[0])
        end = len(self.ended) if high is None else bisect_right(self.ended, high, key=lambda row: row[0])
        return [record for _, _, record in self.ended[begin:end]]

    async def by_id(self, ids: Collection[str]) -> list[TaskRun]:
        await self.server.request("tasks_by_id")
        found = (self.runs[one].record(self.server.now) for one in ids if one in self.runs)
        return [record for record in found if record is not None]


class MonthLogs(FakeLogs):
    """Lines are written in the order of time, and come at once."""

    async def page(self, after: float, before: float | None, offset: int) -> LogPage:
        begin = bisect_left(self.lines, after, key=lambda one: one.line.at)
        everything, self.lines = self.lines, self.lines[begin:]
        try:
            return await super().page(after, before, offset)
        finally:
            self.lines = everything


class MonthEvents(FakeEvents):
    """Events are not answered either while the API is down."""

    def __init__(self, server: Any) -> None:
        super().__init__()
        self.server = server

    def beat(self, run_id: str) -> None:
        self.sent.setdefault(run_id, []).append(self.server.now)

    async def materializations(self, after: float, before: float, ids: Collection[str] = ()) -> Materializations:
        await self.server.request("materializations")
        return await super().materializations(after, before, ids)

    async def failed_actions(self, after: float, before: float, ids: Collection[str] = ()) -> FailedActions:
        await self.server.request("failed_actions")
        return await super().failed_actions(after, before, ids)

    async def heartbeats(self, run_ids: Collection[str], since: float, until: float) -> dict[str, Beats]:
        await self.server.request("heartbeats")
        return await super().heartbeats(run_ids, since, until)


class MonthActions(FakeActions):
    """`rescheduled` is called with the id of a run that the exporter retries, and when it is due again."""

    def __init__(self, server: Any) -> None:
        super().__init__(server)
        self.rescheduled: Callable[[str, float], object] = lambda _run, _at: None

    async def retry(self, run_id: str, scheduled_at: float, transition_id: str, message: str) -> Outcome:
        outcome = await super().retry(run_id, scheduled_at, transition_id, message)
        if outcome is DONE:
            self.rescheduled(run_id, scheduled_at)
        return outcome
