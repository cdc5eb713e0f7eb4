"""What was promised, what was kept, and what is left of the budgets of failed runs."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import statushistory
from grafana_foundation_sdk.models import common as shape
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import statushistory as history

from grafana.src import states, variables
from grafana.src.colours import BAD, COUNT_IS_BAD, COUNT_IS_WATCHED, GOOD, PLAIN, SUCCESS, WATCH, Steps
from grafana.src.fields import with_room, with_steps_drawn
from grafana.src.kpis import kpi_table
from grafana.src.layout import band, board
from grafana.src.panels import finished, lines, now, over_time, ranking, stats
from grafana.src.promql import (
    DAYS,
    PAIR,
    at_end,
    bars,
    chosen,
    grown,
    highest,
    lately,
    merged,
    named,
    of_pairs,
    or_zero,
    total,
)
from grafana.src.tables import PAIR as PAIR_COLUMNS
from grafana.src.tables import Column, rows, table

OUTCOMES: Final = "prefect_flow_run_outcomes_total"
JUDGED: Final = f'state=~"{states.JUDGED}"'
BROKEN: Final = f'state=~"{states.BAD}"'
BUDGET_LEFT: Final[Steps] = ((None, BAD), (0.0, WATCH), (1.0, GOOD))
OVERDUE: Final[Steps] = ((None, PLAIN), (0.001, WATCH), (3600.0, BAD))
SHARE_USED: Final[Steps] = ((None, GOOD), (0.5, WATCH), (1.000001, BAD))
CRITICALITY: Final = {"critical": ("critical", WATCH), "standard": ("standard", PLAIN), "low": ("low", PLAIN)}


def _window(*matchers: str) -> str:
    """Runs of the SLO's own window, by result: exact, from the ledger."""
    return merged(lately(of_pairs("prefect_flow_run_window_runs", 'window="slo"', *matchers)), "result")


def _runs() -> str:
    return total(_window(), by=PAIR)


def _failed() -> str:
    return total(_window('result="bad"'), by=PAIR)


def _good() -> str:
    return total(_window('result="good"'), by=PAIR)


def _budget(which: str) -> str:
    return merged(of_pairs(f"flow_deployment:prefect_slo_budget_runs:{which}"))


def _used() -> str:
    """Share of the budget that is gone: 1 is all of it."""
    return f"{_failed()} / on ({PAIR}) {_budget('allowed')}"


def _declared(name: str) -> str:
    return merged(lately(of_pairs(f"prefect_slo_{name}")))


def _firing(alert: str) -> str:
    firing = of_pairs("ALERTS", f'alertname="{alert}"', 'alertstate="firing"')
    return or_zero(f"count({chosen(merged(firing))})")


def _spent() -> model.Panel:
    return stats(
        "Budgets spent",
        "Pipelines with more failed runs than their objective allows. Above 0: stop changing them, and mend what fails "
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
        "data, then see below whether no run started or all of them failed.",
        now(_firing("PrefectNotSucceeded")),
        steps=COUNT_IS_BAD,
    )


def _overall() -> model.Panel:
    return stats(
        "Success rate",
        "Runs that completed, of all in the pipelines' own windows (30 days unless declared). Below the objective: "
        "the table shows which pipelines take it down.",
        now(f"sum({chosen(_good())}) / sum({chosen(_runs())})"),
        unit="percentunit",
        decimals=1,
        steps=SUCCESS,
    )


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
        "objective is broken. An objective that is never met is a wish: lower it, or mend the pipeline.",
        rows(chosen(merged(of_pairs("flow_deployment:prefect_pipeline_info:highest"), "criticality", "team"))),
        rows(chosen(_declared("objective_ratio"))),
        rows(chosen(f"{_good()} / {_runs()}")),
        rows(chosen(_runs())),
        rows(chosen(_failed())),
        rows(chosen(_budget("allowed"))),
        rows(chosen(_budget("left"))),
        columns=(
            *PAIR_COLUMNS,
            Column("criticality", "Criticality", width=110, texts=CRITICALITY),
            Column("team", "Team", width=150),
            Column("Value #B", "Objective", unit="percentunit", decimals=1, width=100),
            Column("Value #C", "Actual", unit="percentunit", decimals=1, width=100),
            Column("Value #D", "Runs", unit="short", width=90),
            Column("Value #E", "Failed", unit="short", width=90),
            Column("Value #F", "May fail", unit="short", width=90),
            Column("Value #G", "Budget left, runs", unit="short", width=160, steps=BUDGET_LEFT),
        ),
        sort="Budget left, runs",
        descending=False,
    )


