"""The histories of flow runs: every fate that a run can have, each in some pipeline."""

from __future__ import annotations

from golden.model import Step
from golden.seed import DAY, HOUR, MINUTE, NOW, Seed

START: tuple[Step, ...] = (("Pending", 2.0), ("Running", 3.0))
REFUSED = "Flow run encountered an exception: ConnectionError: connection refused"
BY_HAND = "State changed in the UI"


def add_flow_runs(seed: Seed) -> None:
    _hourly(seed)
    _daily(seed)
    _europe(seed)
    _america(seed)
    _weekly(seed)
    _subflows(seed)
    _without_deployment(seed)
    _others(seed)


def _hourly(seed: Seed) -> None:
    """Four days of hourly runs: most complete, some fail, are retried by the engine or by hand."""
    last = NOW - 40 * MINUTE
    for number in range(97):
        at = last - number * HOUR
        seconds = 300.0 + 15.5 * (number % 7)
        end: tuple[Step, ...] = (("Completed", seconds, "All states completed."),)
        if number in {30, 31, 60}:
            end = (("Failed", 90.0, f"{REFUSED} {number}"),)
        elif number == 5:  # by the engine, twice
            again: tuple[Step, ...] = (("AwaitingRetry", 40.0, REFUSED), ("Retrying", 10.0))
            end = (*again, *again, *end)
        elif number == 3:  # by hand
            end = (("Failed", 50.25, REFUSED), ("AwaitingRetry", 120.0, "Retry from the UI"), *START, *end)
        elif number == 40:  # set to a success by hand
            end = (("Failed", 70.0, "ValueError: no"), ("Completed", 30 * MINUTE, BY_HAND))
        elif number == 41:  # and a failure
            end = (*end, ("Failed", 20 * MINUTE, BY_HAND))
        seed.run("orders-etl/hourly", at, ("Pending", 1.5 + number % 3), ("Running", 4.0), *end, by_schedule=True)
    for number in range(3):
        seed.run("orders-etl/hourly", last + (number + 1) * HOUR, by_schedule=True)


def _daily(seed: Seed) -> None:
    """Seventy days of daily runs, failing for the last three."""
    last = NOW - 4 * HOUR - 45 * MINUTE
    for number in range(70):
        end: Step = ("Completed", 1800.0 + 4.25 * (number % 11))
        if number < 3:
            end = ("Failed", 1200.0 + number, "HTTP 429: too many requests")
        elif number in {20, 50}:
            end = ("TimedOut", 3600.0, "Flow run exceeded timeout of 3600.0 second(s)")
        seed.run("finance-report/daily", last - number * DAY, *START, end, by_schedule=True)
    seed.run("finance-report/daily", last + DAY, by_schedule=True)


def _europe(seed: Seed) -> None:
    """Runs ended by infrastructure and by people, and runs that take too long now."""
    of = "sync-crm/eu"
    killed = "Flow run process exited with non-zero status code 137."
    seed.run(of, NOW - 9 * DAY, *START, ("Completed", 240.0))
    seed.run(of, NOW - 3 * DAY, *START, ("Crashed", 200.0, killed))
    seed.run(of, NOW - 2 * DAY, ("Pending", 5.0), ("Crashed", 60.0, "ImagePullBackOff"))
    seed.run(of, NOW - 30 * HOUR, *START, ("Cancelling", 100.0), ("Cancelled", 5.0))
    seed.run(of, NOW - 28 * HOUR, ("Cancelled", 90.0))
    paused: tuple[Step, ...] = (("Paused", 60.0), ("Resuming", 600.0), ("Running", 1.0))
    seed.run(of, NOW - 26 * HOUR, *START, *paused, ("Completed", 120.0))
    seed.run(of, NOW - 25 * HOUR, *START, ("TimedOut", 30.0, "Flow run exceeded timeout of 30.0 second(s)"))
    seed.run(of, NOW - 3 * HOUR, *START)
    again: tuple[Step, ...] = (("AwaitingRetry", 300.0, REFUSED), ("Retrying", 60.0))
    seed.run(of, NOW - 2 * HOUR, *START, *again)
    seed.run(of, NOW - 1 * HOUR, *START, ("Paused", 30.0))
    seed.run(of, NOW - 30 * MINUTE, *START, ("Cancelling", 90.0))


