"""The bad month: everything that there is an alert for goes wrong once, each on an hour of its own."""

from __future__ import annotations

from typing import Final

from months.pipelines import FOREVER, Behaviour, Phase, Pipeline
from months.schedules import DAY, HOUR, MINUTE, Every, on
from months.site import Process, Site
from months.troubles import Trouble
from months.watch import Watch

WATCH: Final = Watch(on(0), on(14))
CORE_TASKS: Final = (("extract", 0.6), ("load", 0.4))

PIPELINES: Final = (
    Pipeline("core", "hourly", Every(HOUR), 200, tasks=CORE_TASKS),
    Pipeline("std", "hourly", Every(HOUR, 5 * MINUTE), 100),
    Pipeline("minor", "often", Every(15 * MINUTE, 90), 60, since=on(0), until=on(3)),
    Pipeline("busy", "five-minutes", Every(5 * MINUTE), 40, since=on(0), until=on(10)),
    Pipeline(
        "declared", "daily", Every(DAY, 6 * HOUR), 1200, tasks=(("transform", 0.8), ("write", 0.2)), metric="rows"
    ),
    Pipeline("fresh", "daily", Every(DAY, 7 * HOUR), 600),
    Pipeline("model", "often", Every(4 * HOUR, 2 * MINUTE), 300, pool="gpu"),
    Pipeline("queued", "often", Every(4 * HOUR, 2 * MINUTE), 300, queue="slow"),
    Pipeline("limited", "hourly", Every(HOUR, 2 * MINUTE), 300, pool="small", since=on(3), until=on(7, 0.9)),
    Pipeline("own", "hourly", Every(HOUR, 2 * MINUTE), 300, since=on(4), until=on(8, 0.9)),
    Pipeline("parent", "daily", Every(DAY, 12 * HOUR), 600),
)

DECLARED: Final = """
defaults: {slo: {grace: 3h, min_success_ratio: 50%}}
pipelines:
  - {flow: core, criticality: critical, team: sales}
  - {flow: minor, criticality: low}
  - {flow: busy, slo: {grace: 30m, min_success_ratio: 99%}}
  - flow: declared
    slo: {max_duration: 1h, grace: 3d, min_success_ratio: 90%, window: 3d}
    metrics: {rows: {min: 10, max: 1000}}
  - {flow: fresh, criticality: critical, slo: {max_staleness: 26h}}
  - {flow: model, criticality: critical}
  - {flow: limited|own, slo: {max_duration: 2h}}
  - {flow: parent, max_pause: 1d}
"""

FAILS: Final = Behaviour("FAILED", message="boom")
CANCELLED: Final = Behaviour("CANCELLED")

SPELLS: Final = (
    Phase("core", on(1, 5), on(1, 6), FAILS),
    Phase("std", on(1, 5), on(1, 6), FAILS),
    Phase("minor", on(1, 5), on(1, 5.1), FAILS),
    Phase("core", on(2, 5), on(2, 6), Behaviour("CRASHED")),
    Phase("minor", on(2, 10), on(2, 10.6), FAILS),
    Phase("busy", on(3, 9), on(3, 9.5), FAILS, every=2),
    Phase("core", on(3, 12), on(3, 13), Behaviour(seconds=3000)),
    Phase("declared", on(4), on(5), Behaviour(seconds=5400)),
    Phase("core", on(4, 15), on(4, 16), Behaviour(pending=1800)),
    Phase("core", on(5, 5), on(5, 6), Behaviour(late=480)),
    Phase("core", on(5, 15), on(5, 16), Behaviour(missed=True)),
    Phase("fresh", on(5), on(6), CANCELLED),
    Phase("limited", on(5, 19), on(5, 20), Behaviour(seconds=5400)),
    Phase("declared", on(6), on(7), Behaviour(reports=5)),
    Phase("busy", on(6, 8), on(6, 9.5), CANCELLED),
    Phase("own", on(6, 19), on(6, 20), Behaviour(seconds=5400)),
    Phase("own", on(6, 20), on(6, 21), Behaviour(slot_wait=1800)),
    Phase("core", on(7, 6), on(7, 7), Behaviour("CANCELLED", seconds=8 * HOUR)),
    Phase("declared", on(8), on(9), Behaviour(reports=None)),
    Phase("parent", on(9), on(10), Behaviour(orphan=1500)),
    Phase("busy", on(9, 13), on(9, 14.5), FAILS, every=2),
    Phase("core", on(10), on(10, 18), Behaviour(task_retries=1)),
    Phase("declared", on(10), on(12), FAILS),
    Phase("core", on(11, 12), on(12, 12), Behaviour(seconds=700)),
    Phase("std", on(12, 15), on(12, 16), FAILS),
    Phase("core", on(13, 12), on(13, 15), Behaviour(one_more_task="report")),
)

TROUBLES: Final = (
    # Blips, and three minutes that alert, before and while `fresh` has not succeeded: that alert is on time.
    *(Trouble("API down", on(5, hours) - 10, on(5, hours) + 35) for hours in (7.5, 8.5, 9, 9.1, 11)),
    Trouble("API down", on(5, 8) - 10, on(5, 8) + 170),
    Trouble("worker down", on(3, 19.9), on(3, 20.7), "gpu"),
    Trouble("queue not polled", on(4, 19.9), on(4, 20.7), "main/slow"),
    Trouble("paused", on(6, 13), on(8, 13), "parent"),
    Trouble("API down", on(12, 15.2), on(12, 15.7)),
    Trouble("source broken", on(13, 3), on(13, 3.6), "work_queues"),
    Trouble("file broken", on(13, 6), on(13, 6.5)),
    Trouble("run lost", on(13, 8.1), on(13, 10.6), "std"),
)

PROCESSES: Final = (
    # A restart while two pipelines are failing, and half an hour without an exporter.
    Process("10.0.0.1:9877", "a", on(0), on(1, 5.5)),
    Process("10.0.0.1:9877", "a", on(1, 5.5) + WATCH.step, on(1, 12.2)),
    Process("10.0.0.1:9877", "a", on(1, 12.7), FOREVER),
)

SITE: Final = Site(
    "production",
    PIPELINES,
    DECLARED,
    PROCESSES,
    SPELLS,
    TROUBLES,
    pools={"main": "process", "gpu": "kubernetes", "small": "process"},
    slots={"small": 1},
    own_limits={"own": 1},
    options={"max_tasks": 2},
)
