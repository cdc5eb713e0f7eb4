"""kill -9 at every point of a poll: after a restart, the totals match the API, and no counter has gone back."""

import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support import fixtures, killed_exporter
from support.bulk import bulk_finished_runs
from support.exporter import run_exporter
from support.exposition import outcomes, value
from support.prefect_server import PrefectServer, env_for
from support.rig import Rig, rig
from support.seeder import Seeder
from support.truth import truth

SCRIPT = Path(killed_exporter.__file__)


# With pages of three runs, reading the shared server would take minutes.
server = fixtures.own_server
seeder = fixtures.seeder


def seed(server: PrefectServer, seeder: Seeder, unique: str) -> None:
    """Runs over several small pages: plain ones, a retried one, one that crashed before its start, equal end times."""
    flow = seeder.flow(f"{unique}killed")
    deployment = seeder.deployment(flow, "daily")
    now = datetime.now(UTC)
    bulk_finished_runs(server, flow, [now - timedelta(seconds=second // 3) for second in range(9)])
    bulk_finished_runs(server, flow, [now - timedelta(seconds=second) for second in range(4)], state="Failed")
    retried = seeder.run(flow, deployment_id=deployment)
    seeder.failed(retried)
    seeder.retry_from_ui(retried)
    seeder.completed(retried)
    seeder.crashed(seeder.run(flow, deployment_id=deployment), started=False)


def kill(server: PrefectServer, directory: Path, point: str, unique: str) -> None:
    exporter = run_exporter(env_for(server), directory, "--include-flows", f"{unique}.*", script=(str(SCRIPT), point))
    assert exporter.process.popen.wait(60) == -signal.SIGKILL, exporter.process.output()


def shown(exporter: Rig, unique: str) -> Counter[tuple[str, str, str]]:
    return outcomes(exporter.samples, flow_prefix=unique)


@pytest.mark.parametrize("point", killed_exporter.POINTS)
async def test_kill_during_a_poll_loses_and_repeats_nothing(
    server: PrefectServer, seeder: Seeder, unique: str, tmp_path: Path, point: str
) -> None:
    seed(server, seeder, unique)
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        before = await exporter.totals(unique)
        assert before == truth(server.url, flow_prefix=unique)
        await exporter.stop()
        seed(server, seeder, unique)
        kill(server, tmp_path, point, unique)
        await exporter.start()
        restored = shown(exporter, unique)
        assert all(restored[key] >= count for key, count in before.items()), "a counter went back"
        after = await exporter.totals(unique)
        assert after == truth(server.url, flow_prefix=unique)
        delays = value(
            exporter.samples, "prefect_flow_run_start_delay_seconds_count", flow=f"{unique}killed", deployment=""
        )
        assert delays == 26, "each start is counted once"


@pytest.mark.parametrize("point", ["between two pages", "in the middle of a window", "inside the transaction"])
async def test_kill_during_the_baseline_load_shows_nothing_partial(
    server: PrefectServer, seeder: Seeder, unique: str, tmp_path: Path, point: str
) -> None:
    seed(server, seeder, unique)
    kill(server, tmp_path, point, unique)
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        assert not shown(exporter, unique), "an incomplete baseline is not shown"
        await exporter.poll()
        # No second poll: the baseline is shown immediately, without starting at zero.
        assert shown(exporter, unique) == truth(server.url, flow_prefix=unique)