def _america(seed: Seed) -> None:
    """Waiting runs."""
    of = "sync-crm/us"
    seed.run(of, NOW - 8 * DAY, *START, ("Completed", 60.0))
    seed.run(of, NOW - 40 * MINUTE, ("Late", 15.0))
    seed.run(of, NOW - 50 * MINUTE, ("Late", 15.0), due_at=NOW - 50 * MINUTE)
    seed.run(of, NOW - 20 * MINUTE, ("Pending", 2.0), ("AwaitingConcurrencySlot", 1.0), due_at=NOW - MINUTE)
    seed.run(of, NOW - 90 * MINUTE, *START, ("AwaitingRetry", 30.0, REFUSED), due_at=NOW + 10 * MINUTE)
    seed.run(of, NOW - 35 * MINUTE, ("Submitting", 1.0))
    seed.run(of, NOW - 5 * MINUTE, ("Pending", 1.0), ("InfrastructurePending", 3.0))
    seed.run(of, NOW - HOUR, *START, ("Suspended", 10.0))


def _weekly(seed: Seed) -> None:
    for week in range(1, 6):
        seed.run("ml-training/weekly", NOW - week * 7 * DAY, *START, ("Completed", 7200.0 + 64.0 * week))


def _subflows(seed: Seed) -> None:
    """A finished parent with a running subflow, and a running parent with a running subflow."""
    for days in (2, 1):
        at = NOW - days * DAY + 15 * MINUTE
        parent = seed.run("warehouse/nightly", at, *START, ("Completed", 900.0), by_schedule=True)
        child = seed.run("load-table", at + 10, *START, ("Completed", 300.0), parent=parent)
        seed.task(parent, "load-table", at + 10, ("Running", 1.0), ("Completed", 310.0), holds_subflow=True)
        seed.task(child, "copy", at + 20, ("Running", 1.0), ("Completed", 200.0))
    over = seed.run("warehouse/nightly", NOW - 4 * HOUR, *START, ("Crashed", 60.0, "SIGKILL"), by_schedule=True)
    seed.run("load-table", NOW - 4 * HOUR + 10, *START, parent=over)
    alive = seed.run("warehouse/nightly", NOW - 10 * MINUTE, *START)
    seed.run("load-table", NOW - 9 * MINUTE, *START, parent=alive)
    seed.run("load-table", NOW - 7 * HOUR, *START, ("Failed", 45.0, "KeyError: 'id'"), parent=over)


def _without_deployment(seed: Seed) -> None:
    seed.run("notebook", NOW - 3 * DAY, *START, ("Completed", 33.0))
    seed.run("notebook", NOW - 2 * DAY, *START, ("BadQuality", 12.5, "nine rows of ten are empty"))
    seed.run("notebook", NOW - 20 * HOUR, *START, ("Cached", 0.5))
    seed.run("notebook", NOW - 19 * HOUR, *START, ("Skipped", 0.25))
    seed.run("notebook", NOW - 18 * HOUR, *START, ("NothingToDo", 1.0))
    seed.run("scratch-pad", NOW - 17 * HOUR, *START, ("Failed", 5.0))


def _others(seed: Seed) -> None:
    for hours in (100, 60, 8):
        seed.run("old-exports/legacy", NOW - hours * HOUR, *START, ("Completed", 40.0))
    seed.run("old-exports/legacy", NOW - 7 * HOUR, *START, ("Failed", 20.0, "permission denied"))
    for hours in (50, 30, 3):
        seed.run("crm-import/main", NOW - hours * HOUR, *START, ("Completed", 70.0 + hours))
    seed.run("crm-import/main", NOW - 50 * MINUTE, *START)
    seed.run("crm-import/main", NOW - 26 * HOUR, *START, ("Completed", 7.0), deleted_at=NOW - 2 * HOUR)
    seed.run("scratch-pad/mine", NOW - 2 * HOUR, *START, ("Completed", 5.0))
    seed.run('we"ird\\flow ✓/de"ploy', NOW - 9 * HOUR, *START, ("Failed", 5.0, "CERTIFICATE: SSL: expired"))
    # Its next start was cancelled after it was read, and not replaced.
    at = NOW - 75 * MINUTE
    seed.run("mailing/daily", at - DAY, *START, ("Completed", 20.0), by_schedule=True)
    seed.run("mailing/daily", at, by_schedule=True, deleted_at=NOW - 2 * HOUR)
    seed.run("mailing/daily", at + DAY, by_schedule=True)
