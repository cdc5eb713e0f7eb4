"""Nothing is lost and nothing counted twice, whatever the API answers and whenever the exporter is killed.

For CHAOS_SECONDS (60) a share of all requests fails, hangs, is cut off, comes late or is answered with nonsense, while
runs of every fate are written and the exporter is killed every few seconds. Then the API is calm again: the totals must
be what Prefect's own state histories say, and counters have never gone back. Deleted runs are left out: one that nobody
read before it was deleted is in no truth. The server is on PostgreSQL: SQLite would refuse writes for seconds.
"""

import asyncio
import os
import random
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from support import forked_exporter
from support.chaos import Chaos
from support.exporter import Exporter
from support.exposition import Samples, matching, outcomes
from support.fates import Written, writing_runs
from support.forked import Forker
from support.postgres import start_postgres
from support.prefect_server import env_for, start_server
from support.processes import wait_until
from support.proxy import FaultProxy
from support.rig import Rig, rig
from support.seeder import Seeder
from support.truth import truth
from support.truth_of_tasks import task_truth

SECONDS = float(os.environ.get("CHAOS_SECONDS", "60"))
SEED = 14
SHARE = 0.15  # of all requests
LIFE_SECONDS = 5.0  # of an exporter, at most
UNBORN_SECONDS = 2.0  # of one that is not waited for
START_SECONDS = 120.0
SETTLE_SECONDS = 300.0
PREFIX = "chaos-"
OPTIONS = ("--source-timeout", "5s", "--audit-interval", "3s", "--birth-hold", "0s")
OVERLAP_IS_OVER = 600.0  # seconds later, all that was written lies in closed hours

Counts = dict[str, Counter[tuple[str, ...]]]


@pytest.mark.timeout(2 * SECONDS + SETTLE_SECONDS + 600)
async def test_totals_match_the_state_histories_after_chaos(tmp_path: Path) -> None:
    with (
        start_postgres(tmp_path) as postgres,
        start_server(tmp_path, database_url=postgres.url()) as server,
        FaultProxy(server.url) as proxy,
        closing(Forker(forked_exporter.__name__, env_for(server, url=proxy.url), tmp_path)) as forker,
    ):
        chaos = Chaos(random.Random(SEED), SHARE)
        proxy.at_random(chaos)
        with writing_runs(server.url, PREFIX, SEED) as writers:
            lives = await asyncio.to_thread(kill_again_and_again, forker)
        proxy.clear()
        expected = true_counts(server.url, writers)
        async with rig(proxy.url, tmp_path) as exporter:
            assert_never_back(lives.seen, shown(exporter.samples))
            seconds = await settle(exporter, expected)
            settled = shown(exporter.samples)
    fates = sum((written.fates for written in writers), Counter[str]())
    sys.stdout.write(
        f"{fates.total()} runs, {expected['tasks'].total()} ends of task runs,"
        f" {expected['lines'].total()} METRIC lines; {len(proxy.requests)} requests, faults: {dict(chaos.drawn)};"
        f" {lives.kills} kills, {lives.unborn} of them before the first answer; settled in {seconds:.0f} s\n"
    )
    for what, counts in expected.items():
        assert settled[what] == counts, what
    assert lives.seen["runs"], "nothing was counted during the chaos: it was an outage"
    assert chaos.drawn
    assert min(counts.total() for counts in expected.values()) > 0


class Lives:
    """What the exporters that were killed had shown: the highest value of each counter."""

    def __init__(self) -> None:
        self.kills = 0
        self.unborn = 0
        self.seen: Counts = {"runs": Counter(), "tasks": Counter(), "sums": Counter(), "lines": Counter()}


def kill_again_and_again(forker: Forker) -> Lives:
    """Starts exporters on one ledger and kills each: three of four when they have begun to work, others before."""
    dice, lives = random.Random(SEED), Lives()
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        exporter, fork = forker.start("", *OPTIONS)
        try:
            if dice.random() < 0.75:
                wait_until(lambda: answers(exporter), START_SECONDS, "an exporter that answers", every=0.2)  # noqa: B023
                watch(exporter, lives.seen, time.monotonic() + dice.uniform(0.5, LIFE_SECONDS))
            else:
                time.sleep(dice.uniform(0, UNBORN_SECONDS))  # any instant is as good as any other
                lives.unborn += not answers(exporter)
            assert fork.running, fork.output()[-4000:]
        finally:
            fork.kill()
        lives.kills += 1
    return lives


def answers(exporter: Exporter) -> bool:
    try:
        return bool(exporter.get("/metrics").status_code)
    except httpx.HTTPError:
        return False


def watch(exporter: Exporter, seen: Counts, until: float) -> None:
    """Scrapes until then; no counter goes back."""
    while time.monotonic() < until:
        try:
            now = shown(exporter.samples)
        except httpx.HTTPError:  # it has no baseline yet, or the machine is busy
            now = {}
        if now and now["runs"]:
            assert_never_back(seen, now)
            seen |= now
        time.sleep(0.3)


def assert_never_back(before: Counts, now: Counts) -> None:
    for what, counts in before.items():
        gone_back = {key: (count, now[what][key]) for key, count in counts.items() if now[what][key] < count}
        assert not gone_back, (what, gone_back)


def shown(samples: Samples) -> Counts:
    return {
        "runs": outcomes(samples, flow_prefix=PREFIX),
        "tasks": counted(samples, "prefect_task_run_outcomes_total", "flow", "task", "state"),
        "sums": counted(samples, "prefect_custom_metric_observed_sum", "flow", "deployment", "task"),
        "lines": counted(samples, "prefect_custom_metric_observed_count", "flow", "deployment", "task"),
    }


def counted(samples: Samples, metric: str, *labels: str) -> Counter[tuple[str, ...]]:
    counts: Counter[tuple[str, ...]] = Counter()
    for of, number in matching(samples, metric).items():
        if number:
            counts[tuple(dict(of).get(label, "") for label in labels)] += int(number)
    return counts


def true_counts(api_url: str, writers: list[Written]) -> Counts:
    with Seeder(api_url) as api:
        return {
            "runs": truth(api_url, flow_prefix=PREFIX),
            "tasks": task_truth(api, PREFIX, {}),
            "sums": sum((written.sums for written in writers), Counter()),
            "lines": sum((written.lines for written in writers), Counter()),
        }


async def settle(exporter: Rig, expected: Counts) -> float:
    """Reads as `serve` does until all is counted, or for so long; the seconds that it took."""
    begun = time.monotonic()
    await exporter.details(2)  # at the present first: a METRIC line waits for its task run
    while shown(exporter.samples) != expected and time.monotonic() < begun + SETTLE_SECONDS:
        exporter.clock = lambda: time.time() + OVERLAP_IS_OVER
        await exporter.inventory()
        await exporter.details(2)
    return time.monotonic() - begun
