"""Objectives, how they were met, and what is left of the budgets of failed runs."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import statushistory
from grafana_foundation_sdk.models import common as shape
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import statushistory as history

from grafana.src import ratios, states, variables
from grafana.src.colours import ANY_IS_BAD, BAD, COUNT_IS_BAD, COUNT_IS_WATCHED, GOOD, PLAIN, WATCH, steps
from grafana.src.fields import of_query, with_room, with_steps_drawn
from grafana.src.kpis import kpi_table
from grafana.src.layout import band, board
from grafana.src.panels import finished, lines, now, over_time, ranking, stats
from grafana.src.promql import (
    BY_PIPELINE,
    DAYS,
    answering,
    at_end,
    bars,
    chosen,
    grown,
    highest,
    lately,
    merged,
    named,
    of_pipelines,
    or_zero,
    total,
)
from grafana.src.tables import CRITICALITY, PIPELINE_COLUMNS, Column, by_criticality, rows, table

OUTCOMES: Final = "prefect_flow_run_outcomes_total"
JUDGED: Final = f'state=~"{states.JUDGED}"'
BROKEN: Final = f'state=~"{states.BAD}"'
BUDGET_LEFT: Final = steps(BAD, (0.0, WATCH), (1.0, GOOD), low=-1e6)
OVERDUE: Final = steps(PLAIN, (0.001, WATCH), (3600.0, BAD))
SHARE_USED: Final = steps(GOOD, (0.5, WATCH), (1.000001, BAD))
# Steps for success minus the objective: up to 10 points below it is only WATCH.
OF_A_DAY: Final = steps(BAD, (-0.1, WATCH), (0.0, GOOD), low=-1.0)


def _window(*matchers: str) -> str:
    """Runs of the SLO's own window, by result: exact, from the ledger."""
    return merged(lately(of_pipelines("prefect_flow_run_window_runs", 'window="slo"', *matchers)), "result")


def _runs() -> str:
    return total(_window(), by=BY_PIPELINE)


def _failed() -> str:
    return total(_window('result="bad"'), by=BY_PIPELINE)


def _good() -> str:
    return total(_window('result="good"'), by=BY_PIPELINE)


def _budget(which: str) -> str:
    return merged(of_pipelines(f"flow_deployment:prefect_slo_budget_runs:{which}"))


def _used() -> str:
    """The used share of the budget: 1 is all of it."""
    return f"{_failed()} / on ({BY_PIPELINE}) {_budget('allowed')}"


def _declared(name: str) -> str:
    return merged(lately(of_pipelines(f"prefect_slo_{name}")))


def _firing(alert: str) -> str:
    firing = of_pipelines("ALERTS", f'alertname="{alert}"', 'alertstate="firing"')
    return or_zero(f"count({chosen(merged(firing))})", live=True)


def _spent() -> model.Panel:
    return stats(
        "Budgets spent",
        "Pipelines with more failed runs than their objective allows. Above 0: stop changing them, and fix what fails "
        "most often first; Retries and failures has the causes.",
        now(f"sum({chosen(_budget('left') + ' < bool 0')})"),
        steps=COUNT_IS_BAD,
    )


def _nothing_left() -> model.Panel:
    return stats(
        "Budgets at 0",
        "Pipelines whose next failed run breaks their objective. Look at these before you deploy anything.",
        now(f"sum({chosen(_budget('left') + ' == bool 0')})"),
        steps=COUNT_IS_WATCHED,
    )


def _overdue() -> model.Panel:
    return stats(
        "Overdue",
        "Pipelines whose data is older than promised: PrefectNotSucceeded is firing. Above 0: tell who uses the "
        "data, then see below whether no run started or all of them failed. Unknown: the Prefect API does not answer.",
        now(_firing("PrefectNotSucceeded")),
        steps=COUNT_IS_BAD,
    )


