"""Reads state histories, one request per run, concurrently and within a time budget."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from prefect_monitoring.analysis.failure_causes import ends_of
from prefect_monitoring.model.records import State
from prefect_monitoring.prefect_api.client import PrefectHttp
from prefect_monitoring.prefect_api.errors import INCOMPLETE, ApiError
from prefect_monitoring.prefect_api.pagination import Row, decode_all, identifier, instant

HISTORY_CONCURRENCY: Final = 4
HISTORY_SECONDS: Final = 5.0  # the rest is read next time: a batch that never ends would never count anything
HISTORY_FAULTS: Final = 3  # tolerates a broken run, but does not ask a dead endpoint for every run
# Codes of errors that affect every run.
_OUTAGE_CODES: Final = frozenset({"401", "403", "408", "429", "502", "503", "504", "error", "throttled"})
NO_TIME: Final = "there are more state histories to read than there is time"
_NO_RUN: Final = str(UUID(int=0))
_UNREADABLE: Final = (KeyError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True, slots=True)
class Histories:
    """The histories of the requested runs.

    `states`: every state that a run was in, oldest first, by run id. `refused`: why the history of a run is not
    answered although the endpoint works. `fault`: why the others could not be read: an outage or, with the code
    INCOMPLETE, lack of time.
    """

    states: Mapping[str, tuple[State, ...]] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    fault: ApiError | None = None

    @property
    def outage(self) -> str:
        """Why the others could not be read; "" where only time ran out."""
        return str(self.fault) if self.fault is not None and self.fault.code != INCOMPLETE else ""


async def read_histories(http: PrefectHttp, endpoint: str, parameter: str, run_ids: Sequence[str]) -> Histories:
    """The histories of these runs, as far as they can be read now."""
    reading = _Reading(http, endpoint, parameter)
    await reading.read(run_ids)
    if reading.odd() and not reading.states and await reading.answers():
        reading.is_alive = True
        await reading.read([run_id for run_id in run_ids if run_id not in reading.failed])
    refused = reading.odd() if reading.states or reading.is_alive else {}
    faults = [fault for run_id, fault in reading.failed.items() if run_id not in refused]
    if not faults and len(reading.states) + len(reading.failed) < len(run_ids):
        faults = [ApiError(NO_TIME, INCOMPLETE)]
    return Histories(reading.states, refused, faults[0] if faults else None)


class _Reading:
    """`failed`: the error of each run that could not be read. `is_alive`: the endpoint is known to work."""

    def __init__(self, http: PrefectHttp, endpoint: str, parameter: str) -> None:
        self.states: dict[str, tuple[State, ...]] = {}
        self.failed: dict[str, ApiError] = {}
        self.is_alive = False
        self._http = http
        self._endpoint = endpoint
        self._parameter = parameter
        self._until = time.monotonic() + HISTORY_SECONDS

    async def read(self, run_ids: Sequence[str]) -> None:
        gate = asyncio.Semaphore(HISTORY_CONCURRENCY)

        async def read_one(run_id: str) -> None:
            async with gate:
                if not self._is_hopeless() and time.monotonic() < self._until:
                    await self._read(run_id)

        await asyncio.gather(*map(read_one, run_ids))

    def _is_hopeless(self) -> bool:
        return len(self.failed) >= HISTORY_FAULTS and not (self.states or self.is_alive)

    async def _read(self, run_id: str) -> None:
        try:
            self.states[run_id] = await self._history(run_id)
        except ApiError as fault:
            self.failed[run_id] = fault

    def odd(self) -> dict[str, str]:
        """The errors of runs that could not be read, without those of an outage."""
        return {run_id: str(fault) for run_id, fault in self.failed.items() if fault.code not in _OUTAGE_CODES}

    async def answers(self) -> bool:
        """Whether the endpoint works, tested with a run id that cannot exist."""
        with suppress(ApiError):
            await self._history(_NO_RUN)
            return True
        return False

    async def _history(self, run_id: str) -> tuple[State, ...]:
        try:
            async with asyncio.timeout(HISTORY_SECONDS):
                rows = await self._http.request(self._endpoint, params={self._parameter: run_id})
        except TimeoutError:  # otherwise one run would take the whole batch's time
            raise ApiError(f"{self._endpoint} did not answer in time", "timeout") from None
        if not isinstance(rows, list):
            raise ApiError(f"{self._endpoint} answered something that is not a list", "invalid_json")
        return tuple(sorted(decode_all(state_of, rows), key=lambda state: state.at))


def state_of(row: Row) -> State:
    """A state from the API's JSON. Raises KeyError, TypeError or ValueError without a valid type or time."""
    state_type = str(row["type"])
    return State(
        id=identifier(row["id"]),
        type=state_type,
        name=str(row.get("name") or state_type.title()),
        at=instant(row["timestamp"]),
        message=ends_of(str(row.get("message") or "")),
    )


def present_state(row: Row) -> tuple[State, bool]:
    """The present state of a run, and whether it has its message or is only derived from the run's row.

    The server writes a task run before its state: seconds before under load, and never the state if it dies in
    between. States can also be deleted. Without a state id, the run's id is used.
    """
    try:
        return state_of(row["state"]), True
    except _UNREADABLE:
        at = row.get("end_time") or row.get("start_time") or row["expected_start_time"]
        state_type = _type(row["state_type"])
        name = str(row.get("state_name") or state_type.title())
        return State(identifier(row.get("state_id") or row["id"]), state_type, name, instant(at), ""), False


def _type(state_type: object) -> str:
    if not isinstance(state_type, str):
        raise TypeError("neither the run nor its state has a state type")
    return state_type
