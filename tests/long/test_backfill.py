"""A backfill: its series match the history, and live series continue them without a reset."""

import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from prefect_monitoring.model.counted_metrics import COUNTED_METRICS, CountedMetric
from support import fixtures
from support.backfill import Backfill
from support.bulk import bulk_finished_runs, bulk_logs, bulk_task_runs
from support.exporter import run_exporter, start_exporter
from support.prefect_server import PrefectServer, env_for
from support.processes import wait_until
from support.prometheus import Prometheus, start_prometheus
from support.seeder import Seeder

RULES = Path(__file__).parents[2] / "prometheus/rules/increases.yml"
HOUR = timedelta(hours=1)
DAYS = 5  # promtool makes two blocks of each
HOSTILE = 'etl "née" \\ {x="1"}\nDROP 🚚'
TARGET = {"job": "prefect-monitoring", "instance": "exporter:9877", "workspace": "production"}
AS_LIVE = ("--instance", TARGET["instance"], "--workspace", TARGET["workspace"])
JOINED = (
    "prefect_flow_run_outcomes_total",
    "prefect_flow_run_duration_seconds_sum",
    "prefect_flow_run_duration_seconds_count",
    "prefect_flow_run_retries_total",
    "prefect_task_run_outcomes_total",
    "prefect_task_run_seconds_total",
    "prefect_task_run_retries_total",
    "prefect_custom_metric_observed_sum",
    "prefect_custom_metric_observed_count",
)


@dataclass
class Month:
    """The seeded data: end times by (flow, state), and the times and values of the METRIC lines."""

    prefix: str
    now: datetime
    hourly: str
    ends: dict[tuple[str, str], list[datetime]] = field(default_factory=dict)
    rows: list[tuple[datetime, int]] = field(default_factory=list)

    def outcomes(self, until: datetime) -> Counter[tuple[str, str]]:
        return Counter({key: count for key, ends in self.ends.items() if (count := sum(end <= until for end in ends))})


