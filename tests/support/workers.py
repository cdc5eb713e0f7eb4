"""Starts executors of flow runs: a worker of a process pool, or a script that serves its flows."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from support.prefect_server import PrefectServer, env_for
from support.processes import Process, start
from support.seeder import Seeder

# A client outlives a server that is killed and started again, also on a busy machine.
_PATIENT = {"PREFECT_CLIENT_MAX_RETRIES": "30", "PREFECT_CLIENT_RETRY_JITTER_FACTOR": "0.2"}


def start_worker(server: PrefectServer, pool: str, directory: Path) -> Process:
    """Starts a worker in a new session, which includes all runs that it starts."""
    env = env_for(server) | _PATIENT | {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_WORKER_HEARTBEAT_SECONDS": "3"}
    command = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process", "--pool", pool]
    return start(command, directory / f"worker-{pool}.log", env=env, cwd=directory, new_session=True)


def start_serving(server: PrefectServer, script: Path, directory: Path, env: Mapping[str, str]) -> Process:
    """Runs a script that calls `serve()`."""
    environment = env_for(server) | {"PREFECT_RUNNER_POLL_FREQUENCY": "1"} | env
    return start([sys.executable, script], directory / "serving.log", env=environment, cwd=directory, new_session=True)


def deploy(
    seeder: Seeder,
    script: Path,
    flow: str,
    pool: str,
    *,
    env: Mapping[str, str] | None = None,
    queue: str = "default",
    command: str = f"{sys.executable} -m prefect.engine",
) -> str:
    """A deployment `worker` of the function `flow` in `script`, for the workers of `pool`; returns its id."""
    body = {
        "flow_id": seeder.flow(flow),
        "name": "worker",
        "work_pool_name": pool,
        "work_queue_name": queue,
        "path": str(script.parent),
        "entrypoint": f"{script.name}:{flow}",
        "job_variables": {
            "working_dir": str(script.parent),
            "command": command,
            "env": dict(env or {}),
        },
        "parameter_openapi_schema": {"type": "object", "properties": {}},
    }
    return str(seeder.call("POST", "/deployments/", body)["id"])
