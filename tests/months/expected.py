"""A month as a test: its workspaces are lived through side by side, promtool judges, a table says what is right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from months.rules import needed_by_alerts, shipped_groups, without_what_only_dashboards_read
from months.schedules import BEGIN, DAY, HOUR, MINUTE
from months.site import Site, simulate
from months.verdict import Episode, judge, parts
from months.watch import Watch

CORES: Final = 2
# In memory, where that can be had: a month is 100,000 transactions, and each would wait for the disk.
IN_MEMORY: Final = Path("/dev/shm")


@dataclass(frozen=True)
class Expected:
    """An alert that has to begin to fire at `begin` and to resolve at `end`, or up to `slack` seconds later.

    `labels` are those that tell it apart. `why`: what else is amiss when it fires beside the alert of its incident.
    """

    alert: str
    severity: str
    begin: float
    end: float
    labels: Mapping[str, str] = field(default_factory=dict)
    why: str = ""
    slack: float = 0.0

    def fits(self, episode: Episode, slack: float) -> bool:
        wanted = {"alertname": self.alert, "severity": self.severity, **self.labels}
        late = episode.begin - self.begin, episode.end - self.end
        return wanted.items() <= episode.labels and all(0 <= one <= max(slack, self.slack) for one in late)


def differences(sites: Sequence[Site], watch: Watch, expected: Iterable[Expected]) -> str:
    """What fires and should not, and what should and does not, a line each; "" when all is as expected."""
    return "\n".join(_differences(_episodes(sites, watch), watch, list(expected)))


def _episodes(sites: Sequence[Site], watch: Watch) -> set[Episode]:
    """Everything that fires by the shipped rules while the exporter watches these workspaces, but for the Watchdog."""
    groups = list(shipped_groups())
    metrics = frozenset(needed_by_alerts(groups))
    place = IN_MEMORY if IN_MEMORY.is_dir() else None
    with TemporaryDirectory(dir=place) as name, ProcessPoolExecutor(CORES, get_context("spawn")) as pool:
        folder = Path(name)
        lives = [pool.submit(simulate, site, watch, metrics, folder) for site in sites]
        series = [one for life in lives for one in life.result()]
        halves = parts(without_what_only_dashboards_read(groups), CORES)
        verdicts = [pool.submit(judge, half, series, watch, folder / str(number)) for number, half in enumerate(halves)]
        return {episode for verdict in verdicts for episode in verdict.result()}


def _differences(episodes: Iterable[Episode], watch: Watch, left: list[Expected]) -> Iterator[str]:
    for episode in sorted(episodes, key=lambda one: one.begin):
        if fitting := next((one for one in left if one.fits(episode, watch.slack)), None):
            left.remove(fitting)
        else:
            yield f"fired: {_moment(episode.begin)} to {_moment(episode.end)} {sorted(episode.labels)}"
    for one in left:
        yield f"expected: {_moment(one.begin)} to {_moment(one.end)} {one.alert} {one.severity} {dict(one.labels)}"


def _moment(instant: float) -> str:
    """As the tables write it: day, hours and minutes since the month began."""
    seconds = instant - BEGIN
    return f"day {seconds // DAY:.0f} {seconds % DAY // HOUR:02.0f}:{seconds % HOUR / MINUTE:04.1f}"
