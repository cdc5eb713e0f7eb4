"""The quiet month: only the outage of the API fires."""

from dataclasses import replace

from months.expected import Expected, differences
from months.quiet import MONTH, OUTAGE, OUTAGE_SECONDS, PRODUCTION, SITES
from months.schedules import HOUR, MINUTE
from months.site import Process
from months.watch import Watch
from months.world import FOREVER

EXPECTED = (
    # From a minute after the last answer until the first new one.
    Expected("PrefectApiDown", "critical", OUTAGE + MINUTE, OUTAGE + OUTAGE_SECONDS, {"workspace": "production"}),
)


def test_only_the_api_outage_fires() -> None:
    assert differences(SITES, MONTH, EXPECTED) == ""


def test_only_the_api_outage_fires_at_the_shipped_intervals() -> None:
    """The hours around it at the real scrape interval, with two restarts and a rolling update."""
    watch = Watch(OUTAGE - 2 * HOUR, OUTAGE + 3 * HOUR, step=15, idle=0, background=60, slack=45)
    processes = (
        Process("10.0.0.1:9877", "a", watch.begin, OUTAGE - HOUR),
        Process("10.0.0.1:9877", "a", OUTAGE - HOUR + 2 * watch.step, OUTAGE + HOUR / 2),
        Process("10.0.0.1:9877", "a", OUTAGE + HOUR / 2 + 2 * watch.step, OUTAGE + 1.75 * HOUR),
        Process("10.0.0.2:9877", "a", OUTAGE + 1.75 * HOUR - watch.step, FOREVER),
    )
    assert differences([replace(PRODUCTION, processes=processes)], watch, EXPECTED) == ""
