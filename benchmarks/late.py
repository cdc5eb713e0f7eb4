"""What late runs without number cost a poll, and whether their count is right meanwhile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from benchmarks.measures import Measure
from benchmarks.seed import BATCH, Place
from benchmarks.subject import UNLIMITED, Subject
from support.bulk import Batch, Entered, add_flow_run
from support.database import insert
from support.exposition import total
from support.prefect_server import PrefectServer
from support.proxy import FaultProxy
from support.rig import Rig, rig

LATE_DEPLOYMENTS: Final = 20
POLLS: Final = 10
SLOW_ANSWER_SECONDS: Final = 0.5
# The default of the product: a reading that takes longer goes on in the next poll.
SOURCE_TIMEOUT: Final = "30s"


async def measure_late(subject: Subject, places: Sequence[Place], late: int) -> list[Measure]:
    """The most requests of a poll beside `late` late runs, and by how many the count is wrong: at once, and slowly."""
    _seed(subject.server, [place for place in places if place.deployment_id][:LATE_DEPLOYMENTS], late)
    with FaultProxy(subject.server.url) as proxy:
        directory = subject.directory / "late"
        directory.mkdir()
        async with rig(
            proxy.url, directory, max_requests_per_second=UNLIMITED, source_timeout=SOURCE_TIMEOUT
        ) as exporter:
            await exporter.inventory()
            at_once = [await _poll(exporter, late) for _ in range(POLLS)]
            proxy.slow(SLOW_ANSWER_SECONDS)
            slowly = [await _poll(exporter, late) for _ in range(POLLS)]
    return [
        Measure("late runs", late),
        Measure("poll beside late runs: requests", max(requests for requests, _ in at_once)),
        Measure("poll beside late runs: count wrong by", max(wrong for _, wrong in at_once), at_most=0, binding=True),
        Measure("same, answers take 0.5 s: requests", max(requests for requests, _ in slowly)),
        Measure("same, answers take 0.5 s: count wrong by", max(wrong for _, wrong in slowly), at_most=0, binding=True),
    ]


async def _poll(exporter: Rig, late: int) -> tuple[int, float]:
    before = exporter.traffic.requests.total()
    await exporter.poll()
    shown = total(exporter.samples, "prefect_flow_runs", state="late")
    return exporter.traffic.requests.total() - before, abs(shown - late)


def _seed(server: PrefectServer, places: Sequence[Place], late: int) -> None:
    """Runs that were due one second after the other until an hour ago."""
    newest = datetime.now(UTC) - timedelta(hours=1)
    batch: Batch = defaultdict(list)
    for number in range(late):
        due = newest - timedelta(seconds=number)
        place = places[number % len(places)]
        history = [Entered("Scheduled", due), Entered("Late", due + timedelta(seconds=15))]
        add_flow_run(
            batch, place.flow_id, history, deployment_id=place.deployment_id, work_queue_id=place.work_queue_id
        )
        if len(batch["flow_run"]) == BATCH or number == late - 1:
            insert(server, batch)
            batch.clear()