def _overall() -> model.Panel:
    success = f"(sum({chosen(_good())}) / sum({chosen(_runs())}))"
    asked = ratios.objective()
    panel = stats(
        "Success rate",
        "Runs that completed, of all in the pipelines' own windows (30 days unless declared), judged against the mean "
        "of the objectives. Missed: the table shows which pipelines take it down.",
        now(f"{success} >= {asked}", "objective met"),
        now(f"{success} < {asked}", "objective missed"),
        unit="percentunit",
        decimals=1,
    )
    return of_query(of_query(panel, "A", GOOD), "B", BAD)


def _failed_runs() -> model.Panel:
    return stats(
        "Failed runs",
        "Runs that failed, timed out or crashed for good, in the pipelines' own windows. It falls by itself as old "
        "failures leave the window.",
        now(f"sum({chosen(_failed())})"),
    )


def _all_runs() -> model.Panel:
    return stats(
        "Runs",
        "Finished runs in the pipelines' own windows. Far fewer than usual: see Workers and queues for what does not "
        "start.",
        now(f"sum({chosen(_runs())})"),
    )


def _budgets() -> model.Panel:
    return table(
        "Objectives and budgets",
        "Budgets are counted in runs: so many may still fail in the window, and at least one always may. Below 0 the "
        "objective is broken. An objective that is never met is a wish: lower it, or fix the pipeline.",
        rows(
            by_criticality(
                chosen(merged(of_pipelines("flow_deployment:prefect_pipeline_info:highest"), "criticality", "team"))
            )
        ),
        rows(chosen(_declared("objective_ratio"))),
        rows(chosen(f"{_good()} / ({_runs()} > 0)")),
        rows(chosen(_runs())),
        rows(chosen(_failed())),
        rows(chosen(_budget("allowed"))),
        rows(chosen(_budget("left"))),
        columns=(
            *PIPELINE_COLUMNS,
            Column("criticality", "Criticality", width=100, texts=CRITICALITY),
            Column("team", "Team", width=130),
            Column("Value #B", "Objective", unit="percentunit", decimals=1, width=86),
            Column("Value #C", "Actual", unit="percentunit", decimals=1, width=75),
            Column("Value #D", "Runs", unit="short", width=70),
            Column("Value #E", "Failed", unit="short", width=65),
            Column("Value #F", "May fail", unit="short", width=78),
            Column("Value #G", "Budget left, runs", unit="short", width=145, steps=BUDGET_LEFT),
        ),
        sort="Budget left, runs",
        descending=False,
    )


