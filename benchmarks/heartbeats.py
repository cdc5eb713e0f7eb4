"""`PYTHONPATH=tests python -m benchmarks.heartbeats`: what a poll asks for heartbeats, beside days of events."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_monitoring.ingest.heartbeats import CLOCKS_APART_SECONDS, WINDOW_SECONDS
from prefect_monitoring.prefect_api.client import Traffic, open_http
from prefect_monitoring.prefect_api.events import EventsApi
from support.database import insert
from support.prefect_server import PrefectServer, start_server

DAYS: Final = 6
BEAT_SECONDS: Final = 180
BATCH: Final = 20_000
RUNNING: Final = (1, 200, 1000)
AIM_SECONDS: Final = 1.0
_EVENT: Final = "prefect.flow-run.heartbeat"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.heartbeats", description=__doc__)
    parser.add_argument("--events", type=int, default=600_000)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, start_server(Path(name)) as server:
        begun = time.monotonic()
        runs = _seed(server, options.events)
        print(
            f"{options.events:,} heartbeats of {len(runs):,} runs seeded in {time.monotonic() - begun:.0f} s",
            flush=True,
        )
        seconds = asyncio.run(_ask(server, runs, options.rounds))
    for running, (median, slowest, found) in seconds.items():
        print(f"{running} running: {median * 1000:.0f} ms, at most {slowest * 1000:.0f} ms; beats of {found} runs")
    return int(seconds[RUNNING[1]][0] > AIM_SECONDS)


def _seed(server: PrefectServer, events: int) -> list[str]:
    """Beats of as many runs as it takes, which run for `DAYS` and still do; the runs."""
    now = datetime.now(UTC)
    each = DAYS * 86400 // BEAT_SECONDS
    runs = [str(uuid4()) for _ in range(max(events // each, 1))]
    for start in range(0, events, BATCH):
        rows = []
        for number in range(start, min(start + BATCH, events)):
            beat, slot = divmod(number, len(runs))
            rows.append(
                _event(runs[slot], now - timedelta(seconds=BEAT_SECONDS * (each - beat - 1) + slot % BEAT_SECONDS))
            )
        insert(server, {"events": rows, "event_resources": [_resource(row) for row in rows]})
    return runs


def _event(run_id: str, at: datetime) -> dict[str, object]:
    resource = {"prefect.resource.id": f"prefect.flow-run.{run_id}", "prefect.resource.name": "a-run"}
    return {
        "id": str(uuid4()),
        "occurred": at,
        "event": _EVENT,
        "resource_id": resource["prefect.resource.id"],
        "resource": json.dumps(resource),
        "related_resource_ids": "[]",
        "related": "[]",
        "payload": "{}",
        "received": at,
        "recorded": at,
    }


def _resource(event: dict[str, object]) -> dict[str, object]:
    return {
        "id": str(uuid4()),
        "occurred": event["occurred"],
        "resource_id": event["resource_id"],
        "resource_role": "",
        "resource": event["resource"],
        "event_id": event["id"],
    }


async def _ask(server: PrefectServer, runs: list[str], rounds: int) -> dict[int, tuple[float, float, int]]:
    """Median and greatest seconds, and how many runs have beats, by how many are asked for."""
    found: dict[int, tuple[float, float, int]] = {}
    with temporary_settings({PREFECT_API_URL: server.url}):
        async with open_http(Traffic(), 1000) as http:
            api = EventsApi(http)
            for running in RUNNING:
                ids = (runs[-running:] + [str(uuid4()) for _ in range(running)])[:running]
                took = []
                for _ in range(rounds):
                    now, begun = time.time(), time.monotonic()
                    beats = await api.heartbeats(ids, now - WINDOW_SECONDS, now + CLOCKS_APART_SECONDS)
                    took.append(time.monotonic() - begun)
                found[running] = (statistics.median(took), max(took), len(beats))
    return found


if __name__ == "__main__":
    sys.exit(main())
