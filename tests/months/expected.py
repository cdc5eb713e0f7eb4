"""A month as a test: simulates its workspaces in parallel, and compares the alerts by promtool with a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from months.rules import needed_by_alerts, shipped_groups, without_dashboard_records
from months.schedules import BEGIN, DAY, HOUR, MINUTE
from months.site import Site, simulate
from months.verdict import Episode, judge, parts
from months.watch import Watch

CORES: Final = 2
# In memory if possible: a month has 100,000 transactions, and each would wait for the disk.
IN_MEMORY: Final = Path("/dev/shm")


@dataclass(frozen=True)
class Expected:
    """An alert that must start firing at `begin` and resolve at `end`, or up to `slack` seconds later.

    `labels` identify it. `why`: the reason, if it fires in addition to the alert of its incident.
    """

    alert: str
    severity: str
    begin: float
    end: float
    labels: Mapping[str, str] = field(default_factory=dict)
    why: str = ""
    slack: float = 0.0

    def matches(self, episode: Episode, slack: float) -> bool:
        wanted = {"alertname": self.alert, "severity": self.severity, **self.labels}
        late = episode.begin - self.begin, episode.end - self.end
        return wanted.items() <= episode.labels and all(0 <= seconds <= max(slack, self.slack) for seconds in late)


def differences(sites: Sequence[Site], watch: Watch, expected: Iterable[Expected]) -> str:
    """Unexpected and missing alerts, a line each; "" without differences."""
    return "\n".join(_differences(_episodes(sites, watch), watch, list(expected)))


def _episodes(sites: Sequence[Site], watch: Watch) -> set[Episode]:
    """All alerts of the shipped rules except the Watchdog, for an exporter in each of these workspaces."""
    groups = list(shipped_groups())
    metrics = frozenset(needed_by_alerts(groups))
    place = IN_MEMORY if IN_MEMORY.is_dir() else None
    with TemporaryDirectory(dir=place) as name, ProcessPoolExecutor(CORES, get_context("spawn")) as pool:
        folder = Path(name)
        lives = [pool.submit(simulate, site, watch, metrics, folder) for site in sites]
        series = [line for life in lives for line in life.result()]
        halves = parts(without_dashboard_records(groups), CORES)
        verdicts = [pool.submit(judge, half, series, watch, folder / str(number)) for number, half in enumerate(halves)]
        return {episode for verdict in verdicts for episode in verdict.result()}


def _differences(episodes: Iterable[Episode], watch: Watch, left: list[Expected]) -> Iterator[str]:
    for episode in sorted(episodes, key=lambda episode: episode.begin):
        if match := next((alert for alert in left if alert.matches(episode, watch.slack)), None):
            left.remove(match)
        else:
            yield f"fired: {_moment(episode.begin)} to {_moment(episode.end)} {sorted(episode.labels)}"
    for missing in left:
        times = f"{_moment(missing.begin)} to {_moment(missing.end)}"
        yield f"expected: {times} {missing.alert} {missing.severity} {dict(missing.labels)}"


def _moment(instant: float) -> str:
    """In the format of the tables: day, hours and minutes since the start of the month."""
    seconds = instant - BEGIN
    return f"day {seconds // DAY:.0f} {seconds % DAY // HOUR:02.0f}:{seconds % HOUR / MINUTE:04.1f}"
