"""Lists active flow runs, and counts late ones where they are too many to be listed at each poll.

They are counted by groups of deployments, with the API's own counts: a group with few is listed, a group with many is
halved, down to a single deployment. The next poll continues an unfinished count; until then the last count is used.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prefect_monitoring.counting.late_runs import LATE, MARGIN_SECONDS, LateKey, LateRuns, as_they_are, merged
from prefect_monitoring.ingest.ports import FlowRunSource
from prefect_monitoring.model.names import Names
from prefect_monitoring.model.records import FlowRun, Pipeline
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.flow_runs import RunGroup

# More runs are not listed at each poll: ten pages, which take a slow server some seconds.
MANY_RUNS: Final = 2000
# Two pages, which have the runs of many deployments at once.
FEW_RUNS: Final = 400
_GROUP: Final = 200

PipelinesOf = Callable[[Sequence[FlowRun]], Awaitable[Mapping[str, Pipeline | None]]]
Late = Mapping[LateKey, LateRuns]


@dataclass(frozen=True, slots=True)
class Listing:
    """The active runs. `late`: late runs that are counted instead of listed; None before the first complete count.

    Not `complete`: a count is in progress.
    """

    runs: Sequence[FlowRun]
    late: Late | None
    complete: bool = True


class ActiveRunsLister:
    """Lists active runs; `names` gives the known flows and deployments, `pipelines_of` the pipelines of runs, by id."""

    def __init__(self, api: FlowRunSource, names: Callable[[], Names], pipelines_of: PipelinesOf) -> None:
        self._api = api
        self._late = _LateCount(api, names, pipelines_of)
        self._is_long = False

    async def read(self, now: float, until: float) -> Listing:
        """Lists and counts; starts no further count after `until` (monotonic clock). Raises ApiError."""
        if not self._is_long:
            try:
                runs = await self._list(now, MANY_RUNS)
            except asyncio.CancelledError:  # by the timeout of the source, as the next list would be
                self._is_long = True
                raise
            if len(runs) <= MANY_RUNS:
                return Listing(runs, {})
        before = now - MARGIN_SECONDS
        if await self._api.count_overdue(before) <= MANY_RUNS // 2:
            self._late.forget()
            runs = await self._list(now, None)
            self._is_long = len(runs) > MANY_RUNS
            return Listing(runs, {})
        self._is_long = True
        runs = list(as_they_are(await self._api.active_runs(late=False), now))
        complete = await self._late.go_on(before, until)
        return Listing(runs, self._late.result, complete)

    async def _list(self, now: float, most: int | None) -> list[FlowRun]:
        """All active runs, or some more than `most`."""
        listed = await self._api.active_runs(most=most)
        if most is not None and len(listed) > most:
            return listed
        ids = {run.id for run in listed}  # a run that became Late in between is in both lists
        unnoticed = await self._api.overdue_runs(now - MARGIN_SECONDS, ["Scheduled"], most=most)
        return list(as_they_are([*listed, *(run for run in unnoticed if run.id not in ids)], now))


class _LateCount:
    """A count of late runs over several polls. `result`: the last complete count."""

    def __init__(self, api: FlowRunSource, names: Callable[[], Names], pipelines_of: PipelinesOf) -> None:
        self.result: Late | None = None
        self._api = api
        self._names = names
        self._pipelines_of = pipelines_of
        self._to_count: list[RunGroup] = []
        self._found: dict[LateKey, LateRuns] = {}
        self._before = 0.0

    def forget(self) -> None:
        self.result, self._to_count, self._found = None, [], {}

    async def go_on(self, before: float, until: float) -> bool:
        """Continues the count by at least one group; returns whether it is complete."""
        if not self._to_count:
            self._to_count, self._found, self._before = list(groups_of(self._names())), {}, before
        while self._to_count:
            group = self._to_count.pop()
            try:
                await self._count(group)
            except ApiError:
                self._to_count.append(group)
                raise
            if self._to_count and time.monotonic() >= until:
                return False
        self.result = self._found
        return True

    async def _count(self, group: RunGroup) -> None:
        count = await self._api.count_overdue(self._before, group)
        if not count:
            return
        if count <= FEW_RUNS:
            await self._add(await self._api.overdue_runs(self._before, group=group), 1)
        elif group.is_single:
            await self._add(await self._api.longest_overdue(self._before, group), count)
        else:
            self._to_count += group.halves()

    async def _add(self, runs: Sequence[FlowRun], each: int) -> None:
        """Adds runs, each of which represents `each` runs."""
        pipelines = await self._pipelines_of(runs)
        for run in runs:
            pipeline = pipelines[run.id]
            if pipeline is not None and run.due_at is not None:
                key = LateKey(pipeline, run.work_pool, run.work_queue)
                self._found[key] = merged(self._found.get(key), LateRuns(each, run.due_at))


def groups_of(names: Names) -> Iterable[RunGroup]:
    """Groups of everything that can have runs: deployments, and flows for runs without a deployment."""
    for kind, objects in (("deployments", names.deployments), ("flows", names.flows)):
        ids = sorted(objects.keys() - names.gone)
        for start in range(0, len(ids), _GROUP):
            yield RunGroup(**{kind: tuple(ids[start : start + _GROUP])})


def late_among(runs: Iterable[tuple[Pipeline, FlowRun]]) -> dict[LateKey, LateRuns]:
    """The late runs among listed ones, in the form of a count."""
    found: dict[LateKey, LateRuns] = {}
    for pipeline, run in runs:
        if run.state.label == LATE and run.due_at is not None:
            key = LateKey(pipeline, run.work_pool, run.work_queue)
            found[key] = merged(found.get(key), LateRuns(1, run.due_at))
    return found
