"""The quiet month: two workspaces in which nothing happens that has to be told, and much that looks like it."""

from __future__ import annotations

from typing import Final

from months.pipelines import FOREVER, Behaviour, Phase, Pipeline
from months.schedules import HOUR, MINUTE, At, Every, OnDates, fifteenth, on, weekdays
from months.site import Process, Site
from months.troubles import Trouble
from months.watch import Watch

MONTH: Final = Watch(on(0), on(29))
# Saturday, 22:10 UTC: the hourly and the five-minute pipeline are due meanwhile.
OUTAGE: Final = on(12, 22 + 1 / 6)
OUTAGE_SECONDS: Final = HOUR - 8  # it ends just before a scrape: what is late then is seen
# Too short to alert, and again and again, two of them when hourly runs are due. Then three minutes, which alert.
BLIPS: Final = (
    *(on(20, hours) for hours in (7, 8.1, 9.5, 11, 13.2, 13.4, 16)),
    *(on(13, 0.5 + k / 5) for k in range(3)),
)
BLIP_SECONDS: Final = 45.0
FLAPS: Final = (on(22, 9), on(22, 9.3), on(22, 14))
FLAP_SECONDS: Final = 3 * MINUTE
BEFORE_A_SCRAPE: Final = 10.0
CUT_OFF: Final = (on(13, 9), on(13, 15))
REPLICA_ENDS: Final = on(15, 7)

PIPELINES: Final = (
    # It is there for a week, and then deleted.
    Pipeline("ingest", "five-minutes", Every(5 * MINUTE), 40, since=on(8, 9.5), until=on(15, 17.4)),
    Pipeline("orders", "hourly", Every(HOUR), 200, tags=("critical", "team:sales")),
    Pipeline("rates", "hourly", Every(HOUR, 7 * MINUTE), 60, tags=("low",), tasks=(("fetch", 0.7), ("store", 0.3))),
    Pipeline("billing", "daily", At(("06:00",)), 1500, metric="rows"),
    Pipeline("reports", "weekdays", At(("07:30",), weekdays), 600, tags=("critical",)),
    Pipeline("closing", "monthly", At(("03:00",), fifteenth), 3 * HOUR, tags=("critical",)),
    # Its run before is older than 30 days, of which the usual duration is the mean; and one that never ran before.
    Pipeline("rare", "quarterly", At(("05:00",), OnDates(((2, 2), (3, 13), (6, 2)))), 2 * HOUR, tags=("critical",)),
    Pipeline("first", "yearly", At(("11:00",), OnDates(((3, 20),))), 2 * HOUR, tags=("critical",), since=on(10)),
    # One run for each customer.
    Pipeline("customers", "fan-out", Every(6 * HOUR, 20 * MINUTE), 300, parallel=4, tags=("critical",)),
    Pipeline("sync", "twice-a-day", At(("08:00", "20:00")), 300),
    Pipeline("export", "daily", At(("12:00",)), 120),
    # On the night when the clocks go forward, half past two does not exist.
    Pipeline("cleanup", "nightly", At(("02:30",)), 900),
    Pipeline("backfill", "new", Every(3 * HOUR, 11 * MINUTE), 400, since=on(14, 5.2)),
    Pipeline("before", "daily", At(("10:00",)), 240),
    Pipeline("catalogue", "pushed", Every(6 * HOUR, 31 * MINUTE), 100, pool="push"),
)

DECLARED: Final = """
pipelines:
  - {flow: ingest, criticality: critical}
  - {flow: billing, criticality: critical, slo: {max_duration: 1h}, metrics: {rows: {min: 10, max: 1000}}}
  - {flow: sync, slo: {max_staleness: 26h}}
  - {flow: export, max_pause: 7d}
  - {flow: before, slo: {window: 7d}}
"""

