"""Nothing is lost or counted twice under random API faults and kills of the exporter.

For CHAOS_SECONDS (60) a share of all requests fails, hangs, is truncated, delayed or answered with nonsense, while
runs of every fate are written and the exporter is killed every few seconds. Then the faults end: the totals must
equal Prefect's state histories, and no counter may ever have gone back. Deleted runs are left out: one that was not
read before its deletion is in no history. The server uses PostgreSQL: SQLite would refuse writes for seconds.
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
LIFE_SECONDS = 5.0  # maximum for an exporter
STARTING_SECONDS = 2.0  # maximum for an exporter that is killed during startup
START_SECONDS = 120.0
SETTLE_SECONDS = 300.0
PREFIX = "chaos-"
OPTIONS = ("--source-timeout", "5s", "--audit-interval", "3s", "--birth-hold", "0s")
OVERLAP_IS_OVER = 600.0  # seconds, after which all runs lie in closed hours

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
        f" {lives.kills} kills, {lives.killed_in_startup} of them before the first answer; settled in {seconds:.0f} s\n"
    )
    for kind, counts in expected.items():
        assert settled[kind] == counts, kind
    assert lives.seen["runs"], "nothing was counted during the chaos"
    assert chaos.drawn
    assert min(counts.total() for counts in expected.values()) > 0


class Lives:
    """The highest value of each counter that the killed exporters had shown."""

    def __init__(self) -> None:
        self.kills = 0
        self.killed_in_startup = 0
        self.seen: Counts = {"runs": Counter(), "tasks": Counter(), "sums": Counter(), "lines": Counter()}


def kill_again_and_again(forker: Forker) -> Lives:
    """Starts exporters on one ledger and kills each: three of four at work, the others during startup."""
    dice, lives = random.Random(SEED), Lives()
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        exporter, fork = forker.start("", *OPTIONS)
        try:
            if dice.random() < 0.75:
                wait_until(lambda: answers(exporter), START_SECONDS, "an exporter that answers", every=0.2)  # noqa: B023
                watch(exporter, lives.seen, time.monotonic() + dice.uniform(0.5, LIFE_SECONDS))
            else:
                time.sleep(dice.uniform(0, STARTING_SECONDS))  # at a random time
                lives.killed_in_startup += not answers(exporter)
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
    """Scrapes until `until`; no counter may go back."""
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
    for kind, counts in before.items():
        gone_back = {key: (count, now[kind][key]) for key, count in counts.items() if now[kind][key] < count}
        assert not gone_back, (kind, gone_back)


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
    """Reads as `serve` does until everything is counted or the time is up; returns the seconds."""
    begun = time.monotonic()
    await exporter.details(2)  # first at the current time: METRIC lines wait for their task runs
    while shown(exporter.samples) != expected and time.monotonic() < begun + SETTLE_SECONDS:
        exporter.clock = lambda: time.time() + OVERLAP_IS_OVER
        await exporter.inventory()
        await exporter.details(2)
    return time.monotonic() - begun
