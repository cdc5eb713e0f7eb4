"""State histories, a request a run: side by side, within a budget; a dead endpoint is not asked for every run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from prefect_monitoring.model.records import State
from prefect_monitoring.prefect_api.client import PrefectHttp
from prefect_monitoring.prefect_api.errors import INCOMPLETE, ApiError
from prefect_monitoring.prefect_api.pagination import Row, decode, instant

HISTORY_CONCURRENCY: Final = 4
HISTORY_SECONDS: Final = 5.0  # what is left is read next time: a batch that never ends would never count anything
HISTORY_FAULTS: Final = 3  # one broken run is left alone; a dead endpoint is not asked for every run

Histories = dict[str, tuple[State, ...]]


async def read_histories(
    http: PrefectHttp, endpoint: str, parameter: str, run_ids: Sequence[str]
) -> tuple[Histories, ApiError | None]:
    """Every state that each run was in, oldest first, and the fault that kept some runs' states from being read."""
    begun = time.monotonic()
    gate = asyncio.Semaphore(HISTORY_CONCURRENCY)
    found: Histories = {}
    faults: list[ApiError] = []

    async def read(run_id: str) -> None:
        async with gate:
            if len(faults) >= HISTORY_FAULTS:
                return
            if time.monotonic() - begun > HISTORY_SECONDS:
                faults.append(ApiError("there are more state histories to read than there is time", INCOMPLETE))
                return
            try:
                async with asyncio.timeout(HISTORY_SECONDS):
                    states = await http.request(endpoint, params={parameter: run_id})
                found[run_id] = tuple(sorted(decode(state_of, states), key=lambda state: state.at))
            except TimeoutError:  # else one run would take the whole batch's time
                faults.append(ApiError(f"{endpoint} did not answer in time", "timeout"))
            except ApiError as fault:
                faults.append(fault)

    await asyncio.gather(*map(read, run_ids))
    return found, faults[0] if faults else None


def state_of(row: Row) -> State:
    return State(row["id"], row["type"], row["name"], instant(row["timestamp"]), row.get("message") or "")
