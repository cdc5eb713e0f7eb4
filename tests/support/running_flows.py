"""Runs scripts of flows, each in a process of its own against a server."""

import subprocess
import sys
from pathlib import Path

from support.prefect_server import PrefectServer, env_for

REAL_FLOWS = Path(__file__).with_name("real_flows.py")


def run_flows(server: PrefectServer, script: Path, argument: str, directory: Path) -> None:
    """To their end; what they log and their task runs may arrive later."""
    command = [sys.executable, str(script), argument]
    done = subprocess.run(command, env=env_for(server), cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the flows did not run to their end:\n{done.stderr[-4000:]}")


def run_real_flows(server: PrefectServer, prefix: str, directory: Path) -> None:
    run_flows(server, REAL_FLOWS, prefix, directory)