def seed(server: PrefectServer, seeder: Seeder, prefix: str) -> Month:
    """An hourly pipeline over DAYS days with a task and METRIC lines, one run in ten failed; and flows with fewer runs.

    One with a hostile name started three days ago, one never ran, and the only run of another ended a minute ago.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    month = Month(prefix, now, f"{prefix}hourly")
    flow = seeder.flow(month.hourly)
    deployment = seeder.deployment(flow, "main")
    ends = [now - DAYS * 24 * HOUR + number * HOUR for number in range(DAYS * 24)]
    failed = ends[::10]
    good = [end for end in ends if end not in failed]
    ids = bulk_finished_runs(server, flow, good, deployment_id=deployment, duration=timedelta(seconds=90))
    bulk_finished_runs(server, flow, failed, deployment_id=deployment, state="Failed", message="ValueError: no")
    tasks = bulk_task_runs(server, "load", zip(ids, good, strict=True), attempts=2, duration=timedelta(seconds=40))
    month.rows = [(end, 100 + number) for number, end in enumerate(good[-48:])]
    for (end, rows), run_id, task_id in zip(month.rows, ids[-48:], tasks[-48:], strict=True):
        bulk_logs(server, [(end, f"METRIC: rows_loaded={rows}")], flow_run_id=run_id, task_run_id=task_id)
    hostile = seeder.flow(prefix + HOSTILE)
    twice_a_day = [now - number * 12 * HOUR for number in range(1, 7)]
    bulk_finished_runs(server, hostile, twice_a_day)
    seeder.flow(f"{prefix}never-ran")
    fresh = seeder.flow(f"{prefix}fresh")
    bulk_finished_runs(server, fresh, [now - timedelta(minutes=1)])
    month.ends = {
        (month.hourly, "completed"): good,
        (month.hourly, "failed"): failed,
        (prefix + HOSTILE, "completed"): twice_a_day,
        (f"{prefix}fresh", "completed"): [now - timedelta(minutes=1)],
    }
    return month


server = fixtures.own_server
seeder = fixtures.seeder


@pytest.fixture(scope="module")
def month(server: PrefectServer, seeder: Seeder) -> Month:
    return seed(server, seeder, f"past-{os.getpid()}-")


def backfill_of(month: Month, server: PrefectServer, directory: Path, *, measured: bool = False) -> Backfill:
    options = ("--include-flows", f"{month.prefix}.*")
    return Backfill(env_for(server, measured=measured), directory, directory / "past", options)


@pytest.fixture
def backfill(server: PrefectServer, month: Month, tmp_path: Path) -> Backfill:
    return backfill_of(month, server, tmp_path)


@pytest.fixture(scope="module")
def joined(server: PrefectServer, month: Month, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus with the backfilled blocks, which scrapes an exporter on the same ledger."""
    directory = tmp_path_factory.mktemp("joined")
    backfill = backfill_of(month, server, directory)
    done = backfill.run(*AS_LIVE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 runs are missing" in done.stdout
    backfill.move_blocks(directory / "prometheus")
    with start_exporter(env_for(server), directory, *backfill.options, "--birth-hold", "0s") as exporter:
        exporter.wait_ready()
        target = {"targets": [exporter.url.removeprefix("http://")]}
        labels = {name: value for name, value in TARGET.items() if name != "job"}
        options = {"job_name": TARGET["job"], "static_configs": [{**target, "labels": labels}]}
        urls = [f"{exporter.url}/metrics"]
        with start_prometheus(
            directory / "prometheus", urls, rule_files=[RULES], scrape_options=[options], retention="60d"
        ) as prometheus:
            prometheus.wait_for("prefect_custom_metric_observed_sum", bool)
            yield prometheus


def test_backfilled_series_match_the_history_and_live_series_continue_them(
    joined: Prometheus, month: Month, server: PrefectServer, seeder: Seeder
) -> None:
    for ago in (timedelta(days=DAYS - 1), timedelta(days=2.2), timedelta(hours=5)):
        at = (month.now - ago).replace(minute=0, second=0)
        series = joined.query("last_over_time(prefect_flow_run_outcomes_total[1h]) > 0", at.timestamp())
        outcomes = {(dict(labels)["flow"], dict(labels)["state"]): value for labels, value in series.items()}
        assert outcomes == month.outcomes(at), f"at {at}"
    rows = joined.value("prefect_custom_metric_observed_sum")
    assert rows == sum(value for _, value in month.rows)
    good = month.ends[month.hourly, "completed"]
    assert joined.value(f'prefect_flow_run_duration_seconds_sum{{flow="{month.hourly}"}}') == 90 * len(good)
    assert joined.value("prefect_task_run_retries_total") == len(good)

    before = f'prefect_flow_run_outcomes_total{{flow="{month.hourly}",state="completed"}}'
    live = joined.value(before)
    assert live is not None
    flow_id = seeder.flow(month.hourly)
    seeder.completed(seeder.run(flow_id, deployment_id=seeder.deployment(flow_id, "main")))
    month.ends[month.hourly, "completed"].append(datetime.now(UTC))
    joined.wait_for(before, lambda found: list(found.values()) == [live + 1])
    for name in JOINED:
        past = joined.query(f"last_over_time({name}[40d] offset 3h)")
        assert past, name
        assert past.keys() <= joined.query(name).keys(), f"{name}: live series are missing"
        assert not any(joined.query(f"resets({name}[40d])").values()), name
    increase = joined.value(f"max_over_time({before}[40d]) - min_over_time({before}[40d])")
    assert increase == live + 1, "a new series starts at zero"


@pytest.mark.parametrize("exposed", JOINED)
def test_recorded_increases_are_all_that_was_counted(joined: Prometheus, exposed: str) -> None:
    """Those of the past, what ended between its end and the first scrape, and what ended since."""
    [row] = [row for row in COUNTED_METRICS.values() if exposed.startswith(row.name)]
    labels = ", ".join(row.labels)
    increases = f"sum by ({labels}) (sum_over_time({row.recorded(exposed, 'increase')}[40d]))"
    levels = {labels: value for labels, value in joined.query(f"sum by ({labels}) ({exposed})").items() if value}
    assert levels or exposed == "prefect_flow_run_retries_total", "only tasks are retried here"
    joined.wait_for(f"{increases} != 0", lambda found: found == pytest.approx(levels), timeout=90)
    since = joined.query(f"sum(sum_over_time({row.recorded(exposed, 'increase')}[10m])) > 0")
    assert since or not levels, "nothing ended after the last sample of the past"


@pytest.mark.parametrize("row", [row for row in COUNTED_METRICS.values() if row.summed_by], ids=lambda row: row.name)
def test_increases_of_all_tasks_are_those_of_each(joined: Prometheus, row: CountedMetric) -> None:
    each, of_all = (
        f"sum by ({', '.join(row.summed_by)}) (sum_over_time({row.recorded(row.name, 'increase', by)}[40d]))"
        for by in ((), row.summed_by)
    )
    assert joined.query(each) == pytest.approx(joined.query(of_all))
    assert joined.query(each)


def test_flows_without_old_runs_have_no_backfilled_series(joined: Prometheus, month: Month) -> None:
    """A flow that started three days ago has no samples from the days before."""
    past = "count by (flow) (count_over_time(prefect_flow_run_outcomes_total[40d] offset 3h))"
    flows = {dict(labels)["flow"] for labels in joined.query(past)}
    assert flows == {month.hourly, month.prefix + HOSTILE}
    four_days_ago = (month.now - timedelta(days=4)).timestamp()
    earlier = joined.query("last_over_time(prefect_flow_run_outcomes_total[2h])", four_days_ago)
    assert {dict(labels)["flow"] for labels in earlier} == {month.hourly}


def test_files_are_openmetrics_and_their_size_is_reported_in_advance(
    month: Month, server: PrefectServer, tmp_path: Path
) -> None:
    backfill = backfill_of(month, server, tmp_path, measured=True)
    done = backfill.run("--step", "6h", "--label", "cluster=eu", "--label", 'note=a "b"')
    assert done.returncode == 0, done.stdout + done.stderr
    files = sorted((backfill.output / "openmetrics").glob("*.om"))
    assert len(files) in {DAYS, DAYS + 1}
    samples = 0
    for file in files:
        for family in text_string_to_metric_families(file.read_bytes().decode()):
            for sample in family.samples:
                recorded = ":" in sample.name  # rules drop the labels of targets
                assert sample.labels.get("cluster") == (None if recorded else "eu")
                assert sample.labels.get("note") == (None if recorded else 'a "b"')
                assert "workspace" not in sample.labels
                assert "" not in sample.labels.values()
                samples += 1
    announcement = next(line for line in done.stdout.splitlines() if line.startswith("To write"))
    announced = int(re.findall(r" ([\d,]+) samples", announcement)[0].replace(",", ""))
    assert samples <= announced <= 1.2 * samples

    begun = ("--step", "6h", "--label", "cluster=eu")
    for otherwise, complaint in (
        ((*begun, "--since", "40d"), "was begun with --since 30d --step 6h: repeat these"),
        (("--label", "cluster=eu"), "was begun with --since 30d --step 6h: repeat these"),
        (begun, "repeat those, or give another folder"),
    ):
        refused = backfill.run(*otherwise)
        assert refused.returncode == 2
        assert complaint in refused.stderr


def test_killed_backfill_resumes_and_writes_the_same_files(
    backfill: Backfill, server: PrefectServer, month: Month, tmp_path: Path
) -> None:
    slowly = backfill.command("--max-requests-per-second", "2")
    with subprocess.Popen(slowly, env=dict(backfill.env), cwd=tmp_path, stdout=subprocess.DEVNULL) as first:
        wait_until((tmp_path / "ledger.db").exists, 30, "a ledger")
        time.sleep(6)
        first.send_signal(signal.SIGKILL)
    assert first.returncode == -signal.SIGKILL, "it ended before it could be killed"
    serving = run_exporter(env_for(server), tmp_path, *backfill.options)
    assert serving.process.popen.wait(30) == 2
    assert "belongs to a backfill that was cut short" in serving.process.output()
    assert "run the same" in serving.process.output()
    again = backfill.run()
    assert again.returncode == 0, again.stdout + again.stderr
    other = Backfill(backfill.env, tmp_path / "other", tmp_path / "other" / "past", backfill.options)
    other.directory.mkdir()
    assert other.run().returncode == 0
    for file in sorted((other.output / "openmetrics").glob("*.om"))[:-1]:  # the last may differ
        assert (backfill.output / "openmetrics" / file.name).read_bytes() == file.read_bytes(), file.name
    (backfill.output / "blocks").rename(tmp_path / "lost")
    assert backfill.run().returncode == 0, "blocks are made again from the files"
    assert len(list((backfill.output / "blocks").iterdir())) == len(list((tmp_path / "lost").iterdir()))


def test_ledger_used_by_serve_is_refused(backfill: Backfill, server: PrefectServer, tmp_path: Path) -> None:
    with start_exporter(env_for(server), tmp_path, *backfill.options) as exporter:
        exporter.wait_ready()
    refused = backfill.run()
    assert refused.returncode == 2
    assert "already serves" in refused.stderr
    assert "counted twice" in refused.stderr
    assert "--ledger-url" in refused.stderr
    assert not backfill.output.exists()
    backfill.output.mkdir()
    (backfill.output / "mine.txt").touch()
    (tmp_path / "ledger.db").unlink()
    occupied = backfill.run()
    assert occupied.returncode == 2
    assert "is not empty" in occupied.stderr


def test_files_are_written_and_missing_promtool_is_reported(
    backfill: Backfill, server: PrefectServer, tmp_path: Path
) -> None:
    bare = Backfill({**backfill.env, "PATH": str(tmp_path)}, tmp_path, tmp_path / "past", backfill.options)
    done = bare.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "promtool is not on PATH" in done.stdout
    assert not (bare.output / "blocks").exists()
    assert backfill.run().returncode == 0
    blocks = list((bare.output / "blocks").iterdir())
    assert blocks
    assert all((block / "meta.json").exists() for block in blocks), "nothing else, since all of it is moved"
    with start_exporter(env_for(server), tmp_path, *backfill.options) as exporter:
        exporter.wait_ready()
    refused = backfill.run()
    assert refused.returncode == 2
    assert "already serves" in refused.stderr, "the ledger serves now"


def test_backfill_of_new_flows_writes_nothing_and_serve_starts(
    month: Month, server: PrefectServer, tmp_path: Path
) -> None:
    only_fresh = Backfill(env_for(server), tmp_path, tmp_path / "past", ("--include-flows", f"{month.prefix}fresh"))
    done = only_fresh.run()
    assert done.returncode == 2
    assert "nothing that ended more than three hours ago: there is no past to write" in done.stderr
    assert "To write" not in done.stdout
    with start_exporter(env_for(server), tmp_path, *only_fresh.options) as exporter:
        exporter.wait_ready()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--since", "30"), "--since: '30' is not a duration"),
        (("--since", "2h"), "--since: less than 6h"),
        (("--step", "7h"), "--step: 7h is no part of a day"),
        (("--label", "flow=x"), "--label: flow is a label of the metrics themselves"),
        (("--label", "team"), "--label: 'team' is not NAME=VALUE"),
    ],
)
def test_wrong_options_are_refused(backfill: Backfill, options: tuple[str, ...], complaint: str) -> None:
    refused = backfill.run(*options)
    assert refused.returncode == 2
    assert complaint in refused.stderr
    assert not (backfill.directory / "ledger.db").exists()
