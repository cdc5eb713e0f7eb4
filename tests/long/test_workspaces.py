"""Two Prefect servers with equal pipeline names, an exporter each and one Prometheus: their series do not mix."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from dashboards.pages import Query, all_of, queries
from support.bulk import bulk_finished_runs
from support.exporter import Exporter, start_exporter
from support.prefect_server import PrefectServer, env_for, start_server
from support.prometheus import Prometheus, Vector, run_prometheus
from support.seeder import Seeder

ROOT = Path(__file__).parents[2]
GOOD, BAD = "staging", "production"
HOUR = timedelta(hours=1)
# Series of rules, and series that need two scrapes.
THERE_LAST = (
    "flow_deployment:prefect_slo_budget_runs:left",
    "increase(prefect_flow_run_outcomes_total[1h])",
    "increase(prefect_flow_run_start_delay_seconds_bucket[1h])",
)
FIRING = 'ALERTS{alertname="PrefectRunFailed",alertstate="firing"}'
PIPELINES = "pipelines: [{flow: orders, criticality: critical, slo: {min_success_ratio: 99%, max_duration: 1h}}]"
SECONDS = 60.0
# Two Prometheus servers scrape an exporter some seconds apart, so ages differ by that much.
APART_SECONDS = 20


@dataclass(frozen=True)
class Site:
    """`both` scrapes both exporters, `alone` only the good one; the rules are the same."""

    both: Prometheus
    alone: Prometheus


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("workspaces")
    with ExitStack() as stack:
        targets: dict[str, Exporter] = {}
        for workspace in (GOOD, BAD):
            server = stack.enter_context(start_server(folder / workspace / "server"))
            with Seeder(server.url) as seeder:
                seed(server, seeder, failed=workspace == BAD)
            (folder / workspace / "pipelines.yml").write_text(PIPELINES, encoding="utf-8")
            options = ("--birth-hold", "1s", "--pipelines", str(folder / workspace / "pipelines.yml"))
            targets[workspace] = stack.enter_context(start_exporter(env_for(server), folder / workspace, *options))
        for exporter in targets.values():
            exporter.wait_ready()
        rules = rules_without_intervals(folder / "rules")
        both = stack.enter_context(run_prometheus(folder / "both", configuration(targets, rules)))
        alone = stack.enter_context(run_prometheus(folder / "alone", configuration({GOOD: targets[GOOD]}, rules)))
        for expr in THERE_LAST:
            both.wait_for(expr, lambda found: workspaces(found) == {GOOD, BAD}, SECONDS)
            alone.wait_for(expr, bool, SECONDS)
        both.wait_for(FIRING, bool, SECONDS)
        yield Site(both, alone)


def seed(server: PrefectServer, seeder: Seeder, *, failed: bool) -> None:
    """Equal names on both servers. On the bad one, every second run failed, including the last, a moment ago."""
    now = datetime.now(UTC)
    flow = seeder.flow("orders")
    deployment = seeder.deployment(flow, "hourly")
    ends = [now - HOUR * number - timedelta(minutes=1) for number in range(48)]
    bulk_finished_runs(server, flow, ends[1::2], deployment_id=deployment)
    bulk_finished_runs(server, flow, ends[::2], deployment_id=deployment, state="Failed" if failed else "Completed")
    seeder.work_pool("kubernetes")


def rules_without_intervals(folder: Path) -> Path:
    """Each rule is evaluated at every scrape, so that the test need not wait a minute."""
    folder.mkdir()
    for path in (ROOT / "prometheus/rules").glob("*.yml"):
        groups = yaml.safe_load(path.read_text(encoding="utf-8"))
        for group in groups["groups"]:
            group.pop("interval", None)
        (folder / path.name).write_text(yaml.safe_dump(groups), encoding="utf-8")
    return folder


def configuration(targets: dict[str, Exporter], rules: Path) -> str:
    """The configuration of docs/workspaces.md."""
    scraped = [
        {"targets": [exporter.url.partition("//")[2]], "labels": {"workspace": workspace}}
        for workspace, exporter in targets.items()
    ]
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules / "*.yml")],
        "scrape_configs": [{"job_name": "prefect-monitoring", "static_configs": scraped}],
    }
    return yaml.safe_dump(config)


def workspaces(found: Vector) -> set[str | None]:
    return {dict(labels).get("workspace") for labels in found}


def test_every_recorded_series_belongs_to_one_workspace(site: Site) -> None:
    recorded = site.both.query('{__name__=~".+:.+"}')
    assert workspaces(recorded) == {GOOD, BAD}
    names = [{dict(one)["__name__"] for one in recorded if dict(one)["workspace"] == own} for own in (GOOD, BAD)]
    assert THERE_LAST[0] in names[0] & names[1]


def test_alert_names_the_workspace_that_it_is_about(site: Site) -> None:
    (alert,) = [dict(labels) for labels in site.both.query(FIRING)]
    assert (alert["workspace"], alert["flow"], alert["deployment"]) == (BAD, "orders", "hourly")


def test_dashboards_of_one_workspace_are_independent_of_the_other(site: Site) -> None:
    """Compares series and values of each query, except rates of the exporter's process: they depend on scrape times."""
    now = time.time()
    mixed, filled = {}, 0
    for query in queries():
        if query.page.uid == "prefect-exporter":
            continue
        shown, expected = (answer(prometheus, query, now) for prometheus in (site.both, site.alone))
        filled += bool(expected)
        if not same(shown, expected):
            mixed[str(query)] = (shown, expected)
    assert mixed == {}
    assert filled > 30


def answer(prometheus: Prometheus, query: Query, now: float) -> Vector:
    values = {name: all_of(variable) for name, variable in query.page.variables.items()}
    return prometheus.query(query.filled(values | {"workspace": GOOD}), now)


def same(shown: Vector, expected: Vector) -> bool:
    return shown.keys() == expected.keys() and all(close(shown[labels], value) for labels, value in expected.items())


def close(shown: float, expected: float) -> bool:
    """Ratios and small counts must be equal; larger values may be ages."""
    apart = APART_SECONDS if min(shown, expected) > 2 else 0
    return math.isclose(shown, expected, rel_tol=0.1, abs_tol=apart) or (math.isnan(shown) and math.isnan(expected))


def test_overview_of_all_workspaces_shows_both(site: Site) -> None:
    """Shows that the previous test would find a difference."""
    now = time.time()
    differing = 0
    for query in queries():
        if query.page.uid == "prefect-overview":
            values = {name: all_of(variable) for name, variable in query.page.variables.items()}
            differing += not same(site.both.query(query.filled(values), now), answer(site.alone, query, now))
    assert differing > 5
