"""Reads finished and active task runs, with their flow runs' pipelines and the histories that counting needs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from prefect_monitoring.counting.task_runs import ObservedTaskRun, fold_tasks, needs_task_history
from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.ingest.incremental import Absorbed, CursorAfter, IncrementalReader
from prefect_monitoring.ingest.ports import TaskRunSource
from prefect_monitoring.ingest.source import Reading
from prefect_monitoring.model.cursor import TASK_RUNS, Cursor
from prefect_monitoring.model.records import Deployment, Flow, FlowRun, Pipeline, State, TaskRun
from prefect_monitoring.model.unreadable import Unreadable
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.state_history import Histories
from prefect_monitoring.prefect_api.unreadable import Rows, collected_in, note, some_are_nameless

log = logging.getLogger(__name__)

HALF_WRITTEN_SECONDS: Final = 300.0
MAX_OWNERS_ASKED: Final = 20
MAX_OWNERS_KEPT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Owners:
    """The pipeline of each flow run, None for excluded ones.

    `faults`: why some cannot be named, by flow run id. `reason`: why others could not be requested now; "" if none.
    """

    pipelines: Mapping[str, Pipeline | None]
    faults: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


class TaskReader:
    """Reads task runs into the ledger. Every method raises ApiError or LedgerError."""

    def __init__(self, reader: Reader, api: TaskRunSource, cause_of: Callable[[str], str]) -> None:
        self.reader = reader
        self.api = api
        self.under_way: Sequence[tuple[Pipeline, TaskRun]] | None = None
        self._cause_of = cause_of
        self._owners: dict[str, tuple[Flow | None, Deployment | None]] = {}  # of flow runs that cannot be read

    @property
    def finished(self) -> IncrementalReader[TaskRun]:
        ledger = self.reader.ledger
        return IncrementalReader(
            self.api.finished_page, self._absorb, lambda: ledger.cursors[TASK_RUNS], self.reader.clock
        )

    async def read_finished(self, budget: float) -> Reading:
        """Reads every end since the watermark, and the overlap before it again where the API's count differs.

        Requests no page after `budget` seconds.
        """
        cursor = self.reader.ledger.cursors[TASK_RUNS]
        settled = cursor.baseline_complete and cursor.page_before is None
        after = cursor.watermark if settled and not await self._came_late(cursor) else cursor.after
        reading = await self.finished.read_new(after, budget)
        if reading.complete:
            await self._try_again()
        return reading

    async def _try_again(self) -> None:
        """Reads again the records that were set aside and are due."""
        aside = self.reader.aside
        due = await self.reader.in_ledger(aside.due, TASK_RUNS)
        if not due:
            return
        try:
            runs = await self.api.by_id([record.id for record in due])
        except ApiError as fault:
            log.debug("What was set aside is tried later: %s", fault)
            return
        hidden = {record.id for record in due} - {run.id for run in runs} if some_are_nameless() else set()
        absorbed = await self._absorb(runs, lambda _left: None, due={record.id: record for record in due})
        left = {run.id for run in absorbed.left} | hidden
        await self.reader.in_ledger(aside.settle, TASK_RUNS, due, {run.id for run in runs} - left, left)

    async def _came_late(self, cursor: Cursor) -> bool:
        """Whether ends before the watermark may have arrived late; true where the server cannot count them."""
        if not self.api.filters_ends:
            return True
        ledger = self.reader.ledger
        try:
            theirs = await self.api.count(cursor.after, cursor.watermark)
        except ApiError:
            if self.api.filters_ends:
                raise
            return True
        ours = await self.reader.in_ledger(ledger.ended_by_kind, TASK_RUNS, cursor.after, cursor.watermark)
        return theirs != sum(ours.values())

    async def read_under_way(self) -> Reading:
        """Reads the active task runs of the flow runs that were last active, for `under_way`."""
        flow_runs = self.reader.under_way
        alive = _alive(flow_runs.runs if flow_runs is not None else {})
        self.under_way = await self._unfinished(alive)
        return Reading(len(self.under_way), asked=bool(alive))

    async def read_active(self, flow_runs: Mapping[str, tuple[Pipeline, FlowRun]]) -> list[tuple[Pipeline, TaskRun]]:
        """The active task runs of `flow_runs` (by id), without dead ones of earlier attempts."""
        return await self._unfinished(_alive(flow_runs))

    async def _unfinished(self, alive: Mapping[str, tuple[Pipeline, FlowRun]]) -> list[tuple[Pipeline, TaskRun]]:
        under_way = []
        for run in await self.api.unfinished(alive.keys()):
            pipeline, flow_run = alive[run.flow_run_id or ""]
            if run.flow_run_attempt in range(1, flow_run.attempts):
                continue
            under_way.append((pipeline, run))
        return under_way

    async def owners(self, flow_run_ids: Collection[str]) -> Owners:
        """The pipeline of each flow run."""
        pipelines = await self.reader.in_ledger(self.reader.ledger.pipelines_of, list(flow_run_ids))
        unknown = set(flow_run_ids) - pipelines.keys()
        if not unknown:
            return Owners(pipelines)
        unreadable: Rows = {}
        with collected_in(unreadable):
            runs = await self.reader.api.flow_runs(unknown)
            naming = await self.reader.name(runs)
        if naming.unnamed:
            return Owners(pipelines, reason=naming.reason)
        missing = unknown - {run.id for run in runs}
        hidden = missing if some_are_nameless(unreadable) else missing & unreadable.keys()
        reason, unnamed = await self._learn_owners(hidden)
        faults = {run_id: f"its flow run {run_id} cannot be read" for run_id in unnamed}
        faults |= {run.id: fault for run in runs if (fault := naming.fault_of(run))}
        known = unknown - faults.keys() - (hidden - self._owners.keys())
        pipelines |= await self.reader.in_ledger(self._pipelines_of, known, runs)
        return Owners(pipelines, faults, reason)

    async def _learn_owners(self, run_ids: Collection[str]) -> tuple[str, set[str]]:
        """Requests the flows of flow runs whose rows cannot be read, some at a time.

        Returns why some are still unknown ("" if none), and the runs whose flow or deployment cannot be read either.
        """
        waiting = sorted(set(run_ids) - self._owners.keys())
        unnamed: set[str] = set()
        for run_id in waiting[:MAX_OWNERS_ASKED]:
            unreadable: Rows = {}
            try:
                with collected_in(unreadable):
                    owner = await self.reader.api.owner(run_id)
            except ApiError as fault:
                return str(fault), unnamed
            if unreadable:
                unnamed.add(run_id)
                continue
            if len(self._owners) >= MAX_OWNERS_KEPT:
                self._owners.clear()
            self._owners[run_id] = owner
        more = len(waiting) - MAX_OWNERS_ASKED
        left = f"the flows of {more} flow runs that cannot be read are still to be asked for" if more > 0 else ""
        return left, unnamed

    def _pipelines_of(self, run_ids: set[str], runs: Sequence[FlowRun]) -> dict[str, Pipeline | None]:
        """The pipeline of each of `run_ids`; `runs` are those that the API still has."""
        catalog, names = self.reader.catalog, self.reader.ledger.names
        pipelines = {run.id: catalog.pipeline_of(names, run) for run in runs if run.id in run_ids}
        for run_id in run_ids - pipelines.keys():
            flow, deployment = self._owners.get(run_id, (None, None))
            pipelines[run_id] = (
                catalog.pipeline_of_unreadable(flow, deployment) if flow else catalog.pipeline_of_deleted()
            )
        return pipelines

    async def names(self, task_run_ids: Collection[str]) -> dict[str, str]:
        """The task of each of these task runs that the ledger or the API knows."""
        known = await self.reader.in_ledger(self.reader.ledger.known_task_runs, list(task_run_ids))
        found = {run_id: run.task for run_id, run in known.items()}
        if unknown := set(task_run_ids) - found.keys():
            found |= {run.id: run.task for run in await self.api.by_id(unknown)}
        return found

    async def _absorb(
        self, runs: Sequence[TaskRun], cursor_after: CursorAfter, *, due: Mapping[str, Unreadable] | None = None
    ) -> Absorbed[TaskRun]:
        """Counts `runs`, and stores the cursor that `cursor_after` gives for the runs that had to be left.

        `due`: the runs were set aside; their histories are read in any case.
        """
        owners = await self.owners({run.flow_run_id for run in runs if run.flow_run_id is not None})
        faults = {run.id: owners.faults[run.flow_run_id or ""] for run in runs if run.flow_run_id in owners.faults}
        note(faults)
        runs = [run for run in runs if run.id not in faults]
        known = await self.reader.in_ledger(self.reader.ledger.known_task_runs, [run.id for run in runs])
        wanted = [run.id for run in runs if due is not None or needs_task_history(run, known.get(run.id))]
        histories = await self.api.histories(wanted)
        half_written = self._half_written(runs, histories.states)
        unread = (set(wanted) - histories.states.keys() - histories.refused.keys()) | half_written
        left = tuple(
            run
            for run in runs
            if run.id in unread or (run.flow_run_id is not None and run.flow_run_id not in owners.pipelines)
        )
        skipped = {run.id for run in left}
        ready = [run for run in runs if run.id not in skipped]
        missing_after = {one.id: one.after for one in (due or {}).values() if one.counted}
        await self.reader.in_ledger(self._count, ready, owners.pipelines, histories, missing_after, cursor_after(left))
        unwritten = "the server has yet to write their last states" if half_written else ""
        return Absorbed({}, left, owners.reason or histories.outage or unwritten)

    def _half_written(self, runs: Sequence[TaskRun], histories: Mapping[str, tuple[State, ...]]) -> set[str]:
        """Recently ended runs whose present state is not in their history yet; it never is if the server died."""
        since = self.reader.clock() - HALF_WRITTEN_SECONDS
        return {
            run.id
            for run in runs
            if not run.message_known
            and run.id in histories
            and run.state.id not in {state.id for state in histories[run.id]}
            and (run.ended_at or 0.0) > since
        }

    def _count(
        self,
        runs: Sequence[TaskRun],
        owners: Mapping[str, Pipeline | None],
        histories: Histories,
        missing_after: Mapping[str, float | None],
        cursor: Cursor | None,
    ) -> None:
        ledger, catalog, aside = self.reader.ledger, self.reader.catalog, self.reader.aside
        horizon = ledger.cursors[TASK_RUNS].horizon
        known = ledger.known_task_runs([run.id for run in runs])
        observed_runs = []
        for run in runs:
            pipeline = owners[run.flow_run_id] if run.flow_run_id is not None else catalog.pipeline_outside_flows()
            task = catalog.task_of(pipeline, run.task) if pipeline is not None else run.task
            observed_runs.append(
                ObservedTaskRun(run, pipeline, task, histories.states.get(run.id, ()), missing_after.get(run.id))
            )
        # Before the cursor moves past them.
        aside.store()
        refused = {run.id: histories.refused[run.id] for run in runs if run.id in histories.refused}
        aside.store_refused(
            TASK_RUNS, refused, {one: known[one].state_at if one in known else horizon for one in refused}
        )
        changes = fold_tasks(known, horizon, observed_runs, self._cause_of)
        ledger.commit(changes, cursor, self.reader.clock(), TASK_RUNS)


def _alive(flow_runs: Mapping[str, tuple[Pipeline, FlowRun]]) -> dict[str, tuple[Pipeline, FlowRun]]:
    """The flow runs that may have active task runs."""
    return {run_id: one for run_id, one in flow_runs.items() if one[1].state.type in {"RUNNING", "CANCELLING"}}
