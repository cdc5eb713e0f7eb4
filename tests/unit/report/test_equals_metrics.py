"""The report's figures equal the metrics that dashboards and rules use, on the same ledger."""

from __future__ import annotations

from math import floor
from pathlib import Path
from statistics import mean

import pytest

from prefect_monitoring.metrics import CATALOGUE
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.report.comparing import figures_of
from prefect_monitoring.report.facts import read_facts
from prefect_monitoring.report.figures import Figures
from support.options import settings_with
from unit.fake_prefect import FakePrefect
from unit.poller_process import Process
from unit.rig import DAY, MakeReaders

Values = dict[tuple[str, ...], float]
DAYS = {1: "1d", 7: "7d", 30: "30d"}


@pytest.fixture
async def process(fake: FakePrefect, make_readers: MakeReaders) -> Process:
    """An exporter process that has read a month of three flows, one of them without a deployment."""
    places = []
    for flow in ("etl", "dbt", "lab"):
        flow_id = fake.add_flow(flow)
        deployment = fake.add_deployment("prod", flow_id, tags=("team:data",)) if flow != "lab" else None
        places.append((flow_id, deployment))
    fake.now -= 28 * DAY
    for number in range(56):
        for index, place in enumerate(places):
            run = fake.schedule(*place)
            fake.start(run)
            is_bad = number % (5 + index) == 0
            fake.finish(run, 60 + number, "FAILED" if is_bad else "COMPLETED", f"Timeout after {number} s")
        fake.now += DAY / 2
    process = Process(fake, make_readers(), settings_with())
    await process.inventory()
    await process.poll()
    await process.inventory()
    await process.poll()
    return process


def metric(process: Process, name: str) -> Values:
    [row] = [metric for metric in CATALOGUE if metric.name == name]
    return dict(row.rows(process.published[-1]))  # type: ignore[arg-type]


def figures(process: Process, tmp_path: Path, days: int = 7) -> Figures:
    settings = settings_with(ledger_url=f"sqlite:///{tmp_path}/ledger.db")
    return figures_of(read_facts(settings, process.published[-1].taken_at, days))


@pytest.mark.parametrize("days", DAYS)
def test_runs_and_success_match_the_window_metrics(process: Process, tmp_path: Path, days: int) -> None:
    runs = metric(process, "prefect_flow_run_window_runs")
    report = figures(process, tmp_path, days)
    assert len(report.pipelines) == 3
    for entry in report.pipelines:
        good, bad = (runs[(*entry.pipeline, DAYS[days], result)] for result in ("good", "bad"))
        assert (entry.now.good, entry.now.bad) == (good, bad)
        assert entry.now.success_ratio == good / (good + bad)
    total = [value for key, value in runs.items() if key[2] == DAYS[days]]
    assert report.total.runs == sum(total) > 0


def test_mean_durations_match_the_runs(process: Process, fake: FakePrefect, tmp_path: Path) -> None:
    report = figures(process, tmp_path)
    for entry in report.pipelines:
        took = [
            run.run_time
            for run in fake.runs.values()
            if fake.flow_names[run.flow_id].name == entry.pipeline.flow
            and run.state.type == "COMPLETED"
            and (run.end or 0) >= report.hours.start
        ]
        assert entry.now.mean_seconds == pytest.approx(mean(took))


def test_budgets_match_the_recording_rules(process: Process, tmp_path: Path) -> None:
    runs, objectives = (
        metric(process, name) for name in ("prefect_flow_run_window_runs", "prefect_slo_objective_ratio")
    )
    budgets = {budget.pipeline: budget for budget in figures(process, tmp_path).budgets}
    assert (
        budgets.keys() == {Pipeline("etl", "prod"), Pipeline("dbt", "prod")} == {Pipeline(*key) for key in objectives}
    )
    for pipeline, budget in budgets.items():
        good, bad = (runs[(*pipeline, "slo", result)] for result in ("good", "bad"))
        assert budget.allowed == floor(max((1 - objectives[tuple(pipeline)]) * (good + bad) + 1e-6, 1))
        assert budget.failed == bad


def test_failures_by_cause_add_up_to_the_failed_runs(process: Process, tmp_path: Path) -> None:
    report = figures(process, tmp_path, 30)
    assert [(group.cause, group.pattern) for group in report.failures] == [("timeout", "Timeout after # s")]
    assert sum(group.runs for group in report.failures) == report.total.bad
