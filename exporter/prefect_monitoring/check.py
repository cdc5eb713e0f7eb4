"""`prefect-monitoring check`: what must be right before `serve`, every fault at once, with how to mend it."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from prefect_monitoring.ledger import inspect_ledger
from prefect_monitoring.ledger_file import LedgerError, LedgerInUseError, sqlite_path
from prefect_monitoring.metrics import refuse_unknown
from prefect_monitoring.prefect_api import PrefectApi
from prefect_monitoring.prefect_http import ApiError, NoApiUrlError, Traffic, api_address, open_http
from prefect_monitoring.settings import Settings

NOBODY = str(UUID(int=0))


@dataclass(frozen=True, slots=True)
class Finding:
    ok: bool
    text: str


async def check(settings: Settings) -> list[Finding]:
    """One finding for each thing that was looked at."""
    refuse_unknown(settings.metrics_off)
    valid = Finding(ok=True, text="settings: valid")
    return [valid, *await _check_api(settings), await asyncio.to_thread(_check_ledger, settings)]


async def check_without_settings() -> list[Finding]:
    """What can be looked at while the settings are wrong."""
    return await _check_api(Settings())


async def _check_api(settings: Settings) -> list[Finding]:
    try:
        address = api_address()
    except NoApiUrlError as fault:
        return [Finding(ok=False, text=f"Prefect API: {fault}")]
    async with open_http(Traffic(), settings.max_requests_per_second) as http:
        api = PrefectApi(http)
        reads: dict[str, Callable[[], Awaitable[object]]] = {
            "finished flow runs": lambda: api.finished_page(4e9, None, 0),
            "active flow runs": api.active_runs,
            "flow run counts": lambda: api.ended_by_type(0, 1, ("FAILED",)),
            "flow run states": lambda: _state_history(api),
            "flows": lambda: api.flows((NOBODY,)),
            "deployments": lambda: api.deployments((NOBODY,)),
        }
        # Side by side: an API that does not answer is waited for once.
        told = await asyncio.gather(*(_fault(read, settings.source_timeout) for read in reads.values()))
    faults: dict[str, list[str]] = {}
    for what, reason in zip(reads, told, strict=True):
        if reason:
            faults.setdefault(reason, []).append(what)
    if not faults:
        return [Finding(ok=True, text=f"Prefect API: {address} answers and lets us read {', '.join(reads)}")]
    return [
        Finding(ok=False, text=f"Prefect API: {address}: cannot read {', '.join(what)}: {reason}")
        for reason, what in faults.items()
    ]


async def _fault(read: Callable[[], Awaitable[object]], timeout: float) -> str:  # noqa: ASYNC109 it is told
    try:
        async with asyncio.timeout(timeout):
            await read()
    except ApiError as fault:
        return str(fault)
    except TimeoutError:
        return f"no answer within {timeout:g} s"
    return ""


async def _state_history(api: PrefectApi) -> None:
    _, fault = await api.histories((NOBODY,))
    if fault is not None:
        raise fault


def _check_ledger(settings: Settings) -> Finding:
    existing = Path()
    try:
        path = sqlite_path(settings.ledger_url)
        if not path.exists():
            existing = next(folder for folder in path.absolute().parents if folder.exists())
            with tempfile.TemporaryFile(dir=existing):
                return Finding(ok=True, text=f"ledger: {path} will be made by the first start")
        if not os.access(path, os.W_OK):
            raise LedgerError(f"{path} cannot be written: give the user that runs prefect-monitoring the right to")
        inspect_ledger(settings.ledger_url, api_address(), settings.moved_from)
    except NoApiUrlError:
        return Finding(ok=True, text=f"ledger: {path} exists; whose runs it counts is checked once the API is known")
    except LedgerInUseError:
        return Finding(ok=True, text="ledger: in use by a running prefect-monitoring")
    except LedgerError as fault:
        return Finding(ok=False, text=f"ledger: {fault}")
    except OSError as fault:
        return Finding(
            ok=False, text=f"ledger: {existing} cannot be written ({fault.strerror}): set ledger_url elsewhere"
        )
    return Finding(ok=True, text=f"ledger: {path} can be written")