def _by_day() -> model.Panel:
    broken = total(bars(OUTCOMES, BROKEN), by=BY_PIPELINE)
    judged = total(bars(OUTCOMES, JUDGED), by=BY_PIPELINE)
    asked = merged(at_end(of_pipelines("prefect_slo_objective_ratio")))
    share = f"1 - ({broken} or 0 * {asked}) / {judged}"
    builder = (
        statushistory.Panel()
        .show_value(shape.VisibilityMode.NEVER)
        .row_height(0.85)
        .col_width(0.92)
        .fill_opacity(85)
        .line_width(0)
        .color_scheme(build.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
    )
    panel = finished(
        builder,
        "Success by day, against the objective",
        "Of the outcomes of a day, the share that completed minus the objective: from 0 on it is kept. Empty where "
        "nothing ended, and without an objective. A column of bad days is a shared cause, such as the warehouse; a "
        "row of them is one pipeline to fix. A run that failed and was retried counts as both.",
        [over_time(named(chosen(f"({share} - on ({BY_PIPELINE}) {asked})")), "{{pipeline}}")],
        unit="percentunit",
        decimals=1,
        steps=OF_A_DAY,
        step=DAYS,
        last="30d",
    )
    if isinstance(panel.options, history.Options):
        panel.options.per_page = 0  # hides the buttons for a single page; the builder accepts no 0
    return panel


def _freshness() -> model.Panel:
    completed = merged(
        lately(of_pipelines("prefect_flow_run_last_outcome_timestamp_seconds", f'state=~"{states.COMPLETED}"'))
    )
    unmet = f"time() - min by ({BY_PIPELINE}) ({of_pipelines('prefect_deployment_unmet_due_timestamp_seconds')})"
    stale = f"time() - {completed} - on ({BY_PIPELINE}) {_declared('max_staleness_seconds')}"
    due = merged(of_pipelines("prefect_deployment_next_due_timestamp_seconds"))
    usual = merged(lately(of_pipelines("prefect_flow_run_duration_baseline_seconds", 'window="30d"')))
    return table(
        "Freshness",
        "How old the last success is, and what is due. Overdue: it is older than declared, or a start has passed and "
        "nothing completed since; see whether the deployment is paused, then Workers and queues. Without a next start: "
        "paused, or no schedule.",
        rows(chosen(f"time() - {completed}")),
        rows(chosen(_declared("max_staleness_seconds"))),
        rows(chosen(answering(f"({stale} > 0 or {unmet})"))),
        rows(chosen(f"1000 * {due}")),
        rows(chosen(usual)),
        rows(chosen(_declared("max_duration_seconds"))),
        columns=(
            *PIPELINE_COLUMNS,
            Column("Value #A", "Last success, ago", unit="s", decimals=1, width=150),
            Column("Value #B", "May be old", unit="s", decimals=1, width=105),
            Column("Value #C", "Overdue for", unit="s", decimals=1, width=112, steps=OVERDUE),
            Column("Value #D", "Next start", unit="dateTimeFromNow", width=105),
            Column("Value #E", "Median, 30 d", unit="s", decimals=1, width=115),
            Column("Value #F", "May take", unit="s", decimals=1, width=90),
        ),
        sort="Overdue for",
    )


def _share_used() -> model.Panel:
    return ranking(
        "Budget used",
        "Failed runs as a share of those that the objective allows in its window: above 100 % it is broken. The ten "
        "pipelines that used most; fix from the top.",
        now(f"sort_desc({named(highest(f'({chosen(_used())}) > 0'))})", "{{pipeline}}"),
        unit="percentunit",
        decimals=0,
        steps=SHARE_USED,
    )


def _burn() -> model.Panel:
    broken = total(grown(OUTCOMES, BROKEN, window="7d"), by=BY_PIPELINE)
    judged = total(grown(OUTCOMES, JUDGED, window="7d"), by=BY_PIPELINE)
    allowed = f"(1 - {merged(at_end(of_pipelines('prefect_slo_objective_ratio')))})"
    failed = merged(at_end(of_pipelines("prefect_flow_run_window_runs", 'window="slo"', 'result="bad"')))
    budget = merged(at_end(of_pipelines("flow_deployment:prefect_slo_budget_runs:allowed")))
    used = f"{failed} / on ({BY_PIPELINE}) {budget} > 0"
    panel = lines(
        "Burn rate",
        "The failed share of the last seven days against the share that the objective allows: at 1 the budget lasts "
        "just as long as its window, at 4 a week of a month. The five pipelines that used most. Rising: stop and "
        "look.",
        over_time(
            named(
                f"(({broken} or 0 * {allowed}) / {judged}) / on ({BY_PIPELINE}) {allowed}\n"
                f"and on ({BY_PIPELINE}) {highest(chosen(used, past=True), 5)}"
            ),
            "{{pipeline}}",
        ),
        steps=ANY_IS_BAD,
        step="6h",
        last="30d",
        decimals=1,
    )
    return with_room(with_steps_drawn(panel), 1.2)


def dashboard() -> model.Dashboard:
    return board(
        uid="prefect-slo",
        title="SLOs",
        description="Objectives, what was kept of them, budgets of failed runs, freshness, and 30 days day by day.",
        variables=variables.of_all_pipelines(),
        since="now-30d",
        refresh="5m",
        bands=[
            band(
                4,
                (_spent(), 4),
                (_nothing_left(), 4),
                (_overdue(), 4),
                (_overall(), 4),
                (_failed_runs(), 4),
                (_all_runs(), 4),
            ),
            band(13, (_budgets(), 24)),
            band(10, (_by_day(), 24), heading="Day by day"),
            band(9, (_share_used(), 12), (_burn(), 12)),
            band(13, (_freshness(), 24), heading="Freshness"),
            band(31, (kpi_table(), 24), heading="30 days"),
        ],
    )
