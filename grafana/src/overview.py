"""The overview: pipelines that need attention, today's work, and history."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import dashboard as model

from grafana.src import daily, ratios, variables
from grafana.src.alerts import firing_alerts
from grafana.src.attention import needs_attention, unknown
from grafana.src.colours import AGAINST_OBJECTIVE, BAD, CALM, COUNT_IS_BAD, DATA, GOOD, PLAIN, RUNNING, WATCH, steps
from grafana.src.fields import changed, coloured, coloured_by_state, judged, mapped
from grafana.src.joins import with_failed_run, with_policy, with_prefect_url
from grafana.src.layout import band, board
from grafana.src.links import to_failed_run
from grafana.src.panels import columns, lines, now, over_time, stats
from grafana.src.promql import (
    BY_PIPELINE,
    HOURS,
    bars,
    chosen,
    grown,
    highest,
    lately,
    merged,
    named,
    of_pipelines,
    of_workspaces,
    or_none,
    or_zero,
    total,
)
from grafana.src.tables import CRITICALITY, PIPELINE, VALUE, Column, by_criticality, rows, table

_STATUS: Final = {"failed": ("failed", BAD), "under way": ("under way", RUNNING)}


def _attention_count() -> model.Panel:
    return stats(
        "Need attention",
        "Pipelines that fail, are late, stuck, too slow or stale now; the table below names them. "
        "Unknown: the Prefect API does not answer, or the exporter is missing; see the Exporter dashboard.",
        now(or_zero(f"count({needs_attention()})", live=True)),
        steps=COUNT_IS_BAD,
    )


def _daily_flows() -> model.Panel:
    statuses = (
        ("done", daily.done()),
        ("failed", daily.failed()),
        ("under way", daily.under_way()),
        ("to come", daily.to_come()),
    )
    panel = stats(
        "Daily flows today (UTC)",
        "Deployments that run once a day or less often and have a start today. All done: nothing but done and to come. "
        "Failed ones are in the table below, with the run to open; those under way for too long as well. Unknown: the "
        "Prefect API does not answer.",
        *(now(or_zero(f"count({chosen(expr)})", live=True), name) for name, expr in statuses),
    )
    coloured(panel, {"done": GOOD, "under way": RUNNING, "to come": CALM})
    return judged(panel, "failed", COUNT_IS_BAD)


def _success() -> model.Panel:
    return ratios.success_panel(
        "Runs that completed, of those that ended well or badly; each run counts once, by its last state. The "
        "objective is the mean of those declared. Below it: see what failed most, then Retries and failures.",
        ratios.objective(),
        ratios.success,
    )


def _running() -> model.Panel:
    return stats(
        "Running",
        "Flow runs under way. Far more than usual: runs hang or pile up, see Workers and queues. Unknown: the Prefect "
        "API does not answer.",
        now(or_zero(total(chosen(_active('state=~"running|retrying|cancelling"'))), live=True)),
        steps=steps(RUNNING),
    )


def _active(*matchers: str) -> str:
    return merged(of_pipelines("prefect_flow_runs", *matchers), "work_pool", "state")


def _api() -> model.Panel:
    panel = stats(
        "Prefect API",
        "Whether Prefect's API answers the exporter, of all workspaces chosen the worst. Down: gauges of what runs "
        "now vanish, counters stand still; see the Exporter dashboard.",
        now(f"min({of_workspaces('prefect_up')})"),
    )
    return mapped(panel, {"1": ("answers", GOOD), "0": ("down", BAD)})


def _attention() -> model.Panel:
    ranked = by_criticality(with_prefect_url(with_failed_run(with_policy(needs_attention()))))
    return table(
        "Needs attention",
        "One row a pipeline, the critical ones first, with the most telling problem. Open the run or the flow's "
        "dashboard; the runbook of the alert says what to do. Limits are those of the alert rules. While the Prefect "
        "API does not answer, a row says so: what failed before is still listed, what happens meanwhile is not known.",
        rows(f"{named(ranked)}\nor {unknown()}"),
        columns=(
            Column("criticality", "Criticality", width=100, texts=CRITICALITY),
            *PIPELINE,
            Column("problem", "Problem", width=145),
            Column(VALUE, "For", unit="dtdurations", width=95, decimals=0),
            Column("cause", "Cause", width=105),
            Column("flow_run_name", "Last failed run", width=165, links=(to_failed_run(),)),
            Column("team", "Team", width=130),
            Column("flow_run_id", "id", hidden=True),
            Column("prefect_url", "url", hidden=True),
        ),
        sort="Criticality",
        descending=False,
        all_good="No problem is known. Where the count above says unknown, nobody can tell.",
    )


def _due_today() -> model.Panel:
    return table(
        "Due today and not completed (UTC)",
        "Daily flows whose start has come and which have not completed since. Failed: open the flow. "
        "Under way for longer than it usually takes: see Workers and queues.",
        rows(named(f"(1000 * {chosen(f'({daily.not_done()})')})")),
        columns=(
            *PIPELINE,
            Column("status", "Status", width=85, texts=_STATUS),
            Column(VALUE, "Due", unit="dateTimeFromNow", width=110),
        ),
        sort="Due",
        descending=False,
        all_good="Nothing is known to be due and not completed.",
    )


def _runs_by_state() -> model.Panel:
    panel = columns(
        "Runs by state",
        "Flow runs that ended, by how. Many failed at once: a shared cause, see Retries and failures. "
        "None at all: nothing starts, see Workers and queues.",
        over_time(total(chosen(bars("prefect_flow_run_outcomes_total")), "state"), "{{state}}"),
        step=HOURS,
    )
    return coloured_by_state(panel)


def _under_way() -> model.Panel:
    panel = lines(
        "Running and waiting",
        "Flow runs under way, by state. Late or pending ones that pile up: no worker takes them, see Workers and "
        "queues. Awaiting a retry: something fails, see Retries and failures.",
        over_time(total(chosen(_active()), "state"), "{{state}}"),
        fill=15,
        decimals=0,
        step="1m",
        last="6h",
    )
    return coloured_by_state(panel)


def _throughput() -> model.Panel:
    ended = "prefect_flow_run_outcomes_total"
    # The mean of a day, so that a night's batch does not hide what changed between two weeks.
    day, week_before = (
        or_none(total(chosen(grown(ended, window="1d", at=at), past=True)), "1d", at) for at in ("", " offset 7d")
    )
    panel = lines(
        "Runs per day",
        "Flow runs that ended within the 24 hours before, and a week earlier. Well below the week before: schedules "
        "are paused or nothing starts. Well above: something is run again and again.",
        over_time(day, "now"),
        over_time(week_before, "a week before"),
        step=HOURS,
        decimals=0,
        bridge=True,
    )
    coloured(panel, {"now": DATA, "a week before": CALM})
    return changed(panel, "a week before", custom__lineStyle={"fill": "dash", "dash": [6, 6]})


def _failing_most() -> model.Panel:
    most = highest(f"{chosen(ratios.window_runs('7d', 'bad'))} > 0")
    return table(
        "Failed most, 7 days",
        "Runs that failed for good, the share that completed, and how far that is from the objective. Fix the first "
        "first: open its dashboard for causes and the last failed run.",
        rows(named(most)),
        rows(named(f"({ratios.success_by_pipeline('7d')} and on ({BY_PIPELINE}) ({most}))")),
        rows(named(f"({ratios.over_objective(ratios.success_by_pipeline('7d'))} and on ({BY_PIPELINE}) ({most}))")),
        columns=(
            *PIPELINE,
            Column("Value #A", "Failed", width=70, decimals=0),
            Column("Value #B", "Success", unit="percentunit", width=80, decimals=1),
            Column("Value #C", "vs. objective", unit="percentunit", width=115, decimals=1, steps=AGAINST_OBJECTIVE),
        ),
        sort="Failed",
        all_good="No failed run is known.",
    )


def _slower() -> model.Panel:
    day, month = (
        merged(lately(of_pipelines("prefect_flow_run_duration_baseline_seconds", f'window="{window}"')))
        for window in ("1d", "30d")
    )
    most = highest(chosen(f"({day} / ({month} > 0))"))
    return table(
        "Slower than usual, 24 hours",
        "Median duration of the runs completed within a day, against that of 30 days. From 1.5 times on look at the "
        "flow's dashboard, then at Bottlenecks for the task that grew.",
        rows(named(most)),
        rows(named(f"({day} and on ({BY_PIPELINE}) ({most}))")),
        columns=(
            *PIPELINE,
            Column("Value #B", "Duration", unit="s", width=85, decimals=1),
            Column("Value #A", "Times usual", width=112, decimals=2, steps=steps(PLAIN, (1.5, WATCH), (2.0, BAD))),
        ),
        sort="Times usual",
        all_good="No run is known to have completed within a day.",
    )


def dashboard() -> model.Dashboard:
    return board(
        uid="prefect-overview",
        title="Overview",
        description="Needs attention now, whether today's work is done, and how it went.",
        variables=variables.of_all_pipelines(),
        bands=[
            band(4, (_attention_count(), 4), (_daily_flows(), 6), (_success(), 7), (_running(), 3), (_api(), 4)),
            band(8, (_attention(), 24)),
            band(7, (firing_alerts(), 14), (_due_today(), 10), heading="Today and this week"),
            band(7, (_failing_most(), 12), (_slower(), 12)),
            band(7, (_runs_by_state(), 12), (_under_way(), 12), heading="Over time"),
            band(7, (_throughput(), 24)),
        ],
    )
