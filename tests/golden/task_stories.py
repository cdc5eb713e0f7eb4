"""The histories of task runs, and the METRIC lines that they and their flow runs logged."""

from __future__ import annotations

from golden.model import FlowRun, Step
from golden.seed import DAY, HOUR, MINUTE, NOW, Seed

SAVED = "Task run failed with ConnectionError: connection reset by peer - Retry 1/2 will start 20 second(s) from now"


def add_task_runs(seed: Seed) -> None:
    _of_finished_runs(seed)
    _of_runs_under_way(seed)
    _outside_flows(seed)
    _lines(seed)


def _of_finished_runs(seed: Seed) -> None:
    """Task runs of the hourly pipeline's last day, and of the failing pipeline."""
    for number, run in enumerate(seed.finished_runs("orders-etl/hourly", NOW - 30 * HOUR)):
        at = run.states[-1].at - 250
        seed.task(run, "extract", at, ("Running", 1.0), ("Completed", 60.5 + number))
        for part in range(3):  # mapped
            seed.task(run, "transform", at + 90 + part, ("Running", 0.5), ("Completed", 30.0 * (part + 1)))
        end: tuple[Step, ...] = (("Completed", 20.25),)
        if number % 9 == 4:
            end = (("AwaitingRetry", 5.0), ("Retrying", 20.0), *end)
        load = seed.task(run, "load", at + 190, ("Running", 1.0), *end)
        if len(end) > 1:
            seed.log(at + 196, SAVED, run, load)
        seed.log(
            at + 200, f'METRIC: rows_loaded{{table="orders"}}={1000 + number} rows_rejected={number % 3}', run, load
        )
        seed.log(at + 201, "loaded what there was", run, load)
    for number, run in enumerate(seed.finished_runs("finance-report/daily", NOW - 5 * DAY)):
        at = run.states[-1].at - 1000
        seed.task(run, "query", at, ("Running", 1.0), ("Completed", 600.0))
        failed = ("Failed", 100.0 + number, "Task run encountered an exception: HTTP 429: too many requests")
        seed.task(run, "fetch-rates", at + 700, ("Running", 1.0), failed if number > 1 else ("Completed", 30.0))


def _of_runs_under_way(seed: Seed) -> None:
    """Cached, rolled back, crashed, cancelled and active task runs."""
    run = next(one for one in seed.open_runs("sync-crm/eu") if one.states[-1].name == "Running")
    seed.task(run, "pull", NOW - 170 * MINUTE, ("Cached", 0.25))
    seed.task(run, "push", NOW - 160 * MINUTE, ("Running", 1.0), ("Completed", 5.0), ("RolledBack", 60.0))
    seed.task(run, "push", NOW - 150 * MINUTE, ("Running", 1.0), ("Crashed", 15.0, "OOMKilled"))
    seed.task(run, "push", NOW - 149 * MINUTE, ("Running", 1.0), ("TimedOut", 15.0, "Task run exceeded timeout"))
    seed.task(run, "push", NOW - 148 * MINUTE, ("Cancelled", 15.0))
    seed.task(run, "push", NOW - 20 * MINUTE, ("Running", 1.0))
    seed.task(run, "pull", NOW - 10 * MINUTE, ("Running", 1.0), ("AwaitingRetry", 30.0))
    seed.task(run, "pull", NOW - MINUTE)
    retried = next(one for one in seed.open_runs("sync-crm/eu") if one.states[-1].name == "Retrying")
    for attempt in (1, 2):  # the first attempt left a task run behind, which is dead
        seed.task(retried, "pull", NOW - 2 * HOUR + attempt * 6 * MINUTE, ("Running", 1.0), attempt=attempt)


def _outside_flows(seed: Seed) -> None:
    seed.task(None, "ping", NOW - 6 * HOUR, ("Running", 1.0), ("Completed", 2.5))
    alone = seed.task(None, "ping", NOW - 5 * HOUR, ("Running", 1.0), ("Failed", 2.5, "TimeoutError: timed out"))
    seed.log(NOW - 5 * HOUR, "METRIC: ping_ms=12.5", None, alone)


def _lines(seed: Seed) -> None:
    """Lines without a task, with negative values, with several labels, and unreadable ones."""
    runs: list[FlowRun] = seed.finished_runs("sync-crm/eu", NOW - 27 * HOUR)
    for number, run in enumerate(runs):
        at = run.states[-1].at - 1
        seed.log(at, f'METRIC: balance{{account="a",currency="EUR"}}={-2.5 * (number + 1)}', run)
    seed.log(NOW - 25 * HOUR, 'METRIC: 1st=1 load{flow="x"}=2 share=nan broken= junk', runs[0])
    seed.log(NOW - 24 * HOUR, "METRIC: temperature=21.25\nMETRIC: temperature=22.75", runs[0])
    odd = seed.finished_runs('we"ird\\flow ✓/de"ploy', NOW - DAY)[0]
    seed.log(NOW - 9 * HOUR, 'METRIC: rows{file="a\\"b\\\\c ✓"}=7', odd)
