"""The exposition in a real Prometheus."""

import time
from pathlib import Path

import pytest

from support.exporter import start_exporter
from support.exposition import value
from support.prefect_server import PrefectServer, env_for
from support.prometheus import promtool_check_metrics, start_prometheus
from support.seeder import Seeder

FAILED = 'prefect_flow_run_outcomes_total{{flow="{}",state="failed"}}'


def test_first_failure_is_an_increase_and_history_is_not(
    server: PrefectServer, seeder: Seeder, unique: str, tmp_path: Path
) -> None:
    old = seeder.flow(f"{unique}old")
    for _ in range(3):
        seeder.failed(seeder.run(old))
    options = ("--include-flows", f"{unique}.*", "--birth-hold", "3s")
    with (
        start_exporter(env_for(server), tmp_path, *options) as exporter,
        start_prometheus(tmp_path / "prometheus", [f"{exporter.url}/metrics"]) as prometheus,
    ):
        exporter.wait_ready()
        old_failures = FAILED.format(f"{unique}old")
        prometheus.wait_for(old_failures, lambda found: list(found.values()) == [3])

        new = seeder.flow(f"{unique}never-seen-before")
        seeder.failed(seeder.run(new))
        new_failures = FAILED.format(f"{unique}never-seen-before")
        prometheus.wait_for(new_failures, lambda found: list(found.values()) == [0])
        prometheus.wait_for(new_failures, lambda found: list(found.values()) == [1])
        seeder.failed(seeder.run(old))
        prometheus.wait_for(old_failures, lambda found: list(found.values()) == [4])
        time.sleep(2)
        assert prometheus.value(f"round(increase({new_failures}[1m]))") == 1
        assert prometheus.value(f"round(increase({old_failures}[1m]))") == 1, "three of the four are history"
        assert prometheus.value(f"resets({new_failures}[1m])") == 0

        restarted_at = time.time()
        exporter.process.kill()
        with start_exporter(env_for(server), tmp_path, *options) as again:
            again.wait_ready()
            assert (
                value(
                    again.samples, "prefect_flow_run_outcomes_total", flow=f"{unique}old", deployment="", state="failed"
                )
                == 4
            ), f"after {time.time() - restarted_at:.0f} s"


def test_exposition_is_accepted(server: PrefectServer, seeder: Seeder, unique: str, tmp_path: Path) -> None:
    flow = seeder.flow(f'{unique}naïve "flow" with \\ and\nnewline')
    seeder.completed(seeder.run(flow))
    seeder.failed(seeder.run(flow))
    seeder.running(seeder.run(flow))
    with start_exporter(env_for(server), tmp_path, "--include-flows", f"{unique}.*") as exporter:
        exporter.wait_ready()
        accepted, complaints = promtool_check_metrics(exporter.text)
        assert accepted, complaints
        with start_prometheus(tmp_path / "prometheus", [f"{exporter.url}/metrics"]) as prometheus:
            prometheus.wait_for("up", lambda found: list(found.values()) == [1])
            found = prometheus.wait_for("prefect_flow_run_outcomes_total", bool)
            assert any('naïve "flow" with \\ and\nnewline' in dict(labels)["flow"] for labels in found)
            # Prometheus requests compressed OpenMetrics, so the stored samples came in that format.
            scraped = prometheus.value("scrape_samples_scraped")
            assert scraped is not None
            assert scraped > 50


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
def test_formats_and_compression(server: PrefectServer, unique: str, tmp_path: Path, accept: str) -> None:
    with start_exporter(env_for(server), tmp_path, "--include-flows", f"{unique}.*") as exporter:
        exporter.wait_ready()
        plain = exporter.get("/metrics", Accept=accept, **{"Accept-Encoding": "identity"})
        packed = exporter.get("/metrics", Accept=accept, **{"Accept-Encoding": "gzip"})
        assert plain.headers["content-type"].startswith(accept.partition(";")[0])
        assert "content-encoding" not in plain.headers
        assert packed.headers["content-encoding"] == "gzip"
        assert b"prefect_up 1" in plain.content
        assert plain.text.endswith("# EOF\n") == accept.startswith("application")
