"""What is not done: in a dry run, after a stop, in a storm, on a first start; the API plays the workers.

ACT_STORM is the number of runs that fail at once, ACT_HISTORY that of failures before the first start.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support import fixtures
from support.bulk import bulk_finished_runs
from support.exporter import Exporter, actions, start_exporter
from support.exposition import total
from support.prefect_server import PrefectServer, env_for
from support.processes import wait_until
from support.proxy import FaultProxy
from support.seeder import Seeder

PATIENCE = 120.0
HISTORY = int(os.environ.get("ACT_HISTORY", "2000"))
STORM = int(os.environ.get("ACT_STORM", "150"))
PER_CAUSE = 50  # what the fuse lets through, unless the options say otherwise
RULES = """
pipelines:
  - flow: etl
    retry: {max: 1, delay: 1s, jitter: 0%, within: 1d}
    on_failure: {pause: [report/daily]}
    scale: {when_running_longer_than: 1s, work_pool: data, concurrency: 9}
"""


server = fixtures.own_server  # its names are those of the rules


@pytest.fixture(scope="module")
def seeder(server: PrefectServer) -> Iterator[Seeder]:
    with Seeder(server.url) as client:
        client.work_pool("data", concurrency_limit=3)
        client.deployment(client.flow("report"), "daily", work_pool="data")
        client.deployment(client.flow("etl"), "daily", work_pool="data")
        yield client


@pytest.fixture
def options(tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "pipelines.yml").write_text(RULES)
    return "--act", "--birth-hold", "1s", "--pipelines", str(tmp_path / "pipelines.yml")


def deployment(seeder: Seeder, flow: str) -> str:
    return str(seeder.call("GET", f"/deployments/name/{flow}/daily")["id"])


def run(seeder: Seeder) -> str:
    return seeder.run(seeder.flow("etl"), deployment_id=deployment(seeder, "etl"), state="Scheduled")


def failed(seeder: Seeder) -> str:
    failing = run(seeder)
    seeder.failed(failing, "ConnectionError: connection refused")
    return failing


def state(seeder: Seeder, run: str) -> str:
    return str(seeder.read(run)["state"]["name"])


def awaiting_retry(seeder: Seeder) -> int:
    criteria = {"flow_runs": {"state": {"name": {"any_": ["AwaitingRetry"]}}}}
    return int(seeder.call("POST", "/flow_runs/count", criteria))


def counted(exporter: Exporter, **labels: str) -> float:
    return total(exporter.samples, "prefect_exporter_actions_total", **labels)


def wait_acting(exporter: Exporter, acting: bool) -> None:
    wait_until(lambda: total(exporter.samples, "prefect_exporter_acting") == acting, PATIENCE, f"acting: {acting}")


def wait_retried(seeder: Seeder, run: str) -> None:
    wait_until(lambda: state(seeder, run) == "AwaitingRetry", PATIENCE, "a retry")


def test_a_dry_run_changes_nothing(
    server: PrefectServer, seeder: Seeder, options: tuple[str, ...], tmp_path: Path
) -> None:
    with (
        FaultProxy(server.url) as proxy,
        start_exporter(env_for(server, url=proxy.url), tmp_path, *options, "--dry-run") as exporter,
    ):
        exporter.wait_ready()
        wait_until(lambda: total(exporter.samples, "prefect_pipeline_retries_max", flow="etl"), PATIENCE, "the rules")

        def wait_shown(action: str, times: float) -> None:
            def is_shown() -> bool:
                return counted(exporter, action=action, result="dry_run") == times

            wait_until(is_shown, PATIENCE, f"{action}, shown only")

        failing = failed(seeder)
        for action in ("retry", "pause"):
            wait_shown(action, 1)
        # On a busy machine, that run takes longer than a second too, and asks for a slot before it fails.
        exporter.wait_polled(time.time(), PATIENCE)
        before = counted(exporter, action="scale_up", result="dry_run")
        long = run(seeder)
        seeder.running(long)
        wait_shown("scale_up", before + 1)
        seeder.completed(long)
        assert counted(exporter) == counted(exporter, result="dry_run")
        assert state(seeder, failing) == "Failed"
        assert not seeder.call("GET", f"/deployments/{deployment(seeder, 'report')}")["paused"]
        assert seeder.call("GET", "/work_pools/data")["concurrency_limit"] == 3
        reads = ("/filter", "/filter/next", "/count", "/count-by/resource")
        changing = [one for one in proxy.requests if one.method != "GET" and not one.path.endswith(reads)]
        assert not changing, "no request of the exporter's changes Prefect"


def test_a_stop_halts_everything_within_one_poll_until_it_is_resumed(
    server: PrefectServer, seeder: Seeder, options: tuple[str, ...], tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.db"
    with start_exporter(env_for(server), tmp_path, *options) as exporter:
        wait_acting(exporter, True)
        wait_retried(seeder, failed(seeder))

        actions(ledger, "--stop")
        stopped_at = time.monotonic()
        during = failed(seeder)  # at once: there is no poll in between
        wait_acting(exporter, False)
        stop_took = time.monotonic() - stopped_at
        exporter.wait_polled(time.time(), PATIENCE)
        assert state(seeder, during) == "Failed"
    with start_exporter(env_for(server), tmp_path, *options) as exporter:
        exporter.wait_ready()
        assert total(exporter.samples, "prefect_exporter_acting") == 0, "kept in the ledger"
        assert state(seeder, during) == "Failed"
        assert actions(ledger).startswith("stopped since")

        actions(ledger, "--resume")
        wait_acting(exporter, True)
        wait_retried(seeder, failed(seeder))
    sys.stdout.write(f"stopped {stop_took:.1f} s after `actions --stop` had ended\n")


def test_a_storm_of_failures_blows_the_fuse_until_it_is_reset(
    server: PrefectServer, seeder: Seeder, options: tuple[str, ...], tmp_path: Path
) -> None:
    with start_exporter(env_for(server), tmp_path, *options, "--max-requests-per-second", "200") as exporter:
        wait_acting(exporter, True)
        before, begun = awaiting_retry(seeder), datetime.now(UTC)
        ends = [begun + timedelta(milliseconds=number) for number in range(STORM)]
        flow, etl = seeder.flow("etl"), deployment(seeder, "etl")
        bulk_finished_runs(server, flow, ends, deployment_id=etl, state="Failed", message="connection refused")
        wait_acting(exporter, False)
        wait_until(lambda: counted(exporter, action="retry", result="done") == PER_CAUSE, PATIENCE, "what goes through")
        wait_until(lambda: counted(exporter, action="retry", result="fuse") == STORM - PER_CAUSE, PATIENCE, "the rest")
        took = datetime.now(UTC) - begun

        failed(seeder)
        exporter.wait_polled(time.time() + 1, PATIENCE)
        assert awaiting_retry(seeder) == before + PER_CAUSE
        assert not seeder.call("GET", f"/deployments/{deployment(seeder, 'report')}")["paused"]
        reason = f"the fuse is blown: {PER_CAUSE} actions for the cause connection within an hour"
        assert reason in actions(tmp_path / "ledger.db")

        actions(tmp_path / "ledger.db", "--resume")
        wait_acting(exporter, True)
        wait_retried(seeder, failed(seeder))
        assert awaiting_retry(seeder) == before + PER_CAUSE + 1, "what was withheld stays so"
    sys.stdout.write(
        f"{STORM} failures: {PER_CAUSE} retried, the others withheld, {took.total_seconds():.1f} s later\n"
    )


def test_a_first_start_on_a_history_of_failures_retries_none(
    server: PrefectServer, seeder: Seeder, options: tuple[str, ...], tmp_path: Path
) -> None:
    # The last test of this file: what it leaves behind, every new ledger has to load.
    newest = datetime.now(UTC)
    ends = [newest - timedelta(seconds=second) for second in range(HISTORY)]
    flow, etl = seeder.flow("etl"), deployment(seeder, "etl")
    bulk_finished_runs(server, flow, ends, deployment_id=etl, state="Failed", message="connection refused")
    before, begun = awaiting_retry(seeder), time.monotonic()
    with start_exporter(env_for(server), tmp_path, *options) as exporter:
        wait_acting(exporter, True)
        acting = time.monotonic() - begun
        wait_retried(seeder, failed(seeder))  # what fails from now on is retried

        wait_until(lambda: counted(exporter, action="retry", result="done") == 1, PATIENCE, "one retry")
        assert awaiting_retry(seeder) == before + 1
        assert not seeder.call("GET", f"/deployments/{deployment(seeder, 'report')}")["paused"]
        done = actions(tmp_path / "ledger.db").splitlines()
        assert sum("  retry " in line for line in done) == 1, (
            done
        )  # a run of an earlier test may raise the limit as well
    sys.stdout.write(f"acting {acting:.1f} s after a start on {HISTORY} failures; none of them was retried\n")
