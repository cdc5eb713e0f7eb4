"""The archive's /metrics: every metric of its catalogue, protected like the exporter's."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import httpx
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from prefect_monitoring.archive.batch_writer import Written
from prefect_monitoring.archive.manifest import Manifest
from prefect_monitoring.archive.metrics import ARCHIVE_METRICS, ArchiveStatus
from prefect_monitoring.archive.web import make_archive_app
from prefect_monitoring.config.settings import WebSettings
from prefect_monitoring.metrics import CATALOGUE
from unit.archive.site import status


async def get(done: ArchiveStatus, path: str, web: WebSettings | None = None, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=make_archive_app(done, web or WebSettings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://archive.test") as client:
        return await client.get(path, headers=headers)


async def test_metrics_report_what_was_archived() -> None:
    now = datetime(2026, 11, 28, tzinfo=UTC)
    manifest = Manifest("b", now.date(), now, (("r1", "s1"), ("r2", "s2")), ())
    done = status()
    done.set_aside = {"r1"}
    done.count(Written(manifest, task_runs=3, log_lines=4, bytes=5, set_aside=("r9",)))
    done.complete_until, done.last_success, done.up = 100.5, 200.0, True
    done.failures["store"] += 1
    done.traffic.requests["/logs/filter", "200"] += 7
    done.traffic.throttled = 2
    families = {family.name: family for family in text_string_to_metric_families((await get(done, "/metrics")).text)}
    values = {
        (sample.name.removeprefix("prefect_exporter_archive_"), *sorted(sample.labels.values())): sample.value
        for name, family in families.items()
        if name.startswith("prefect_exporter_archive")
        for sample in family.samples
    }
    assert values == {
        ("oldest_unarchived_timestamp_seconds",): 100.5,
        ("up",): 1,
        ("last_success_timestamp_seconds",): 200,
        ("failures_total", "api"): 0,
        ("failures_total", "store"): 1,
        ("set_aside_runs",): 1,
        ("runs_total",): 2,
        ("task_runs_total",): 3,
        ("log_lines_total",): 4,
        ("bytes_total",): 5,
        ("api_requests_total", "/logs/filter", "200"): 7,
        ("api_throttled_total",): 2,
    }
    assert "process_resident_memory_bytes" in families
    assert (await get(done, "/-/healthy")).status_code == 200


async def test_unknown_values_are_absent() -> None:
    text = (await get(status(), "/metrics")).text
    assert not re.search(r"^prefect_exporter_archive_(up|oldest|last)", text, re.MULTILINE)


async def test_metrics_require_the_exporters_token() -> None:
    web = WebSettings(auth_token=SecretStr("t0ken"))
    assert (await get(status(), "/metrics", web)).status_code == 401
    assert (await get(status(), "/metrics", web, Authorization="Bearer t0ken")).status_code == 200


def test_metric_names_follow_the_catalogue_conventions() -> None:
    names = [metric.name for metric in ARCHIVE_METRICS]
    assert len(names) == len(set(names))
    assert not set(names) & {metric.name for metric in CATALOGUE}
    for metric in ARCHIVE_METRICS:
        assert metric.name.startswith("prefect_exporter_archive_")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert not metric.help.endswith(".")
