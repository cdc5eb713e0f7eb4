"""Run statistics of every live pipeline, kept between polls and updated where they may have changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.run_quantiles import RunQuantiles
from prefect_monitoring.model.run_stats import FailureKey, RunStats
from prefect_monitoring.model.units import HOUR

# With more runs in 30 days than this, one more hardly moves a quantile: such quantiles are updated hourly.
MANY_RUNS: Final = 1000
# How many of these are updated in one poll: sorting a month's runs of all pipelines at once would delay it.
RENEWED_AT_ONCE: Final = 50


class LiveRunStats:
    """Run statistics of live pipelines, updated hourly, and when a pipeline was touched or has a new SLO window.

    Unresolved failures are read each time, because they expire after `unresolved_for` seconds.
    """

    def __init__(self, unresolved_for: float) -> None:
        self.now: dict[Pipeline, RunStats] = {}
        self.held: frozenset[FailureKey] = frozenset()
        self._unresolved_for = unresolved_for
        self._settled: dict[Pipeline, RunStats] = {}
        self.quantiles: dict[Pipeline, RunQuantiles] = {}
        self._taken_at: dict[Pipeline, float] = {}
        self._hour = 0
        self._slo_windows: Mapping[Pipeline, float] = {}

    def renew(
        self, ledger: Ledger, now: float, slo_windows: Mapping[Pipeline, float], live: Collection[Pipeline]
    ) -> None:
        """Updates everything. Raises LedgerError, and then changes nothing."""
        hour = int(now // HOUR)
        known = self._settled if hour == self._hour else {}
        kept = {pipeline: one for pipeline, one in known.items() if pipeline in live}
        touched = set(ledger.touched)
        changed = dict(self._slo_windows.items() ^ slo_windows.items()).keys()
        unknown = {pipeline for pipeline in ledger.pipelines if pipeline in live and pipeline not in kept}
        outdated = unknown | ((touched | changed) & kept.keys())
        failures = ledger.unresolved_failures(now - self._unresolved_for)
        settled = kept | ledger.run_stats(outdated, now, slo_windows)
        self._renew_quantiles(ledger, now, settled.keys(), touched)
        self._settled = settled
        self.now = {pipeline: one.with_unresolved(failures.get(pipeline)) for pipeline, one in settled.items()}
        self.held = frozenset(key for one in failures.values() for key in one.held)
        ledger.touched -= touched
        self._slo_windows = slo_windows
        self._hour = hour

    def _renew_quantiles(
        self, ledger: Ledger, now: float, pipelines: Collection[Pipeline], touched: Collection[Pipeline]
    ) -> None:
        known = {pipeline: one for pipeline, one in self.quantiles.items() if pipeline in pipelines}
        moved = {one for one in touched if one in known and known[one].runs <= MANY_RUNS}
        old = sorted((self._taken_at[one], one) for one in known if self._taken_at[one] <= now - HOUR)
        due = (pipelines - known.keys()) | moved | {one for _, one in old[:RENEWED_AT_ONCE]}
        self.quantiles = known | ledger.run_quantiles(due, now)
        self._taken_at = {one: now if one in due else self._taken_at[one] for one in self.quantiles}