def _by_day() -> model.Panel:
    good = total(bars(OUTCOMES, f'state=~"{states.COMPLETED}"', labels=("state",)), by=PAIR)
    judged = total(bars(OUTCOMES, JUDGED, labels=("state",)), by=PAIR)
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
        "Success by day",
        "Of the outcomes of a day, how many completed; empty where nothing ended. A column of bad days is a shared "
        "cause, such as the warehouse; a row of them is one pipeline to mend. A run that failed and was retried "
        "counts as both.",
        [over_time(named(chosen(f"{good} / ({judged} > 0)")), "{{pipeline}}")],
        unit="percentunit",
        decimals=0,
        steps=SUCCESS,
        step=DAYS,
        last="30d",
    )
    if isinstance(panel.options, history.Options):
        panel.options.per_page = 0  # or there are buttons for a single page; the builder takes no 0
    return panel


def _freshness() -> model.Panel:
    completed = merged(
        lately(of_pairs("prefect_flow_run_last_outcome_timestamp_seconds", f'state=~"{states.COMPLETED}"'))
    )
    unmet = f"time() - min by ({PAIR}) ({of_pairs('prefect_deployment_unmet_due_timestamp_seconds')})"
    stale = f"time() - {completed} - on ({PAIR}) {_declared('max_staleness_seconds')}"
    due = merged(of_pairs("prefect_deployment_next_due_timestamp_seconds"))
    usual = merged(lately(of_pairs("prefect_flow_run_duration_baseline_seconds", 'window="30d"')))
    return table(
        "Freshness",
        "How old the last success is, and what is due. Overdue: it is older than declared, or a start has passed and "
        "nothing completed since; see whether the deployment is paused, then Workers and queues. Without a next start: "
        "paused, or no schedule.",
        rows(chosen(f"time() - {completed}")),
        rows(chosen(_declared("max_staleness_seconds"))),
        rows(chosen(f"({stale} > 0 or {unmet})")),
        rows(chosen(f"1000 * {due}")),
        rows(chosen(usual)),
        rows(chosen(_declared("max_duration_seconds"))),
        columns=(
            *PAIR_COLUMNS,
            Column("Value #A", "Last success, ago", unit="s", decimals=1, width=160),
            Column("Value #B", "May be old", unit="s", decimals=1, width=120),
            Column("Value #C", "Overdue for", unit="s", decimals=1, width=140, steps=OVERDUE),
            Column("Value #D", "Next start", unit="dateTimeFromNow", width=150),
            Column("Value #E", "Usual duration", unit="s", decimals=1, width=140),
            Column("Value #F", "May take", unit="s", decimals=1, width=120),
        ),
        sort="Overdue for",
    )


def _share_used() -> model.Panel:
    return ranking(
        "Budget used",
        "Failed runs as a share of those that the objective allows in its window: above 100 % it is broken. The ten "
        "pipelines that used most; mend from the top.",
        now(f"sort_desc({named(highest(f'({chosen(_used())}) > 0'))})", "{{pipeline}}"),
        unit="percentunit",
        decimals=0,
        steps=SHARE_USED,
    )


def _burn() -> model.Panel:
    broken = total(grown(OUTCOMES, BROKEN, labels=("state",), window="7d"), by=PAIR)
    judged = total(grown(OUTCOMES, JUDGED, labels=("state",), window="7d"), by=PAIR)
    allowed = f"(1 - {merged(at_end(of_pairs('prefect_slo_objective_ratio')))})"
    failed = merged(at_end(of_pairs("prefect_flow_run_window_runs", 'window="slo"', 'result="bad"')))
    used = f"{failed} / on ({PAIR}) {merged(at_end(of_pairs('flow_deployment:prefect_slo_budget_runs:allowed')))} > 0"
    panel = lines(
        "Burn rate",
        "The failed share of the last seven days against the share that the objective allows: at 1 the budget lasts "
        "just as long as its window, at 4 a week of a month. The five pipelines that used most. Rising: stop and "
        "look.",
        over_time(
            named(f"({broken} / {judged}) / on ({PAIR}) {allowed}\nand on ({PAIR}) {highest(chosen(used), 5)}"),
            "{{pipeline}}",
        ),
        steps=((None, PLAIN), (1.0, BAD)),
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
        variables=variables.of_pipelines(),
        since="now-30d",
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
            band(10, (_by_day(), 24), heading="How it went, day by day"),
            band(9, (_share_used(), 12), (_burn(), 12)),
            band(13, (_freshness(), 24), heading="Freshness"),
            band(31, (kpi_table(), 24), heading="30 days"),
        ],
    )
