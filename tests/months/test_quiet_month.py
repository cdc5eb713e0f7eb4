"""The quiet month: of all that looks like trouble, only outages of the API and a replica without it alert."""

from dataclasses import replace

from months.expected import Expected, differences
from months.pipelines import FOREVER
from months.quiet import (
    BEFORE_A_SCRAPE,
    CUT_OFF,
    FLAP_SECONDS,
    FLAPS,
    MONTH,
    OUTAGE,
    OUTAGE_SECONDS,
    PRODUCTION,
    REPLICA_ENDS,
    SITES,
)
from months.schedules import HOUR, MINUTE
from months.site import Process
from months.watch import Watch

# A minute without an answer, until the first one.
THE_OUTAGE = Expected(
    "PrefectApiDown", "critical", OUTAGE + MINUTE, OUTAGE + OUTAGE_SECONDS, {"workspace": "production"}
)
EXPECTED = (
    THE_OUTAGE,
    *(
        Expected("PrefectApiDown", "critical", at - BEFORE_A_SCRAPE + MINUTE, at - BEFORE_A_SCRAPE + FLAP_SECONDS)
        for at in FLAPS
    ),
    Expected(
        "PrefectNumbersOld",
        "warning",
        CUT_OFF[0] + 5 * MINUTE,
        CUT_OFF[1] + 2 * MINUTE,
        {"instance": "10.0.0.9:9877"},
    ),
    # Whether it was removed on purpose, nobody knows: until most of a day was without it.
    Expected("PrefectTargetDown", "warning", REPLICA_ENDS + 5 * MINUTE, REPLICA_ENDS + 12 * HOUR),
)


def test_a_quiet_month_only_outages_and_a_lost_replica_alert() -> None:
    assert differences(SITES, MONTH, EXPECTED) == ""


def test_an_outage_at_the_shipped_intervals_alone_alerts() -> None:
    """The hours around it, with all that a step of minutes steps over: two restarts and the roll of a pod as well."""
    watch = Watch(OUTAGE - 2 * HOUR, OUTAGE + 3 * HOUR, step=15, idle=0, background=60, slack=45)
    processes = (
        Process("10.0.0.1:9877", "a", watch.begin, OUTAGE - HOUR),
        Process("10.0.0.1:9877", "a", OUTAGE - HOUR + 2 * watch.step, OUTAGE + HOUR / 2),
        Process("10.0.0.1:9877", "a", OUTAGE + HOUR / 2 + 2 * watch.step, OUTAGE + 1.75 * HOUR),
        Process("10.0.0.2:9877", "a", OUTAGE + 1.75 * HOUR - watch.step, FOREVER),
    )
    assert differences([replace(PRODUCTION, processes=processes)], watch, [THE_OUTAGE]) == ""
