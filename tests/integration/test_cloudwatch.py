"""The CloudWatch sink in the exporter's process: it pushes pending minutes, and metrics show its state."""

import time
from pathlib import Path

from prefect_monitoring.ledger.opening import open_ledger
from prefect_monitoring.ledger.outbox import Outbox
from prefect_monitoring.model.counted_metrics import DEFAULT_BOUNDS
from prefect_monitoring.model.cursor import FLOW_RUNS
from support.aws import StandIn, aws_stand_in
from support.exporter import Exporter, start_exporter
from support.exposition import value
from support.prefect_server import PrefectServer, env_for
from support.processes import wait_until

SINK = "prefect_exporter_sink"


def test_minute_left_by_an_earlier_process_is_pushed_once_aws_accepts_it(server: PrefectServer, tmp_path: Path) -> None:
    """The test need not wait for a minute to pass, and no scrape waits for AWS."""
    leave_a_minute(server, tmp_path)
    with aws_stand_in() as aws:
        aws.faults.extend(["throttled"] * 1000)
        env = env_for(server, measured=True) | aws.environment()
        options = ("--cloudwatch-pipelines", "etl/.*", "--cloudwatch-namespace", "Test", "--installation", "prod")
        with start_exporter(env, tmp_path, *options) as exporter:
            wait_until(lambda: is_behind(exporter), 90, "a delivery that failed")
            aws.faults.clear()
            wait_until(lambda: last_success(exporter) > 0, 120, "a delivery")
            refused = value(exporter.samples, f"{SINK}_errors_total", sink="cloudwatch", reason="refused")
            assert refused == 0, "shown from zero on"
            assert "CloudWatch does not accept metrics (throttled)" in exporter.process.output()
        assert outcomes_in(aws) == 3.0


def leave_a_minute(server: PrefectServer, folder: Path) -> None:
    """Leaves the ledger of an exporter that counted three failures and ended before it could push them."""
    counted_at = time.time() - 600
    url = f"sqlite:///{folder / 'ledger.db'}"
    ledger = open_ledger(url, server.url, bounds=DEFAULT_BOUNDS, lookbacks={FLOW_RUNS: 3600.0}, now=counted_at)
    outbox = Outbox("cloudwatch", lambda _changes: [])
    with ledger.transaction() as connection:
        outbox.add_gauges(connection, [["RunsFailed", "etl", "daily", [1.0, 3]]], counted_at, 3600.0)
    ledger.close()


def is_behind(exporter: Exporter) -> bool:
    """Whether metrics show the pending minute, and the reason."""
    samples = exporter.samples
    throttled = value(samples, f"{SINK}_errors_total", sink="cloudwatch", reason="throttled") or 0.0
    lag = value(samples, f"{SINK}_lag_seconds", sink="cloudwatch") or 0.0
    return throttled > 0 and 500 < lag < 1000


def last_success(exporter: Exporter) -> float:
    return value(exporter.samples, f"{SINK}_last_success_timestamp_seconds", sink="cloudwatch") or 0.0


def outcomes_in(aws: StandIn) -> float:
    points = aws.client("cloudwatch").get_metric_statistics(
        Namespace="Test",
        MetricName="RunsFailed",
        Dimensions=[
            {"Name": "Flow", "Value": "etl"},
            {"Name": "Deployment", "Value": "daily"},
            {"Name": "Installation", "Value": "prod"},
        ],
        StartTime=time.time() - 7200,
        EndTime=time.time(),
        Period=86400,
        Statistics=["Sum"],
    )["Datapoints"]
    return float(sum(point["Sum"] for point in points))
