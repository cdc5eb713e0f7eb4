"""Reads the facts of the report from the ledger, in one transaction and without Prefect's API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from prefect_monitoring.config.settings import Settings
from prefect_monitoring.counting.cardinality import Catalog
from prefect_monitoring.ledger import action_rows, daily_counts, period_rows
from prefect_monitoring.ledger.beside import reading
from prefect_monitoring.ledger.name_rows import load_names, load_pipelines
from prefect_monitoring.ledger.run_stats import run_stats
from prefect_monitoring.ledger.schedule_rows import load_schedules
from prefect_monitoring.ledger.series_rows import pipelines_counted
from prefect_monitoring.ledger.sql import batches, read_meta
from prefect_monitoring.model.actions import ActionResult, Kind
from prefect_monitoring.model.changes import Schedule, SeriesKey
from prefect_monitoring.model.counted_metrics import OUTCOMES
from prefect_monitoring.model.cursor import FLOW_RUNS
from prefect_monitoring.model.period import FailedRuns, Growth, Period, RunCounts
from prefect_monitoring.model.records import Deployment, Pipeline
from prefect_monitoring.model.run_stats import RunStats
from prefect_monitoring.model.units import DAY
from prefect_monitoring.policy.pipelines_file import PipelinesFile, parse_pipelines, read_pipelines
from prefect_monitoring.policy.resolve import Policies, Policy
from prefect_monitoring.policy.tags import shown_tags


@dataclass(frozen=True, slots=True)
class Facts:
    """What the ledger holds at the instant `at`, by pipeline unless said otherwise. Instants in epoch seconds.

    `hours` is the period of runs, failures and actions, `days` that of daily counts (`growth`, by series).
    `policies` and `stats` are those of the pipelines that exist, `runs` also has deleted and folded ones.
    `known_from`: since when runs are known; `days_from`: since when daily counts are.
    """

    at: float
    hours: Period
    days: Period
    known_from: float
    days_from: float
    live: frozenset[Pipeline]
    policies: Mapping[Pipeline, Policy]
    stats: Mapping[Pipeline, RunStats]
    schedules: Mapping[Pipeline, Schedule]
    runs: Mapping[Pipeline, RunCounts]
    runs_before: Mapping[Pipeline, RunCounts]
    failed: tuple[FailedRuns, ...]
    growth: Mapping[SeriesKey, Growth]
    growth_before: Mapping[SeriesKey, Growth]
    actions: Mapping[tuple[Pipeline, Kind, ActionResult], int]
    saved: Mapping[Pipeline, int]


def read_facts(settings: Settings, at: float, days: int) -> Facts:
    """The facts of the last `days` days in the ledger that the settings name, or in a copy of it.

    Without a pipelines file in the settings, the one in the ledger is used. Raises LedgerError; PipelinesError.
    """
    with reading(settings.ledger.ledger_url.get_secret_value()) as connection:
        return _read(connection, settings, at, days)


def _read(connection: sa.Connection, settings: Settings, at: float, days: int) -> Facts:
    meta, names, numbers = read_meta(connection), load_names(connection), load_pipelines(connection)
    hours, whole_days = Period.of_hours(at, days), Period.of_days(at, days)
    admitted = [SeriesKey(OUTCOMES, pipeline) for pipeline in pipelines_counted(connection, OUTCOMES)]
    catalog = Catalog(settings.filters, settings.labels, admitted)
    live, deployments = catalog.live_pipelines(names), catalog.live_deployments(names)
    policies = _policies(settings, meta.get("pipelines_file"), deployments, live)
    pipelines = {number: pipeline for pipeline, number in numbers.items()}
    watched = {number: pipeline for pipeline, number in numbers.items() if pipeline in live}
    windows = {pipeline: policy.window for pipeline, policy in policies.items()}
    schedules = load_schedules(connection)
    return Facts(
        at=at,
        hours=hours,
        days=whole_days,
        known_from=min(meta["created_at"], meta["cursors"][FLOW_RUNS]["horizon"]),
        days_from=meta["daily_counts_from"],
        live=frozenset(live),
        policies=policies,
        stats=run_stats(connection, watched, at, windows),
        schedules={
            pipeline: schedules[deployment.id]
            for pipeline, deployment in deployments.items()
            if deployment.id in schedules
        },
        runs=_runs(connection, pipelines, hours, at),
        runs_before=_named(period_rows.runs_within(connection, hours.before), pipelines),
        failed=tuple(period_rows.failed_within(connection, watched, hours)),
        growth=daily_counts.growth_within(connection, whole_days),
        growth_before=daily_counts.growth_within(connection, whole_days.before),
        actions=period_rows.actions_within(connection, hours),
        saved=period_rows.saved_within(connection, hours),
    )


def _runs(
    connection: sa.Connection, pipelines: Mapping[int, Pipeline], hours: Period, at: float
) -> dict[Pipeline, RunCounts]:
    """Without the failures of the last hours that the exporter is about to retry."""
    counts = period_rows.runs_within(connection, hours)
    for batch in batches(sorted(counts)):
        for number, waiting in action_rows.retries_to_come(connection, batch, at - DAY).items():
            counts[number] = counts[number].without_failures(waiting)
    return _named(counts, pipelines)


def _named(counts: Mapping[int, RunCounts], pipelines: Mapping[int, Pipeline]) -> dict[Pipeline, RunCounts]:
    return {pipelines[number]: run_counts for number, run_counts in counts.items() if number in pipelines}


def _policies(
    settings: Settings, kept: str | None, deployments: Mapping[Pipeline, Deployment], live: set[Pipeline]
) -> dict[Pipeline, Policy]:
    path = settings.policy.pipelines
    text = read_pipelines(Path(path)) if path else kept
    causes = settings.labels.known_causes
    policies = Policies(parse_pipelines(text, path or "ledger", causes) if text is not None else PipelinesFile())
    patterns = [re.compile(pattern, re.DOTALL) for pattern in settings.labels.deployment_tags]

    def tags_of(pipeline: Pipeline) -> tuple[str, ...]:
        deployment = deployments.get(pipeline)
        return shown_tags(deployment.tags, patterns, settings.labels.max_tags) if deployment else ()

    found = {pipeline: policies.of(pipeline, tags_of(pipeline)) for pipeline in live}
    return {pipeline: policy for pipeline, policy in found.items() if policy is not None}
