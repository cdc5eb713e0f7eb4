"""Declared metrics on a real server: METRIC lines, a Variable, a block, assets; restarts count no value twice."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.exposition import Samples, total, value
from support.prefect_server import PrefectServer
from support.processes import wait_until_async
from support.prometheus import promtool_check_metrics
from support.reads import READS
from support.rig import rig
from support.running_flows import run_helpers
from support.seeder import Seeder

LINES_SECONDS = 60.0


@pytest.fixture
def stores(seeder: Seeder, unique: str) -> Iterator[tuple[str, str]]:
    """Names for a block and a Variable, both deleted after the test."""
    block, variable = f"{unique}orders".replace("_", "-"), f"{unique}orders".replace("-", "_")
    yield block, variable
    seeder.call("DELETE", f"/variables/name/{variable}")
    wanted = {"name": {"like_": block}, "is_anonymous": None}
    for document in seeder.call("POST", "/block_documents/filter", {"block_documents": wanted}):
        seeder.call("DELETE", f"/block_documents/{document['id']}")


def declarations(block: str, variable: str) -> str:
    """A metric of each type; every source at least twice."""
    duration = {"type": "histogram", "unit": "seconds", "help": "Loads.", "buckets": [10, 100]}
    of_block = {"block": f"pipeline-metrics/{block}", "field": "row_count"}
    return json.dumps(
        [
            {
                "name": "shop_rows_total",
                "type": "counter",
                "help": "Rows.",
                "labels": ["flow", "table"],
                "source": {"metric_line": "rows_loaded"},
            },
            {
                "name": "shop_last_rows",
                "type": "gauge",
                "help": "Rows.",
                "labels": ["table"],
                "source": {"metric_line": "rows_loaded"},
            },
            {"name": "shop_load_seconds", "labels": ["table"], "source": {"metric_line": "load_seconds"}, **duration},
            {"name": "shop_trend_rows_total", "type": "counter", "help": "Rows.", "source": of_block},
            {"name": "shop_trend_last_rows", "type": "gauge", "help": "Rows.", "source": of_block},
            {
                "name": "shop_asset_rows_total",
                "type": "counter",
                "help": "Rows.",
                "source": {"asset_metadata": "row_count"},
            },
            {"name": "shop_trend_seconds", "source": {"variable": variable, "field": "duration_seconds"}, **duration},
        ]
    )


def seen(samples: Samples, flow: str, asset: str) -> dict[str, float | None]:
    return {
        "asset_rows": value(samples, "shop_asset_rows_total", asset=asset),
        "rows": value(samples, "shop_rows_total", flow=flow, table="orders"),
        "last_rows": value(samples, "shop_last_rows", table="orders"),
        "loads": value(samples, "shop_load_seconds_count", table="orders"),
        "trend_rows": value(samples, "shop_trend_rows_total"),
        "trend_last_rows": value(samples, "shop_trend_last_rows"),
        "trend_seconds": value(samples, "shop_trend_seconds_sum"),
    }


async def test_each_type_counts_lines_and_points_once_through_restarts(
    server: PrefectServer, seeder: Seeder, unique: str, stores: tuple[str, str], tmp_path: Path
) -> None:
    block, variable = stores
    asset = f"s3://{block}/lake"
    plan = {"part": "declared", "prefix": unique, "block": block, "variable": variable, "asset": asset}
    flow = f"{unique}declared"
    run_helpers(server, tmp_path, **plan, rows=[3, 20])
    options = {
        "custom_metrics": declarations(block, variable),
        "include_flows": f"{unique}.*",
        "assets": json.dumps([{"asset": asset, "max_staleness": "1d"}]),
    }
    async with rig(server.url, tmp_path, **options) as exporter:

        async def has(expected: dict[str, float]) -> bool:
            await exporter.inventory()
            await exporter.details(2)
            return seen(exporter.samples, flow, asset) == expected

        first = {
            "asset_rows": 23,
            "rows": 23,
            "last_rows": 20,
            "loads": 2,
            "trend_rows": 23,
            "trend_last_rows": 20,
            "trend_seconds": 23,
        }
        await wait_until_async(lambda: has(first), LINES_SECONDS, "the values of the first run")
        await exporter.restart()
        assert seen(exporter.samples, flow, asset) == first, "at once"
        run_helpers(server, tmp_path, **plan, rows=[5])
        second = {
            "asset_rows": 28,
            "rows": 28,
            "last_rows": 5,
            "loads": 3,
            "trend_rows": 28,
            "trend_last_rows": 5,
            "trend_seconds": 28,
        }
        await wait_until_async(lambda: has(second), LINES_SECONDS, "the values of the second run")
        stored = seeder.call("GET", f"/variables/name/{variable}")["value"]
        malformed = {"timestamp": "2026-01-01T00:00:00Z", "duration_seconds": "slow"}
        seeder.call("PATCH", f"/variables/name/{variable}", {"value": [*stored, malformed]})
        for _ in range(2):
            await exporter.restart()
            assert await has(second)
            rejected = total(exporter.samples, "prefect_exporter_custom_values_rejected_total", reason="malformed")
            assert rejected == 1, "rejected once, without hiding other points"
        buckets = [
            value(exporter.samples, "shop_load_seconds_bucket", table="orders", le=le)
            for le in ("10.0", "100.0", "+Inf")
        ]
        assert buckets == [2, 3, 3]
        generic = {"flow": flow, "metric": "rows_loaded"}
        assert total(exporter.samples, "prefect_custom_metric_observed_count", **generic) == 3
        last = value(
            exporter.samples,
            "prefect_asset_last_materialization_timestamp_seconds",
            asset=asset,
            result="succeeded",
        )
        assert last is not None
        assert 0 < time.time() - last < LINES_SECONDS * 4
        assert value(exporter.samples, "prefect_asset_max_staleness_seconds", asset=asset) == 86400
        assert {endpoint for endpoint, _ in exporter.traffic.requests} <= READS
        clean, complaints = promtool_check_metrics(exporter.text[exporter.text.index("# HELP shop_") :])
        assert clean, complaints
