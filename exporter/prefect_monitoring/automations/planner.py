"""Decides which failed runs to retry before a snapshot shows them, so that a run about to be retried pages nobody.

Runs on the ledger's thread, within a poll: it only reads and writes the ledger. The controller carries it out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from prefect_monitoring.automations.fuse import Fuse, after_a_quiet_hour
from prefect_monitoring.automations.log import log_end
from prefect_monitoring.automations.retries import PATIENCE_SECONDS, plan_retries
from prefect_monitoring.ledger import action_rows
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.actions import Acting, Action, ActionResult, Kind, zero_born_action_series
from prefect_monitoring.model.changes import Changes, SeriesKey
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.units import HOUR
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.snapshot.model import ActionsReport

# How many of the newest actions the status page shows.
RECENT_ACTIONS: Final = 20
# What each rule does, by its key in the pipelines file.
KINDS: Final[Mapping[str, tuple[Kind, ...]]] = {
    "retry": (Kind.RETRY,),
    "on_failure": (Kind.PAUSE, Kind.RESUME),
    "scale": (Kind.SCALE_UP, Kind.SCALE_DOWN),
    "skip": (Kind.SKIP,),
    "unresponsive": (Kind.MARK_CRASHED,),
}


@dataclass(frozen=True, slots=True)
class Mode:
    """Whether to act (`serve --act`), only to show what would be done (`--dry-run`), or neither."""

    fuse: Fuse
    act: bool = False
    dry_run: bool = False


class Planner:
    """Decides once on each action; intentions are in the ledger when a method returns. Methods raise LedgerError."""

    def __init__(self, ledger: Ledger, mode: Mode) -> None:
        self.mode = mode
        self._ledger = ledger
        self._shown_since: float | None = None

    def plan(self, policies: Mapping[Pipeline, Policy], now: float) -> ActionsReport | None:
        """Records an intention for each failed run to retry, and returns what a snapshot shows of actions.

        The poller calls it before it publishes.
        """
        self._give_up(now)
        acting = self.acting(now)
        if acting.enabled_at is not None:
            self._create_series(policies, now)
            self._plan_retries(policies, acting.enabled_at, now)
        return self._report(now)

    def _plan_retries(self, policies: Mapping[Pipeline, Policy], enabled_at: float, now: float) -> None:
        rules = [policy.retry for policy in policies.values() if policy.retry is not None]
        if not rules:
            return
        failures = self._ledger.failed_since(max(enabled_at, now - max(rule.within for rule in rules)))
        with self._ledger.transaction() as connection:
            past = action_rows.actions_about(connection, [run.run_id for run in failures])
        wanted = list(plan_retries(failures, policies, past, enabled_at=enabled_at, now=now))
        self.record(wanted, now)

    def _report(self, now: float) -> ActionsReport | None:
        if not (self.mode.act or self.mode.dry_run):
            return None
        acting = None if self.mode.dry_run else self.acting(now)
        with self._ledger.transaction() as connection:
            recent = action_rows.latest_actions(connection, RECENT_ACTIONS)
            return ActionsReport(acting, tuple(recent), tuple(action_rows.holds(connection)))

    def acting(self, now: float) -> Acting:
        """Whether actions are allowed now. Enabled once the baseline is loaded: its failures are history."""
        if not self._ledger.cursor.baseline_complete or not (self.mode.act or self.mode.dry_run):
            return Acting()
        if self.mode.dry_run:
            self._shown_since = self._shown_since if self._shown_since is not None else now
            return Acting(enabled_at=self._shown_since)
        with self._ledger.transaction() as connection:
            withheld_at = action_rows.last_withheld_at(connection)
        return self._ledger.change_acting(
            lambda before: after_a_quiet_hour(
                replace(before, enabled_at=now) if before.enabled_at is None else before, withheld_at, now
            )
        )

    def record(self, wanted: Sequence[Action], now: float) -> list[Action]:
        """Stores the new ones of `wanted` once the fuse has admitted or withheld them, and returns them."""
        with self._ledger.transaction() as connection:
            new = action_rows.without_known(connection, wanted)
            acting = action_rows.read_acting(connection)
            spent = action_rows.spent_since(connection, max(now - HOUR, acting.fuse_from))
        if self.mode.dry_run:
            admitted = [self._shown(action, now) for action in new]
        elif acting.stopped_by_hand:
            return []
        else:
            admitted, after = self.mode.fuse.admit(new, spent, acting, now)
            if after.stopped_at is not None and acting.stopped_at is None:
                self._ledger.change_acting(lambda before: before.stopped(now, after.stopped_by))
        if admitted:
            self._ledger.store_actions(admitted, now)
        for action in admitted:
            log_end(action)
        return admitted

    def _shown(self, action: Action, now: float) -> Action:
        planned = action.result is ActionResult.PLANNED
        return replace(action, result=ActionResult.DRY_RUN, finished_at=now) if planned else action

    def _give_up(self, now: float) -> None:
        """Ends intentions that expired long ago without being carried out: their runs have failed for good."""
        with self._ledger.transaction() as connection:
            open_actions = action_rows.open_actions(connection)
        over = now - PATIENCE_SECONDS
        overdue = [action for action in open_actions if action.expires_at < over and not action.may_be_in_force]
        given_up = [
            replace(action, result=ActionResult.FAILED, reason="it was not carried out in time", finished_at=now)
            for action in overdue
        ]
        if given_up:
            self._ledger.store_actions(given_up, now)
        for action in given_up:
            log_end(action)

    def _create_series(self, policies: Mapping[Pipeline, Policy], now: float) -> None:
        zero_born = set(_zero_born_series(policies)) - self._ledger.series.keys()
        if zero_born:
            self._ledger.commit(Changes(zero_born=zero_born), None, now)


def _zero_born_series(policies: Mapping[Pipeline, Policy]) -> Iterator[SeriesKey]:
    for pipeline, policy in policies.items():
        yield from zero_born_action_series(pipeline, kinds_of(policy))


def kinds_of(policy: Policy) -> Collection[Kind]:
    """The kinds of action that the exporter may carry out for a pipeline."""
    rules = {rule for rule in KINDS if getattr(policy, rule) is not None}
    if policy.on_failure is not None and policy.on_failure.by != "exporter":
        rules.discard("on_failure")
    return [kind for rule in KINDS if rule in rules for kind in KINDS[rule]]
