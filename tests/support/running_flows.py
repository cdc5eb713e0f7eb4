"""Runs scripts of flows against a server, each in a separate process."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.prefect_server import PrefectServer, env_for

REAL_FLOWS = Path(__file__).with_name("real_flows.py")
HELPER_FLOWS = Path(__file__).with_name("helper_flows.py")
SERVED_FLOW = Path(__file__).with_name("served_flow.py")
# Prefect drops log lines that a busy server rejects; with these settings it repeats them after an error 500.
_PATIENT = {"PREFECT_CLIENT_RETRY_EXTRA_CODES": "500", "PREFECT_API_REQUEST_TIMEOUT": "300"}
_LINES_LOST = "Error logging to API"


def run_flows(
    server: PrefectServer, script: Path, argument: str, directory: Path, env: Mapping[str, str] | None = None
) -> str:
    """Runs them to their end and returns their output; their log lines and task runs may arrive later."""
    command = [sys.executable, str(script), argument]
    environment = env_for(server) | _PATIENT | dict(env or {})
    done = subprocess.run(command, env=environment, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the flows did not run to their end:\n{done.stderr[-4000:]}")
    if _LINES_LOST in done.stderr:
        raise RuntimeError(f"Prefect lost log lines:\n{done.stderr[-4000:]}")
    return done.stdout + done.stderr


def run_real_flows(server: PrefectServer, prefix: str, directory: Path) -> None:
    run_flows(server, REAL_FLOWS, prefix, directory)


def run_helpers(
    server: PrefectServer, directory: Path, env: Mapping[str, str] | None = None, **plan: object
) -> dict[str, Any]:
    """Runs a part of helper_flows.py and returns the observations of its flows."""
    run_flows(server, HELPER_FLOWS, json.dumps(plan), directory, env)
    seen: dict[str, Any] = json.loads((directory / "result.json").read_text())
    return seen
