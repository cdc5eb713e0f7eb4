"""The demo's requests to its Prefect server, over the bare REST API.

Prefect's own client would read the user's profile and take seconds to import; a handful of requests to a server on
this machine needs neither.
"""

from __future__ import annotations

import operator
import shlex
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
from tenacity import (
    Retrying,
    retry_if_exception_type,
    retry_if_result,
    stop_after_attempt,
    stop_after_delay,
    wait_fixed,
)

from prefect_monitoring.demo.processes import DemoError
from prefect_monitoring.demo.schedule import EXAMPLES, POOL_SLOTS, Example

_PAGE: Final = 200
_TRIES: Final = 40
_PAUSE_SECONDS: Final = 0.5
_UP_POLL_SECONDS: Final = 0.3
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_UNAVAILABLE: Final = 503
_UNFINISHED: Final = ("SCHEDULED", "PENDING", "RUNNING", "CANCELLING", "PAUSED")


def connect(url: str, check: Callable[[], None]) -> httpx.Client:
    """A client that calls `check` before each request; the request raises what `check` does."""
    # A proxy from the environment must not come between two processes of one machine.
    return httpx.Client(base_url=url, timeout=30, trust_env=False, event_hooks={"request": [lambda _request: check()]})


def wait_until_up(client: httpx.Client, path: str, *, seconds: float) -> bool:
    """Whether `path` answers with success within `seconds`."""
    tries = Retrying(
        retry=retry_if_exception_type(httpx.TransportError) | retry_if_result(operator.not_),
        stop=stop_after_delay(seconds),
        wait=wait_fixed(_UP_POLL_SECONDS),
        retry_error_callback=lambda _: False,
    )
    return tries(lambda: client.get(path, timeout=5).is_success)


def deploy(client: httpx.Client, flows: Path, first: datetime) -> None:
    """Create or update the work pools and deployments; the first period of the schedules begins at `first`.

    A repeat changes only the schedules' times.
    """
    for pool in sorted({example.pool for example in EXAMPLES}):
        body = {"name": pool, "type": "process", "concurrency_limit": POOL_SLOTS.get(pool)}
        _post(client, "/work_pools/", body, accept=_CONFLICT)
    for example in EXAMPLES:
        flow_id = _post(client, "/flows/", {"name": example.flow})["id"]
        _post(client, "/deployments/", {"flow_id": flow_id} | deployment(example, flows, first))


def deployment(example: Example, flows: Path, first: datetime) -> dict[str, Any]:
    """The body of the request that creates the deployment, without its flow's id."""
    schedule = {
        "interval": example.interval_seconds,
        "anchor_date": (first + timedelta(seconds=example.offset_seconds)).isoformat(),
    }
    return {
        "name": example.name,
        "description": f"{example.shows}.",
        "tags": list(example.tags),
        "work_pool_name": example.pool,
        "entrypoint": example.entrypoint,
        "path": str(flows),
        "job_variables": {
            # Run where the files are: nothing is copied into a temporary directory that a kill would leave behind.
            "working_dir": str(flows),
            # Given a command, the worker starts the run directly and in its own process group. Without one, it first
            # starts a second Python to look for the code, and puts the run into a session that outlives the worker.
            "command": f"{shlex.quote(sys.executable)} -m prefect.engine",
        },
        "parameter_openapi_schema": {"type": "object", "properties": {}},
        "schedules": [{"schedule": schedule, "active": True}] if example.every else [],
    }


def flow_names(client: httpx.Client) -> set[str]:
    """The names of up to a page of flows."""
    return {flow["name"] for flow in _post(client, "/flows/filter", {"limit": _PAGE})}


def clear_leftovers(client: httpx.Client, due_before: datetime) -> None:
    """Settle the unfinished runs of an earlier demo in this directory that were due before `due_before`.

    Otherwise the worker would at once start everything that was due in the meantime. Runs that never started are
    deleted. Runs that had started died with their worker: they are cancelled, not crashed, because stopping the demo is
    not a failure of the pipeline.
    """
    settled: set[str] = set()
    while runs := [run for run in _unfinished(client, due_before) if run["id"] not in settled]:
        for run in runs:
            path = f"/flow_runs/{run['id']}"
            if run["run_count"]:
                state = {"type": "CANCELLED", "name": "Cancelled", "message": "The demo was stopped"}
                _post(client, f"{path}/set_state", {"state": state, "force": True})
            else:
                _request(client, "DELETE", path, accept=_NOT_FOUND)
            settled.add(run["id"])


def _unfinished(client: httpx.Client, due_before: datetime) -> list[dict[str, Any]]:
    flow_runs = {
        "state": {"type": {"any_": _UNFINISHED}},
        "expected_start_time": {"before_": due_before.isoformat()},
    }
    runs: list[dict[str, Any]] = _post(client, "/flow_runs/filter", {"flow_runs": flow_runs, "limit": _PAGE})
    return runs


def _post(client: httpx.Client, path: str, body: dict[str, Any], *, accept: int = 0) -> Any:
    return _request(client, "POST", path, body, accept=accept).json()


def _request(client: httpx.Client, method: str, path: str, body: object = None, *, accept: int = 0) -> httpx.Response:
    """The answer; DemoError for one that is neither a success nor `accept`. All requests here can be repeated."""
    # SQLite may have been locked by one of the server's own services.
    tries = Retrying(
        retry=retry_if_exception_type(httpx.TransportError)
        | retry_if_result(lambda response: response.status_code == _UNAVAILABLE),
        stop=stop_after_attempt(_TRIES),
        wait=wait_fixed(_PAUSE_SECONDS),
        retry_error_callback=lambda state: state.outcome and state.outcome.result(),
    )
    try:
        response = tries(client.request, method, path, json=body)
    except httpx.TransportError as error:
        raise DemoError(f"Prefect refused {method} {path}: {error!r}") from error
    if response.is_success or response.status_code == accept:
        return response
    raise DemoError(f"Prefect refused {method} {path}: {response.status_code} {response.text[:500]}")
