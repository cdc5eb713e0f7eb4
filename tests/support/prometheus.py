"""A real Prometheus that scrapes targets of the tests, and promtool."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from support.http_client import CLIENT
from support.ports import free_port
from support.processes import Process, start, wait_until

START_SECONDS = 30.0

Vector = dict[frozenset[tuple[str, str]], float]  # labels (with __name__) → value


@dataclass
class Prometheus:
    url: str
    process: Process

    def query(self, expr: str, time: float | None = None) -> Vector:
        """The result of an instant query: a vector, or a scalar (without labels)."""
        params = {"query": expr} | ({"time": str(time)} if time is not None else {})
        response = CLIENT.get(f"{self.url}/api/v1/query", params=params)
        answer = response.json()
        if answer["status"] != "success":
            raise ValueError(f"{expr}: {answer['error']}")
        data = answer["data"]
        if data["resultType"] == "scalar":
            return {frozenset(): float(data["result"][1])}
        return {frozenset(row["metric"].items()): float(row["value"][1]) for row in data["result"]}

    def value(self, expr: str, time: float | None = None) -> float | None:
        """The value of an expression that returns one series; None without series."""
        values = list(self.query(expr, time).values())
        if len(values) > 1:
            raise ValueError(f"{expr}: {len(values)} series")
        return values[0] if values else None

    def wait_for(self, expr: str, predicate: Callable[[Vector], Any], timeout: float = 20) -> Vector:
        """Query until the predicate is true of the result, and return the result."""
        result: Vector = {}

        def holds() -> bool:
            nonlocal result
            result = self.query(expr)
            return bool(predicate(result))

        try:
            wait_until(holds, timeout, expr, every=0.2)
        except TimeoutError as error:
            raise TimeoutError(f"not within {timeout:g} s: {expr} (last seen: {result})") from error
        return result

    def rules(self) -> list[dict[str, Any]]:
        """All loaded rules; alerting rules with their state and alerts."""
        groups = CLIENT.get(f"{self.url}/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


@contextmanager
def start_prometheus(
    directory: Path,
    targets: Sequence[str],
    *,
    scrape_interval: str = "1s",
    rule_files: Sequence[Path] = (),
    scrape_options: Sequence[Mapping[str, Any]] = (),
    retention: str = "15d",
) -> Iterator[Prometheus]:
    """Scrape these URLs (http://127.0.0.1:9101/metrics) until the block ends; job and instance are the target's.

    `scrape_options` has further settings for each target's job, such as {"tls_config": …}.
    """
    config = json.dumps(_config(targets, scrape_interval, rule_files, scrape_options))  # JSON is YAML
    with run_prometheus(directory, config, retention) as prometheus:
        yield prometheus


@contextmanager
def run_prometheus(directory: Path, configuration: str, retention: str = "15d") -> Iterator[Prometheus]:
    """A Prometheus with this configuration, until the block ends."""
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "prometheus.yml"
    config.write_text(configuration)
    port = free_port()
    command = [
        binary("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--storage.tsdb.retention.time={retention}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    prometheus = Prometheus(f"http://127.0.0.1:{port}", start(command, directory / "prometheus.log"))
    try:
        wait_until(lambda: _ready(prometheus), START_SECONDS, "a Prometheus that answers", ignore=(httpx.HTTPError,))
        yield prometheus
    finally:
        prometheus.process.stop()


LINTED = 3  # exit code of promtool for complaints about names and labels only
QUANTILE_OF_A_GAUGE = 'non-summary metrics should not have "quantile" label'


def promtool(
    *arguments: str | Path, cwd: Path | None = None, stdin: str | None = None, timeout: float | None = None
) -> subprocess.CompletedProcess[str]:
    """What promtool says, and its exit code.

    On one thread and with less garbage collection: beside other tests that takes a quarter less CPU time.
    """
    env = os.environ | {"GOMAXPROCS": "1", "GOGC": "400"}
    command = [binary("promtool"), *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=env, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
    )


def promtool_check_metrics(text: str) -> tuple[bool, str]:
    """`promtool check metrics` on an exposition: whether it is clean, and the output.

    Ignores complaints about the label `quantile` of exact quantiles: gauges of a window, not summaries.
    """
    done = promtool("check", "metrics", stdin=text, timeout=60)
    output = (done.stdout + done.stderr).splitlines()
    complaints = [line for line in output if line and not line.endswith(QUANTILE_OF_A_GAUGE)]
    return done.returncode in (0, LINTED) and not complaints, "\n".join(complaints)


def binary(name: str) -> str:
    path = shutil.which(name)
    if not path:
        raise RuntimeError(f"{name} is not on PATH: run `bash tests/support/install_servers.sh`")
    return path


def _config(
    targets: Sequence[str],
    scrape_interval: str,
    rule_files: Sequence[Path],
    scrape_options: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    jobs = []
    for number, target in enumerate(targets):
        options = scrape_options[number] if number < len(scrape_options) else {}
        url = urlsplit(target)
        jobs.append(
            {
                "job_name": "prefect" if number == 0 else f"prefect-{number}",
                "scheme": url.scheme,
                "metrics_path": url.path or "/metrics",
                "static_configs": [{"targets": [url.netloc]}],
                **options,
            }
        )
    return {
        "global": {
            "scrape_interval": scrape_interval,
            "scrape_timeout": scrape_interval,
            "evaluation_interval": scrape_interval,
        },
        "rule_files": [str(path.resolve()) for path in rule_files],
        "scrape_configs": jobs,
    }


def _ready(prometheus: Prometheus) -> bool:
    if not prometheus.process.running:
        raise RuntimeError(f"Prometheus did not start:\n{prometheus.process.output()[-4000:]}")
    return CLIENT.get(f"{prometheus.url}/-/ready", timeout=2).is_success
