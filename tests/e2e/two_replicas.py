"""Two replicas of the exporter, each behind its own proxy; intervals, rules, routes and templates are the shipped ones.

The runs' states are set over Prefect's API: no worker, no flow's process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from prefect_monitoring.config.shipped import shipped
from prefect_monitoring.demo.monitoring import local_prometheus_config
from support.alertmanager import Alertmanager, Inbox, start_alertmanager, start_inbox
from support.exporter import run_exporter
from support.postgres import start_postgres
from support.prefect_server import env_for, start_server
from support.processes import wait_until
from support.prometheus import Prometheus, run_prometheus
from support.proxy import FaultProxy
from support.seeder import Seeder

WITHIN = 150.0  # seconds


@dataclass
class Site:
    seeder: Seeder
    alertmanager: Alertmanager
    prometheus: Prometheus
    apis: Sequence[FaultProxy]  # what each of the two exporters takes for Prefect
    flows: dict[str, str] = field(default_factory=dict)
    deployments: dict[str, str] = field(default_factory=dict)

    @property
    def inbox(self) -> Inbox:
        return self.alertmanager.inbox

    def deploy(self, flow: str, name: str) -> None:
        flow_id = self.flows.setdefault(flow, self.seeder.flow(flow))
        self.deployments[f"{flow}/{name}"] = self.seeder.deployment(flow_id, name)

    def start(self, pipeline: str) -> str:
        """A running run; returns its id."""
        flow = pipeline.partition("/")[0]
        run = self.seeder.run(self.flows[flow], deployment_id=self.deployments[pipeline], state="Pending")
        self.seeder.running(run)
        return run

    def fail(self, pipeline: str, message: str) -> None:
        self.seeder.failed(self.start(pipeline), message)

    def wait_for(self, kind: str, *words: str, status: str = "firing", timeout: float = WITHIN) -> None:
        what = f"{kind}: {words} {status}"
        try:
            wait_until(lambda: self.inbox.messages(kind, *words, status=status), timeout, what, every=0.5)
        except TimeoutError:
            firing = self.prometheus.query('ALERTS{alertstate="firing"}')
            sys.stdout.write(f"{[dict(labels) for labels in firing]}\n{json.dumps(self.alertmanager.alerts())}\n")
            sys.stdout.write(f"{json.dumps(self.inbox.messages(kind, words[0]))}\n")
            raise

    def incidents(self, *words: str) -> set[str]:
        return {message["body"]["dedup_key"] for message in self.inbox.messages("pagerduty", *words)}

    def silence(self, **labels: str) -> None:
        matchers = [{"name": name, "value": value, "isRegex": False} for name, value in labels.items()]
        self.alertmanager.silence(matchers)


@contextmanager
def open_site(tmp_path: Path, pipelines: str) -> Iterator[Site]:
    """`pipelines` is the text of the pipelines file."""
    (tmp_path / "pipelines.yml").write_text(pipelines)
    with ExitStack() as stack:
        postgres = stack.enter_context(start_postgres(tmp_path))
        server = stack.enter_context(start_server(tmp_path, database_url=postgres.url()))
        apis = [stack.enter_context(FaultProxy(server.url)) for _ in range(2)]
        alertmanager = stack.enter_context(
            start_alertmanager(tmp_path / "alertmanager", stack.enter_context(start_inbox(tmp_path)))
        )
        targets = []
        for name, api in zip(("first", "second"), apis, strict=True):
            folder = tmp_path / name
            folder.mkdir()
            options = ("--poll-interval", "15s", "--ledger-wait", "30s", "--pipelines", str(tmp_path / "pipelines.yml"))
            exporter = run_exporter(env_for(server, url=api.url), folder, *options)
            stack.callback(exporter.process.stop)
            exporter.wait_ready()
            targets.append(exporter.url.removeprefix("http://"))
        text = shipped("prometheus/prometheus.yml").read_text()
        address = alertmanager.url.removeprefix("http://")
        config = yaml.safe_load(local_prometheus_config(text, targets[0], address, workspace="production"))
        config["scrape_configs"][0]["static_configs"][0]["targets"] = targets
        prometheus = stack.enter_context(run_prometheus(tmp_path / "prometheus", yaml.safe_dump(config)))
        yield Site(stack.enter_context(Seeder(server.url)), alertmanager, prometheus, apis)


def site_with(pipelines: str) -> Any:
    """The fixture `site` of a test."""

    @pytest.fixture(name="site")
    def opened(tmp_path: Path) -> Iterator[Site]:
        with open_site(tmp_path, pipelines) as site:
            yield site

    return opened
