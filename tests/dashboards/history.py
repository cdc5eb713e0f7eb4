"""The month as Prometheus blocks, and the ledger that goes on from them: what `prefect-monitoring backfill` makes."""

import subprocess
import sys
from pathlib import Path

from dashboards.site import INSTANCE, JOB, WORKSPACE
from support.prefect_server import PrefectServer, env_for


def backfilled(server: PrefectServer, directory: Path) -> None:
    """Fills the ledger in `directory`, and Prometheus' data there."""
    data = directory / "prometheus/data"
    data.mkdir(parents=True)
    command = [sys.executable, "-m", "prefect_monitoring", "backfill", "--since", "30d", "--output", str(data)]
    command += ["--ledger-url", f"sqlite:///{directory / 'ledger.db'}"]
    command += ["--workspace", WORKSPACE, "--job", JOB, "--instance", INSTANCE]
    done = subprocess.run(command, env=env_for(server), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
