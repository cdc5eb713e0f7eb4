"""The state that survives restarts, and the only place that changes it: each change is one transaction.

A ledger belongs to one Prefect API and to one process at a time. Its memory has what was last committed. The SQL is in
the modules of each subject.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from prefect_monitoring.counting.flow_runs import Known
from prefect_monitoring.ledger import action_rows, flow_run_rows, name_rows, reconciliation, task_run_rows, trend_rows
from prefect_monitoring.ledger import backfill_journal as journal
from prefect_monitoring.ledger.daily_counts import write_daily_counts
from prefect_monitoring.ledger.dialect import Database
from prefect_monitoring.ledger.errors import LedgerError
from prefect_monitoring.ledger.outbox import Outbox
from prefect_monitoring.ledger.retention import Keep, prune
from prefect_monitoring.ledger.rollup_rows import write_last_outcomes, write_rollups
from prefect_monitoring.ledger.run_quantiles import run_quantiles
from prefect_monitoring.ledger.run_stats import run_stats
from prefect_monitoring.ledger.schedule_rows import load_schedules, passed_schedules, write_schedules
from prefect_monitoring.ledger.series_rows import load_series, load_values, touch_series, write_series, write_values
from prefect_monitoring.ledger.sql import read_meta, write_meta
from prefect_monitoring.ledger.state import State
from prefect_monitoring.ledger.stored_cursors import as_json
from prefect_monitoring.ledger.unreadable_rows import delete_unreadable, load_unreadable, write_unreadable
from prefect_monitoring.ledger.unresolved_failures import release_failures, unresolved_failures
from prefect_monitoring.model.actions import Acting, Action, action_key
from prefect_monitoring.model.changes import Changes, KnownRun, KnownTaskRun, Schedule, SeriesKey
from prefect_monitoring.model.counted_metrics import COUNTED_METRICS, CountedMetric
from prefect_monitoring.model.cursor import FLOW_RUNS, Cursor
from prefect_monitoring.model.names import Names
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.run_quantiles import RunQuantiles
from prefect_monitoring.model.run_stats import FailureKey, RunStats, UnresolvedFailures
from prefect_monitoring.model.series import Bounds, Series, advance
from prefect_monitoring.model.unreadable import Unreadable


class Ledger(State):
    """Its owner calls one method at a time. When the file fails, a method raises LedgerError and changes nothing.

    During a backfill it also records when each series moved; with an `outbox`, also what a sink has to deliver.
    """

    def __init__(
        self, database: Database, bounds: Bounds, metrics: Mapping[str, CountedMetric] = COUNTED_METRICS
    ) -> None:
        super().__init__(bounds, metrics)
        self._database = database
        self._recorder: journal.Recorder | None = None
        self.outbox: Outbox | None = None

    @property
    def name(self) -> str:
        """The name in messages."""
        return self._database.name

    def close(self) -> None:
        self._database.close()

    def bytes_used(self) -> int:
        return self._database.bytes_used()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._database.engine.begin() as connection:
                yield connection
        except DatabaseError as error:
            fault = self._database.explain(error)
            self.fault = str(fault)
            raise fault from error

    def known(self, run_ids: Collection[str]) -> Known:
        """The known runs among `run_ids`, and which of their terminal states are counted."""
        with self.transaction() as connection:
            runs, counted = flow_run_rows.known_runs(connection, run_ids, self.pipelines_by_id)
        return Known(runs, frozenset(counted), self.cursor.horizon)

    def pipelines_of(self, run_ids: Collection[str]) -> dict[str, Pipeline | None]:
        """The pipeline of each known flow run among `run_ids`; None for runs that the filters exclude."""
        if not run_ids:
            return {}
        with self.transaction() as connection:
            numbers = flow_run_rows.pipeline_numbers(connection, run_ids)
        return {run_id: self.pipelines_by_id.get(number) if number else None for run_id, number in numbers.items()}

    def known_task_runs(self, run_ids: Collection[str]) -> dict[str, KnownTaskRun]:
        """The known task runs among `run_ids`, by id."""
        if not run_ids:
            return {}
        with self.transaction() as connection:
            return task_run_rows.known_task_runs(connection, run_ids)

    def counted_lines(self, log_ids: Collection[str]) -> set[str]:
        """Which of `log_ids` are counted."""
        if not log_ids:
            return set()
        with self.transaction() as connection:
            return task_run_rows.counted_lines(connection, log_ids)

    def known_points(self, metric: str) -> set[str]:
        """The ids of the trend points that this metric counted."""
        with self.transaction() as connection:
            return trend_rows.known_points(connection, metric)

    def settle_points(self, metric: str, present: Collection[str], now: float, kept: float) -> None:
        """Forgets the points of this metric that have not been `present` in their store for `kept` seconds."""
        with self.transaction() as connection:
            trend_rows.settle_points(connection, metric, present, now, kept)

    def run_stats(
        self, pipelines: Collection[Pipeline], now: float, slo_windows: Mapping[Pipeline, float] | None = None
    ) -> dict[Pipeline, RunStats]:
        """The run statistics of `pipelines`; `slo_windows`: the lengths of their SLO windows, in seconds."""
        numbers = {self.pipeline_ids[pipeline]: pipeline for pipeline in pipelines if pipeline in self.pipeline_ids}
        with self.transaction() as connection:
            return run_stats(connection, numbers, now, slo_windows or {})

    def unresolved_failures(self, since: float) -> dict[Pipeline, UnresolvedFailures]:
        """The unresolved failures of each pipeline that has any, of runs that ended after `since`."""
        with self.transaction() as connection:
            return unresolved_failures(connection, self.pipelines_by_id, since)

    def release_failures(self, failures: Collection[FailureKey]) -> None:
        """Ends the hold of failures that have been shown long enough."""
        if failures:
            with self.transaction() as connection:
                release_failures(connection, failures)

    def run_quantiles(self, pipelines: Collection[Pipeline], now: float) -> dict[Pipeline, RunQuantiles]:
        """The quantiles of `pipelines` that the ledger knows."""
        numbers = {self.pipeline_ids[pipeline]: pipeline for pipeline in pipelines if pipeline in self.pipeline_ids}
        if not numbers:
            return {}
        with self.transaction() as connection:
            return run_quantiles(connection, numbers, now)

    def ended_by_kind(self, source: str, low: float, high: float) -> dict[str, int]:
        """How many runs ended within [low, high] according to the ledger, by the `kind` of the record."""
        with self.transaction() as connection:
            return reconciliation.ended_by_kind(connection, source, low, high)

    def mark_gone(self, source: str, low: float, high: float, present: Collection[str]) -> int:
        """Marks the runs that ended within [low, high] but are no longer `present`; returns how many.

        A marked run that is back, as after a restore of the server's database, loses the mark.
        """
        with self.transaction() as connection:
            changed, count = reconciliation.mark_gone(connection, source, low, high, present)
            numbers = reconciliation.pipelines_with(connection, changed)
        self.touched |= {self.pipelines_by_id[number] for number in numbers if number in self.pipelines_by_id}
        return count

    def commit(self, changes: Changes, cursor: Cursor | None, now: float, source: str = FLOW_RUNS) -> None:
        """Applies a batch from `source` and, with it, how far it was read.

        Series of a source's baseline are released at once.
        """
        if cursor is not None:  # made before the page was read: what was pruned since stays pruned
            cursor = replace(cursor, horizon=max(cursor.horizon, self.cursors[source].horizon))
        cursors = {**self.cursors, source: cursor or self.cursors[source]}
        moved = advance(self.series, changes, self.bounds, released=not self.cursors[source].baseline_complete)
        pipelines = {run.pipeline for run in changes.runs.values() if run.pipeline is not None}
        pipelines |= {pipeline for pipeline, _ in (*changes.rollups, *changes.last_outcomes)}
        with self.transaction() as connection:
            created = name_rows.new_pipelines(connection, pipelines - self.pipeline_ids.keys())
            numbers = {one: created.get(one) or self.pipeline_ids[one] for one in pipelines}
            flow_run_rows.write_runs(connection, changes, numbers, is_baseline=not self.cursor.baseline_complete)
            write_rollups(connection, changes, numbers)
            write_last_outcomes(connection, changes, numbers)
            known = self.pipeline_ids | created
            due = {one: known.get(self.names.pipeline_of_deployment(one), 0) for one in changes.due}
            schedules = passed_schedules(connection, self.schedules, changes.due, due)  # with completions of this batch
            write_daily_counts(connection, changes.moments)
            write_series(connection, moved, now)
            task_run_rows.write_task_runs(connection, changes)
            task_run_rows.write_lines(connection, changes)
            trend_rows.write_points(connection, changes.points)
            write_values(connection, changes.values)
            write_schedules(connection, schedules)
            recorded = self._recorder.write(connection, changes.moments) if self._recorder else {}
            if self.outbox is not None and self.cursors[source].baseline_complete:
                self.outbox.add_changes(connection, changes, now)
            if cursor is not None:
                write_meta(connection, cursors=as_json(cursors))
        if cursor is not None or moved or changes.runs:  # writing nothing succeeds even on a full disk
            self.fault = ""
        self.remember_pipelines(created)
        self.remember_series(moved)
        self.schedules.update(schedules)
        if self._recorder:
            self._recorder.ids.update(recorded)
        self.count_folded(changes)
        self.values.update(changes.values)
        self.touched |= pipelines | changes.moved
        self.cursors = cursors

    def store_names(self, names: Names, zero_born: Collection[SeriesKey], now: float) -> None:
        """Stores names and the `zero_born` series of them. An id with another name stands for that name from now on."""
        moved = advance(
            self.series, Changes(zero_born=set(zero_born)), self.bounds, released=not self.cursor.baseline_complete
        )
        if names == self.names and not moved:
            self.names = names  # equal in what the ledger keeps, newer in what it does not
            return
        # Their time to live begins now, not with their last increment.
        dead = self.names.live_pipelines() - names.live_pipelines()
        with self.transaction() as connection:
            name_rows.write_names(connection, self.names, names, now)
            write_series(connection, moved, now)
            touch_series(connection, [key for key in self.series if key.pipeline in dead] if dead else (), now)
        self.names = names
        self.remember_series(moved)

    def store_actions(self, actions: Sequence[Action], now: float) -> None:
        """Writes actions, counts those that end with it, and queues their events."""
        with self.transaction() as connection:
            changes = Changes()
            ended = action_rows.newly_ended(connection, actions)
            for action in ended:
                changes.count(action_key(action.pipeline, action.kind, action.result), now)
            action_rows.queue_events(connection, ended)
            moved = advance(self.series, changes, self.bounds, released=not self.cursor.baseline_complete)
            action_rows.write_actions(connection, actions)
            write_series(connection, moved, now)
        self.remember_series(moved)
        self.touched |= {action.pipeline for action in actions}

    def change_acting(self, change: Callable[[Acting], Acting]) -> Acting:
        """Applies `change` to whether actions are allowed, as the ledger has it: another process may have set it."""
        with self.transaction() as connection:
            return action_rows.change_acting(connection, change)

    def events_due(self, count: int) -> list[Action]:
        """Up to `count` of the actions whose event is to be sent, in the order in which they ended."""
        with self.transaction() as connection:
            return action_rows.events_due(connection, count)

    def drop_events(self, action_ids: Collection[str]) -> None:
        """Removes the events of these actions from the queue: sent, or no longer wanted."""
        with self.transaction() as connection:
            action_rows.drop_events(connection, action_ids)

    def failed_since(self, since: float) -> list[KnownRun]:
        """Runs whose last state is failed or crashed and that ended after `since`."""
        with self.transaction() as connection:
            return flow_run_rows.failed_since(connection, since, self.pipelines_by_id)

    def store_schedules(self, schedules: Mapping[str, Schedule]) -> None:
        """Stores what is known of these deployments' schedules."""
        if schedules:
            with self.transaction() as connection:
                write_schedules(connection, schedules)
            self.schedules.update(schedules)

    def store_unreadable(self, records: Collection[Unreadable], over: Collection[tuple[str, str]]) -> None:
        """Stores records that could not be read, and removes those that are `over`, by cursor and id."""
        if not records and not over:
            return
        with self.transaction() as connection:
            write_unreadable(connection, records)
            delete_unreadable(connection, over)
        self.unreadable.update({(one.cursor, one.id): one for one in records})
        for key in over:
            self.unreadable.pop(key, None)

    def store_pipelines_file(self, text: str) -> None:
        """Keeps the last good pipelines file."""
        with self.transaction() as connection:
            write_meta(connection, pipelines_file=text)
        self.pipelines_file = text

    def store_plan(self, plan: journal.Plan | None) -> None:
        """Begins or continues a backfill; with None, ends it and deletes its journal."""
        with self.transaction() as connection:
            write_meta(connection, backfill=asdict(plan) if plan else None)
            if plan is None:
                journal.forget(connection)
            recorded = journal.recorded_series(connection)
        self.plan = plan
        self._recorder = journal.Recorder(plan.step, recorded, self.recorded) if plan else None

    def begin_serving(self) -> None:
        """Ends a backfill: from now on the counters are live. LedgerError unless the backfill has loaded everything."""
        if self.plan is not None and not self.plan.loaded:
            raise LedgerError(
                f"The ledger {self.name} belongs to a backfill that was cut short: run the same `prefect-monitoring"
                " backfill` again, it goes on where it stopped; to do without a past, point ledger_url at a new file"
            )
        if self.plan is not None:
            self.store_plan(None)

    def release(self, keys: Collection[SeriesKey], now: float) -> None:
        """Ends the birth hold of `keys`. Committed before it is exposed: else a crash would look like a reset."""
        moved = {key: replace(self.series[key], released=True) for key in keys if key in self.in_birth_hold}
        if moved:
            self._move_series(moved, now)

    def replace_values(self, values: Mapping[SeriesKey, float], now: float) -> None:
        """Replaces values by equal ones that were summed in another order."""
        self._move_series({key: replace(self.series[key], value=value) for key, value in values.items()}, now)

    def prune(self, now: float, *, keep: Keep, live: Collection[Pipeline]) -> None:
        """Deletes what is no longer needed, but nothing that an unread end could still concern."""
        with self.transaction() as connection:
            forgotten = prune(connection, self, now, keep, live)
            write_meta(connection, cursors=as_json(forgotten.cursors))
        self.forget(forgotten)

    def load(self) -> None:
        """Reads names, pipelines and series into memory."""
        with self.transaction() as connection:
            self.names = name_rows.load_names(connection)
            self.remember_pipelines(name_rows.load_pipelines(connection))
            self.remember_series(load_series(connection))
            self.values = load_values(connection)
            self.schedules = load_schedules(connection)
            self.unreadable = load_unreadable(connection)
            stored = read_meta(connection)
            recorded = journal.recorded_series(connection)
        self.pipelines_file = stored.get("pipelines_file")
        if plan := stored.get("backfill"):
            self.plan = journal.Plan(**plan)
            self._recorder = journal.Recorder(self.plan.step, recorded, self.recorded)
        self.touched = set(self.pipeline_ids)

    def _move_series(self, moved: Mapping[SeriesKey, Series], now: float) -> None:
        with self.transaction() as connection:
            write_series(connection, moved, now)
        self.remember_series(moved)
