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
from support.exposition import matching
from support.prefect_server import PrefectServer
from support.proxy import FaultProxy
from support.rig import Rig, rig

LATE_DEPLOYMENTS: Final = 20
POLLS: Final = 10
MOST_BEFORE: Final = 20  # polls until the first count is complete
SLOW_ANSWER_SECONDS: Final = 0.5
# The default of the product: a reading that takes longer goes on in the next poll.
SOURCE_TIMEOUT: Final = "30s"


async def measure_late(subject: Subject, places: Sequence[Place], late: int) -> list[Measure]:
    """The most requests of a poll beside `late` late runs, and by how many its count is wrong: at once, and slowly."""
    _seed(subject.server, [place for place in places if place.deployment_id][:LATE_DEPLOYMENTS], late)
    with FaultProxy(subject.server.url) as proxy:
        directory = subject.directory / "late"
        directory.mkdir()
        async with rig(
            proxy.url, directory, max_requests_per_second=UNLIMITED, source_timeout=SOURCE_TIMEOUT
        ) as exporter:
            await exporter.inventory()
            before = 0
            while before < MOST_BEFORE and (await _poll(exporter))[1] is None:
                before += 1
            at_once = [await _poll(exporter) for _ in range(POLLS)]
            proxy.slow(SLOW_ANSWER_SECONDS)
            slowly = [await _poll(exporter) for _ in range(POLLS)]
    return [
        Measure("late runs", late),
        Measure("polls until they are counted", before + 1),
        *_of_polls("poll beside late runs", at_once, late),
        *_of_polls("same, answers take 0.5 s", slowly, late),
    ]


def _of_polls(name: str, polls: Sequence[tuple[int, float | None]], late: int) -> list[Measure]:
    return [
        Measure(f"{name}: requests", max(requests for requests, _ in polls)),
        Measure(
            f"{name}: count wrong by",
            max(late if shown is None else abs(shown - late) for _, shown in polls),
            at_most=0,
            binding=True,
        ),
    ]


async def _poll(exporter: Rig) -> tuple[int, float | None]:
    """Its requests, and the number of late runs that it shows; None before the first complete count."""
    before = exporter.traffic.requests.total()
    await exporter.poll()
    shown = matching(exporter.samples, "prefect_flow_runs", state="late")
    return exporter.traffic.requests.total() - before, sum(shown.values()) if shown else None


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
