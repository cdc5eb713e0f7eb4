"""The output of `prefect-monitoring backfill` for the month: Prometheus blocks, and the ledger that continues them."""

from pathlib import Path

from dashboards.site import INSTANCE, WORKSPACE
from support.backfill import Backfill
from support.prefect_server import PrefectServer, env_for


def backfilled(server: PrefectServer, directory: Path) -> None:
    """Fills the ledger and the data of Prometheus in `directory`."""
    backfill = Backfill(env_for(server), directory, directory / "past", ("--max-requests-per-second", "1000"))
    done = backfill.run("--since", "32d", "--instance", INSTANCE, "--workspace", WORKSPACE)
    assert done.returncode == 0, done.stdout + done.stderr
    backfill.move_blocks(directory / "prometheus")
