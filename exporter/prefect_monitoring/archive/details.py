"""Reads the details of finished runs, for all of them together where the API allows it, and redacts them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from prefect_monitoring.analysis import run_document
from prefect_monitoring.analysis.run_document import RunRecord
from prefect_monitoring.archive.spool import Spool
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.pagination import Row
from prefect_monitoring.prefect_api.raw_runs import RawRunsApi

STATES_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class RunDetails:
    """A run with its details, redacted. `task_runs` are pairs: a task run, and the subflow run that it stands for."""

    run: Mapping[str, Any]
    flow: str
    deployment: str
    states: Sequence[Mapping[str, Any]]
    states_complete: bool
    task_runs: Spool = field(default_factory=Spool)
    logs: Spool = field(default_factory=Spool)

    def record(self, *, with_task_runs: bool) -> RunRecord:
        task_runs = [run for run, _ in self.task_runs] if with_task_runs else []
        return RunRecord(self.run, self.flow, self.deployment, self.states, task_runs)

    @property
    def is_large(self) -> bool:
        return self.task_runs.is_large or self.logs.is_large

    def close(self) -> None:
        self.task_runs.close()
        self.logs.close()


class DetailsReader:
    """Reads details of runs, and caches the names of flows and deployments."""

    def __init__(self, api: RawRunsApi) -> None:
        self._api = api
        self._names: dict[str, str] = {}

    async def read(self, runs: Sequence[Mapping[str, Any]]) -> list[RunDetails]:
        """The details of `runs`, each to be closed. Raises ApiError."""
        await self._read_names("/flows/filter", "flows", runs, "flow_id")
        await self._read_names("/deployments/filter", "deployments", runs, "deployment_id")
        states = await self._states([run["id"] for run in runs])
        details = {run["id"]: self._details(run, states[run["id"]]) for run in runs}
        try:
            async for rows in self._api.task_runs(details):
                for row in rows:
                    child = ((row.get("state") or {}).get("state_details") or {}).get("child_flow_run_id")
                    task_run = run_document.task_run(row)
                    message = (task_run["state"] or {}).get("message") or ""
                    details[row["flow_run_id"]].task_runs.add((task_run, child), size=len(message))
            async for rows in self._api.logs(details):
                for row in rows:
                    line = run_document.log_line(row)
                    details[row["flow_run_id"]].logs.add(line, size=len(line["message"]))
        except BaseException:
            close_all(details.values())
            raise
        return list(details.values())

    async def read_ahead(self, chunks: Iterable[Sequence[Mapping[str, Any]]]) -> AsyncGenerator[list[RunDetails]]:
        """Yields the details of each chunk while the next is being read; closes them when the next is requested."""
        ahead: deque[asyncio.Task[list[RunDetails]]] = deque()
        try:
            for chunk in chunks:
                ahead.append(asyncio.create_task(self.read(chunk)))
                if len(ahead) > 1:
                    async with _closing(await ahead.popleft()) as details:
                        yield details
            async with _closing(await ahead.popleft()) as details:
                yield details
        finally:
            for task in ahead:
                task.cancel()
            for late_details in await asyncio.gather(*ahead, return_exceptions=True):
                if isinstance(late_details, list):
                    close_all(late_details)

    def _details(self, run: Mapping[str, Any], states: Sequence[Mapping[str, Any]] | None) -> RunDetails:
        present = [run["state"]] if run.get("state") else []
        return RunDetails(
            run,
            flow=self._names.get(run["flow_id"], ""),
            deployment=self._names.get(run.get("deployment_id") or "", ""),
            states=[run_document.state_of(state) or {} for state in states or present],
            states_complete=bool(states),
        )

    async def _states(self, run_ids: Sequence[str]) -> dict[str, list[Row] | None]:
        gate = asyncio.Semaphore(STATES_AT_ONCE)
        states: dict[str, list[Row] | None] = {}
        faults: list[ApiError] = []

        async def read(run_id: str) -> None:
            async with gate:
                if faults:  # an API that is down is not asked for every run
                    return
                try:
                    states[run_id] = await self._api.states(run_id)
                except ApiError as fault:
                    faults.append(fault)

        await asyncio.gather(*map(read, run_ids))
        if faults:
            raise faults[0]
        return states

    async def _read_names(self, endpoint: str, kind: str, runs: Sequence[Mapping[str, Any]], column: str) -> None:
        unknown = {run[column] for run in runs if run.get(column)} - self._names.keys()
        if unknown:
            names = await self._api.names(endpoint, kind, unknown)
            self._names |= {identifier: names.get(identifier, "") for identifier in unknown}


def close_all(details: Iterable[RunDetails]) -> None:
    for run_details in details:
        run_details.close()


@asynccontextmanager
async def _closing(details: list[RunDetails]) -> AsyncIterator[list[RunDetails]]:
    try:
        yield details
    finally:
        close_all(details)
