"""Runs scripts of flows, each in a process of its own against a server."""

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
# Prefect drops the log lines that a busy server does not take: on an error 500 they are sent again instead.
_PATIENT = {"PREFECT_CLIENT_RETRY_EXTRA_CODES": "500", "PREFECT_API_REQUEST_TIMEOUT": "300"}
_LINES_LOST = "Error logging to API"


def run_flows(
    server: PrefectServer, script: Path, argument: str, directory: Path, env: Mapping[str, str] | None = None
) -> str:
    """To their end, and what they printed; what they log and their task runs may arrive later."""
    command = [sys.executable, str(script), argument]
    environment = env_for(server) | _PATIENT | dict(env or {})
    done = subprocess.run(command, env=environment, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the flows did not run to their end:\n{done.stderr[-4000:]}")
    if _LINES_LOST in done.stderr:
        raise RuntimeError(f"Prefect lost log lines, which no test asks of it:\n{done.stderr[-4000:]}")
    return done.stdout + done.stderr


def run_real_flows(server: PrefectServer, prefix: str, directory: Path) -> None:
    run_flows(server, REAL_FLOWS, prefix, directory)


def run_helpers(
    server: PrefectServer, directory: Path, env: Mapping[str, str] | None = None, **plan: object
) -> dict[str, Any]:
    """A part of helper_flows.py; what its flows saw."""
    run_flows(server, HELPER_FLOWS, json.dumps(plan), directory, env)
    seen: dict[str, Any] = json.loads((directory / "result.json").read_text())
    return seen
