"""The team's month behind a real Prometheus: server, history, exporter, the shipped rules."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from dashboards import team
from dashboards.month import Place, add_month, new_batch
from dashboards.present import add_outcomes, furnish, get_into_trouble, resolve, set_up_present
from dashboards.team import Pipeline
from support.database import insert
from support.exporter import Exporter, start_exporter
from support.prefect_server import PrefectServer, env_for, start_server
from support.processes import wait_until
from support.prometheus import Prometheus, run_prometheus
from support.seeder import Seeder

ROOT = Path(__file__).parents[2]
WORKSPACE = "production"
JOB = "prefect-monitoring"
INSTANCE = "exporter:9877"
SERVER_OPTIONS = {"PREFECT_SERVER_SERVICES_FOREMAN_LOOP_SECONDS": "2"}
EXPORTER_OPTIONS = (
    *("--lookback", "32d", "--task-lookback", "32d", "--birth-hold", "2s"),
    *("--poll-interval", "2s", "--inventory-interval", "4s", "--audit-interval", "5s"),
    *("--grafana-url", "http://grafana.example.com", "--runbook-url", "http://runbooks.example.com"),
    *("--prefect-ui-url", "http://prefect.example.com", "--act"),
)
# The series that appear last: recording rules, task runs, log lines, the audit; then those of runs that end meanwhile.
AT_FIRST = (
    "flow_deployment:prefect_slo_budget_runs:left",
    "prefect_custom_metric_value",
    "prefect_exporter_audit_missing",
    "prefect_deployment_next_due_timestamp_seconds",
    "prefect_task_run_time_share_ratio",
)
AT_LAST = (
    "increase(prefect_flow_run_failures_total[10m]) > 0",
    "increase(prefect_task_run_failures_total[10m]) > 0",
    'prefect_exporter_actions_total{action="retry",result="done"} > 0',
)
WELL = (
    "absent(prefect_flow_run_consecutive_failures > 0)",
    'absent(ALERTS{alertname="PrefectRunFailed",alertstate="firing"})',
)
IN_TROUBLE = (
    "prefect_deployment_next_due_timestamp_seconds - time() > 80000 and prefect_deployment_unmet_due_timestamp_seconds",
    "prefect_exporter_pipelines_file_valid == 0",
    'prefect_flow_runs{state="late"}',
    'prefect_flow_run_last_failure_info{flow="quality-checks"}',
    "prefect_flow_run_last_failure_retries",
    'ALERTS{alertname="PrefectDownstreamPaused",alertstate="firing"}',
    'ALERTS{flow="quality-checks",alertstate="firing"}',
)
READY_SECONDS = 90.0

MakeHistory = Callable[[PrefectServer, Path], None]
"""Called with the seeded server and the site's directory: fills `ledger.db` and adds blocks to `prometheus/data`."""


@dataclass(frozen=True, slots=True)
class Site:
    directory: Path
    server: PrefectServer
    places: dict[Pipeline, Place]
    exporter: Exporter
    prometheus: Prometheus

    def add_outcomes(self) -> None:
        with Seeder(self.server.url) as api:
            failed = add_outcomes(self.server, api, self.places)
            self.wait_for(AT_LAST)
            resolve(api, failed)

    def get_into_trouble(self) -> None:
        with Seeder(self.server.url) as api:
            get_into_trouble(self.server, api, self.places)
        broken = team.PIPELINES_FILE.replace("criticality: critical", "criticality: urgent")
        (self.directory / "pipelines.yml").write_text(broken)
        self.wait_for(IN_TROUBLE)

    def wait_for(self, expected: Sequence[str]) -> None:
        def missing() -> list[str]:
            return [query for query in expected if not self.prometheus.query(query)]

        wait_until(lambda: not missing(), READY_SECONDS, f"all of {expected}", every=0.5)


@contextmanager
def open_site(
    directory: Path, *, make_history: MakeHistory, bad_month: bool = False, scrape: str = "1s"
) -> Iterator[Site]:
    """The site until the block ends. It has no problems at present; with `bad_month`, it had some before."""
    with ExitStack() as stack:
        server = stack.enter_context(start_server(directory / "server", env=SERVER_OPTIONS))
        places = seed(server, bad_month=bad_month)
        make_history(server, directory)
        pipelines = directory / "pipelines.yml"
        pipelines.write_text(team.PIPELINES_FILE)
        options = (*EXPORTER_OPTIONS, "--pipelines", str(pipelines))
        exporter = stack.enter_context(start_exporter(env_for(server), directory, *options))
        exporter.wait_ready()
        config = prometheus_config(exporter.url, directory, scrape)
        prometheus = stack.enter_context(run_prometheus(directory / "prometheus", config, "60d"))
        site = Site(directory, server, places, exporter, prometheus)
        site.wait_for(AT_FIRST)
        site.add_outcomes()
        if not bad_month:
            site.wait_for(WELL)
        yield site


def seed(server: PrefectServer, *, bad_month: bool) -> dict[Pipeline, Place]:
    now = datetime.now(UTC)
    batch = new_batch()
    with Seeder(server.url) as api:
        places = furnish(api)
        # While the scheduler writes, other writers to SQLite may wait for a minute.
        scheduled = [str(place.deployment_id) for pipeline, place in places.items() if pipeline.hours]
        wait_until(lambda: all(map(api.scheduled_starts, scheduled)), READY_SECONDS, "scheduled runs", every=0.5)
        for pipeline, place in places.items():
            add_month(batch, pipeline, place, now, trouble=bad_month)
        insert(server, batch)
        set_up_present(server, api, places)
    return places


def prometheus_config(exporter_url: str, directory: Path, scrape: str) -> str:
    """The shipped rules, each evaluated at every scrape, so that the test need not wait for their intervals."""
    rules = directory / "rules"
    rules.mkdir()
    for path in (ROOT / "prometheus/rules").glob("*.yml"):
        groups: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        for group in groups["groups"]:
            group.pop("interval", None)
        (rules / path.name).write_text(yaml.safe_dump(groups, sort_keys=False))
    target = {"targets": [exporter_url.partition("//")[2]], "labels": {"workspace": WORKSPACE, "instance": INSTANCE}}
    config = {
        "global": {"scrape_interval": scrape, "scrape_timeout": "1s", "evaluation_interval": scrape},
        "rule_files": [str(rules / "*.yml")],
        "scrape_configs": [{"job_name": JOB, "static_configs": [target]}],
    }
    return yaml.safe_dump(config)