FAILS: Final = Behaviour("FAILED", message="boom")
SPELLS: Final = (
    # What failed before the exporter was there, three in a row among it, and healed.
    Phase("orders", on(-25, 3), on(-25, 7), FAILS),
    Phase("before", on(-20), on(-9), FAILS),
    Phase("rates", on(-3), on(-3, 5), Behaviour("CRASHED")),
    # What retries save.
    Phase("orders", on(3), on(3, 6), Behaviour(flow_retries=2)),
    Phase("orders", on(17, 12), on(17, 14), Behaviour(flow_retries=1)),
    Phase("ingest", on(10), on(10, 3), Behaviour(flow_retries=1), every=2),
    Phase("rates", on(8), on(10), Behaviour(task_retries=1), every=3),
    # Subflows that their parent can do without.
    Phase("orders", on(2), on(2, 5), Behaviour(part_fails=True)),
    # Called off by a person.
    Phase("sync", on(18, 6), on(18, 8), Behaviour("CANCELLED")),
    Phase("ingest", on(14, 9), on(14, 9.2), Behaviour("CANCELLED")),
    # Slow, but within what is declared; slow, but for once.
    Phase("billing", on(9), on(10), Behaviour(seconds=3300)),
    Phase("orders", on(21, 15), on(21, 16), Behaviour(seconds=1500)),
    Phase("cleanup", on(6), on(7), Behaviour(seconds=1750, pending=400)),
)

TROUBLES: Final = (
    Trouble("API down", OUTAGE, OUTAGE + OUTAGE_SECONDS),
    *(Trouble("API down", at - BEFORE_A_SCRAPE, at - BEFORE_A_SCRAPE + BLIP_SECONDS) for at in BLIPS),
    *(Trouble("API down", at - BEFORE_A_SCRAPE, at - BEFORE_A_SCRAPE + FLAP_SECONDS) for at in FLAPS),
    Trouble("paused", on(6, 8), on(10, 15), "export"),
    # Nobody has declared scripts that people try out.
    Trouble("script fails", on(5, 9), on(5, 9.1), "scratch"),
    # A worker is replaced while runs are due.
    Trouble("worker down", on(23, 13.99), on(23, 14.02), "main"),
)

PROCESSES: Final = (
    # Two restarts: one scrape finds nobody there.
    Process("10.0.0.1:9877", "a", on(0), on(4, 9)),
    Process("10.0.0.1:9877", "a", on(4, 9) + MONTH.step, on(12, 3)),
    Process("10.0.0.1:9877", "a", on(12, 3) + MONTH.step, on(19, 11)),
    # A pod rolls while an hourly run is under way: both are scraped once at the same time.
    Process("10.0.0.2:9877", "a", on(19, 11) - MONTH.step, FOREVER),
    # For some days there are two replicas, one of which cannot reach the API for some hours.
    Process("10.0.0.9:9877", "b", on(11), REPLICA_ENDS, CUT_OFF),
)

PRODUCTION: Final = Site(
    "production",
    PIPELINES,
    DECLARED,
    PROCESSES,
    SPELLS,
    TROUBLES,
    pools={"main": "process", "push": "ecs:push"},
)

# The same names, other truths: what is paused there runs here, and there is no worker while the API is down there.
STAGING: Final = Site(
    "staging",
    (
        Pipeline("orders", "hourly", At(("09:00",)), 900),
        Pipeline("billing", "daily", At(("06:00",)), 5000),
        Pipeline("reports", "weekdays", At(("07:30",), weekdays), 600),
        Pipeline("rates", "hourly", Every(8 * HOUR, 7 * MINUTE), 600),
    ),
    "",
    (Process("10.0.0.3:9877", "c", on(0), FOREVER),),
    (Phase("orders", on(-20), on(-19), FAILS), Phase("orders", on(5), on(9), Behaviour(flow_retries=3))),
    (
        Trouble("paused", on(0, 1), FOREVER, "reports"),
        Trouble("worker down", OUTAGE - HOUR, OUTAGE + 1.5 * HOUR, "main"),
    ),
)

SITES: Final = (PRODUCTION, STAGING)
