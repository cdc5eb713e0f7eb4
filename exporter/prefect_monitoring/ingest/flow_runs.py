"""Reads flow runs, with the histories and names that counting needs, in one ledger transaction per batch."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, TypeVar

from prefect_monitoring.counting.cardinality import Catalog
from prefect_monitoring.counting.flow_runs import ObservedRun, fold, needs_history, ran_before
from prefect_monitoring.ingest.active_runs import ActiveRunsLister, Late, late_among
from prefect_monitoring.ingest.incremental import Absorbed, CursorAfter, IncrementalReader
from prefect_monitoring.ingest.naming import Naming, ask_names
from prefect_monitoring.ingest.ports import FlowRunSource
from prefect_monitoring.ingest.set_aside import SetAside
from prefect_monitoring.ingest.source import Reading
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.cursor import FLOW_RUNS, Cursor
from prefect_monitoring.model.names import Names
from prefect_monitoring.model.records import FlowRun, Pipeline
from prefect_monitoring.prefect_api.capabilities import too_old
from prefect_monitoring.prefect_api.errors import INCOMPLETE, ApiError
from prefect_monitoring.prefect_api.state_history import Histories
from prefect_monitoring.prefect_api.unreadable import collected, note, some_are_nameless

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

# Servers may set no end time for a run that ends before its start; it is found if it waited no longer than this.
UNSTARTED_SECONDS: Final = 7 * 86400.0


# State types that Prefect counts against the limit of a work queue.
_IN_SLOTS: Final = frozenset({"PENDING", "RUNNING", "CANCELLING"})


@dataclass(frozen=True, slots=True)
class UnderWay:
    """The active flow runs of the last reading, with their pipelines, by id; `orphans`: runs whose parent is over.

    `late`: late runs that are too many to be listed. `slots_used`: how many runs take a slot, by (work pool, work
    queue), including runs that the filters exclude.
    """

    runs: Mapping[str, tuple[Pipeline, FlowRun]]
    orphans: Collection[str]
    late: Late = field(default_factory=dict)
    slots_used: Mapping[tuple[str, str], int] = field(default_factory=dict)


class Reader:
    """Reads flow runs into the ledger. All ledger work happens on one thread, so that changes cannot interleave.

    The catalogue is used only on that thread too, because a lookup may admit a pipeline. Other threads read only what
    the ledger replaces as a whole: `names` and `cursors`.
    """

    def __init__(
        self,
        api: FlowRunSource,
        ledger: Ledger,
        catalog: Catalog,
        cause_of: Callable[[str], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.api = api
        self.ledger = ledger
        self.catalog = catalog
        self.clock = clock
        self.aside = SetAside(ledger, clock)
        self._cause_of = cause_of
        self.under_way: UnderWay | None = None
        self.server_version = ""
        self._ran_before: Mapping[str, float] = {}  # by state id
        self._active = ActiveRunsLister(api, lambda: ledger.names, self._pipelines)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")

    async def in_ledger(self, work: Callable[..., Answer], *args: Any, **kwargs: Any) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *args, **kwargs))

    def close(self) -> None:
        """Waits for the current transaction, then closes the ledger."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self.ledger.close()

    async def read_version(self) -> None:
        """Reads the server's version, for `server_version`. Raises ApiError."""
        self.server_version = await self.api.version()
        if warning := too_old(self.server_version):
            log.warning("%s", f"{warning[0].upper()}{warning[1:]}")

    @property
    def finished(self) -> IncrementalReader[FlowRun]:
        return IncrementalReader(
            self.api.finished_page, self.absorb, lambda: self.ledger.cursors[FLOW_RUNS], self.clock
        )

    async def read_finished(self, budget: float) -> Reading:
        """Reads every end since the watermark; requests no page after `budget` seconds. Raises ApiError."""
        since = max(self.ledger.cursor.horizon, self.ledger.cursor.watermark - UNSTARTED_SECONDS)
        reading = await self.finished.read_new(self.ledger.cursor.after, budget)
        if not reading.complete:
            return reading
        endless = await self.api.runs_without_end(since)
        absorbed = await self.absorb(endless, lambda _left: None)
        if absorbed.reason:
            raise ApiError(f"{len(absorbed.left)} finished runs wait to be counted: {absorbed.reason}", INCOMPLETE)
        await self._try_again()
        return Reading(reading.records + len(endless), complete=not absorbed.left)

    async def _try_again(self) -> None:
        """Reads again the records that were set aside and are due."""
        due = await self.in_ledger(self.aside.due, FLOW_RUNS)
        if not due:
            return
        try:
            runs = await self.api.flow_runs([one.id for one in due])
        except ApiError as fault:
            log.debug("What was set aside is tried later: %s", fault)
            return
        hidden = {one.id for one in due} - {run.id for run in runs} if some_are_nameless() else set()
        absorbed = await self.absorb(runs, lambda _left: None, again=True)
        left = {run.id for run in absorbed.left} | hidden
        await self.in_ledger(self.aside.settle, FLOW_RUNS, due, {run.id for run in runs} - left, left)

    async def read_under_way(self, budget: float = math.inf) -> Reading:
        """Reads the active runs, for `under_way`; starts no count of late runs after `budget` seconds. Raises ApiError.

        Until the first count is complete, the runs that were listed last are kept.
        """
        listing = await self._active.read(self.clock(), time.monotonic() + budget)
        runs = await self._named(listing.runs)
        orphans = await self.orphans(run for _, run in runs)
        late, before = listing.late, self.under_way
        if late is None and before is not None:
            late = before.late or late_among(before.runs.values())
        if late is None:
            return Reading(len(runs), complete=False)
        slots_used = Counter((run.work_pool, run.work_queue) for run in listing.runs if run.state.type in _IN_SLOTS)
        self.under_way = UnderWay({run.id: (pipeline, run) for pipeline, run in runs}, orphans, late, slots_used)
        return Reading(len(runs) + sum(one.number for one in late.values()), complete=listing.complete)

    async def read_active(self) -> list[tuple[Pipeline, FlowRun]]:
        """The active runs that are listed, with their pipelines. Raises ApiError."""
        return await self._named((await self._active.read(self.clock(), math.inf)).runs)

    async def _pipelines(self, runs: Sequence[FlowRun]) -> Mapping[str, Pipeline | None]:
        return await self.in_ledger(lambda: {run.id: self.catalog.pipeline_of(self.ledger.names, run) for run in runs})

    async def _named(self, runs: Sequence[FlowRun]) -> list[tuple[Pipeline, FlowRun]]:
        """The runs with their pipelines. ApiError when some have no name."""
        absorbed = await self.absorb(runs, lambda _left: None)
        runs = [run for run in runs if run.id not in (collected() or {})]
        if unnamed := [run for run in runs if run.id not in absorbed.pipelines]:
            raise ApiError(f"{len(unnamed)} active runs cannot be named: {absorbed.reason}", INCOMPLETE)
        named = [(absorbed.pipelines[run.id], run) for run in await self._with_attempts(runs)]
        return [(pipeline, run) for pipeline, run in named if pipeline is not None]

    async def _with_attempts(self, runs: Iterable[FlowRun]) -> list[FlowRun]:
        """The runs; retried ones that are Running get the seconds of their earlier attempts.

        The history of each attempt is read once, and tried again if it could not be read. Until then, only the present
        state counts.
        """
        runs = list(runs)
        again = {run.state.id: run for run in runs if run.state.type == "RUNNING" and run.run_time}
        before = {state_id: self._ran_before[state_id] for state_id in again.keys() & self._ran_before.keys()}
        unread = [run for state_id, run in again.items() if state_id not in before]
        states = (await self.api.histories([run.id for run in unread])).states
        before |= {run.state.id: ran_before(run, states[run.id]) for run in unread if run.id in states}
        self._ran_before = before
        return [replace(run, ran_before=before.get(run.state.id, 0.0)) for run in runs]

    async def orphans(self, active: Iterable[FlowRun]) -> set[str]:
        """The ids of active subflow runs whose parent run is no longer active."""
        active = list(active)
        subflows = {run.id for run in active if run.is_subflow}
        return subflows - await self.api.active_children(run.id for run in active) if subflows else set()

    async def absorb(
        self, runs: Sequence[FlowRun], cursor_after: CursorAfter, *, again: bool = False
    ) -> Absorbed[FlowRun]:
        """Counts `runs`, and stores the cursor that `cursor_after` gives for the runs that had to be left.

        `again`: the runs were set aside; their histories are read in any case.
        """
        naming = await self.name(runs)
        faults = {run.id: fault for run in runs if (fault := naming.fault_of(run))}
        note(faults)
        runs = [run for run in runs if run.id not in faults]
        known = await self.in_ledger(self.ledger.known, [run.id for run in runs])
        wanted = [run.id for run in runs if again or needs_history(run, known.runs.get(run.id))]
        histories = await self.api.histories(wanted)
        unread = set(wanted) - histories.states.keys() - histories.refused.keys()
        named = [run for run in runs if not naming.waits(run)]
        ready = {run.id for run in named} - unread
        left = [run for run in runs if run.id not in ready]
        pipelines = await self.in_ledger(self._count, named, ready, histories, cursor_after(left))
        return Absorbed(pipelines, tuple(left), naming.reason or histories.outage)

    def _count(
        self,
        named: Sequence[FlowRun],
        ready: Collection[str],
        histories: Histories,
        cursor: Cursor | None,
    ) -> dict[str, Pipeline | None]:
        pipelines = {run.id: self.catalog.pipeline_of(self.ledger.names, run) for run in named}
        observed_runs = [
            ObservedRun(run, pipelines[run.id], histories.states.get(run.id, ()), whole=run.id not in histories.refused)
            for run in named
            if run.id in ready
        ]
        # Before the cursor moves past them.
        self.aside.store()
        self.aside.store_refused(
            FLOW_RUNS, {run_id: why for run_id, why in histories.refused.items() if run_id in ready}, {}
        )
        # Looked up again: another source may have counted the same run since.
        known = self.ledger.known(list(pipelines))
        self.ledger.commit(fold(known, observed_runs, self._cause_of), cursor, self.clock())
        return pipelines

    async def name(self, runs: Sequence[FlowRun]) -> Naming:
        """Learns the names of every flow and deployment of `runs`."""
        naming = await ask_names(self.api, self.ledger.names, runs)
        flows, deployments, lost = naming.flows, naming.deployments, naming.lost
        if flows or deployments:
            await self._learn(lambda names: names.with_flows(flows).with_deployments(deployments).without(lost))
        return naming

    async def _learn(self, update: Callable[[Names], Names]) -> None:
        await self.in_ledger(self._store_names, update)

    def _store_names(self, update: Callable[[Names], Names]) -> None:
        self.ledger.store_names(update(self.ledger.names), (), self.clock())

    async def create_zero_born_series(self) -> None:
        """Creates zero-valued series for every live pipeline, once it is known which flows have deployments."""
        await self.in_ledger(self._bear)

    def _bear(self) -> None:
        names = self.ledger.names
        self.ledger.store_names(names, self.catalog.zero_born_series(names), self.clock())

    async def read_flows(self) -> Reading:
        """Reads all flows, and marks missing ones as gone."""
        before = self.ledger.names
        flows = await self.api.flows()
        if missing := {flow.id for flow in before.live_flows()} - flows.keys():
            flows |= await self.api.flows(missing)  # rows that moved between pages may have been skipped
        # Without flows that were learned from runs while the list was read.
        gone = set() if some_are_nameless() else before.flows.keys() - flows.keys() - (collected() or {}).keys()
        await self._learn(lambda names: names.with_flows(flows).without(gone))
        return Reading(len(flows))

    async def read_deployments(self) -> Reading:
        """Reads all deployments, and marks missing ones as gone."""
        before = self.ledger.names
        deployments = await self.api.deployments()
        if missing := {deployment.id for _, deployment in before.live_deployments()} - deployments.keys():
            deployments |= await self.api.deployments(missing)
        unread = (collected() or {}).keys()
        gone = set() if some_are_nameless() else before.deployments.keys() - deployments.keys() - unread
        await self._learn(lambda names: names.with_deployments(deployments).without(gone))
        return Reading(len(deployments))
