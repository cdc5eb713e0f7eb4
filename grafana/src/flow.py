"""One flow and its deployments: current state, history, changes."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from grafana.src import flow_durations, ratios, states, variables
from grafana.src.alerts import firing_alerts
from grafana.src.annotations import critical_alerts
from grafana.src.colours import AGAINST_OBJECTIVE, ANY_IS_BAD, BAD, CALM, GOOD, LOST, RETRYING, STATES, WATCH
from grafana.src.fields import changed, coloured, in_colour, when_empty
from grafana.src.flow_now import live_state
from grafana.src.joins import with_failed_run, with_prefect_url
from grafana.src.layout import band, board
from grafana.src.links import to_failed_run
from grafana.src.panels import columns, history, lines, now, over_time, ranking
from grafana.src.promql import (
    BY_PIPELINE,
    DAYS,
    HOURS,
    bars,
    known,
    lately,
    merged,
    named,
    of_pipelines,
    or_none,
    total,
)
from grafana.src.tables import Column, rows, table

_OUTCOMES = "prefect_flow_run_outcomes_total"


def _run_statistics() -> model.Panel:
    def gauge(metric: str, *matchers: str) -> str:
        return merged(lately(of_pipelines(metric, *matchers)))

    last = merged(lately(of_pipelines("prefect_flow_run_last_outcome_timestamp_seconds")), "state")
    failed = merged(of_pipelines("prefect_flow_run_failing_since_timestamp_seconds"))
    statuses = (
        f"1000 * topk by ({BY_PIPELINE}) (1, {last})",
        gauge("prefect_flow_run_consecutive_failures"),
        gauge("prefect_flow_run_last_duration_seconds"),
        gauge("prefect_flow_run_duration_baseline_seconds", 'window="30d"'),
        ratios.success_by_pipeline("30d"),
        ratios.over_objective(ratios.success_by_pipeline("30d")),
        with_prefect_url(with_failed_run(f"1000 * {failed}")),
    )
    return table(
        "Where it stands",
        "A row a deployment: how it ended last, how long it took, the median and the success of 30 days, and the "
        "success against the objective. Failed: open the last failed run in Prefect.",
        *(rows(named(f"({expr})")) for expr in statuses),
        columns=(
            Column("pipeline", "Pipeline"),
            Column("state", "Last outcome", width=112, texts={name: (name, colour) for name, colour in STATES.items()}),
            Column("Value #A", "When", unit="dateTimeFromNow", width=105),
            Column("Value #B", "In a row", width=78, steps=ANY_IS_BAD),
            Column("Value #C", "Took", unit="s", width=72, decimals=1),
            Column("Value #D", "Median", unit="s", width=72, decimals=1),
            Column("Value #E", "Success", unit="percentunit", width=76, decimals=1),
            Column("Value #F", "vs. objective", unit="percentunit", width=115, decimals=1, steps=AGAINST_OBJECTIVE),
            Column("flow_run_name", "Last failed run", width=160, links=(to_failed_run(),)),
            Column("cause", "Cause", width=80),
            Column("flow_run_id", "id", hidden=True),
            Column("prefect_url", "url", hidden=True),
        ),
        sort="When",
    )


def _success() -> model.Panel:
    return ratios.success_panel(
        "Runs that completed, of those that ended well or badly; each run counts once, by its last state. Below the "
        "objective: see the causes below, then fix the most frequent one.",
        f"max({ratios.declared()})",
        lambda window: f"{total(ratios.window_runs(window, 'good'))} / ({total(ratios.window_runs(window))} > 0)",
    )


def _states() -> model.Panel:
    def ended(labels: str) -> str:
        return merged(bars(_OUTCOMES, f'state=~"{labels}"')) + " > 0"

    bad = ended(states.BAD)
    # The first that holds: a counter does not show the order within a step.
    codes = (
        f"({ended(states.COMPLETED)} and on ({BY_PIPELINE}) ({bad})) * 0 + 2",
        f"({ended(states.COMPLETED)}) * 0 + 1",
        f"({ended(states.FAILED)}) * 0 + 3",
        f"({ended(states.CRASHED)}) * 0 + 4",
        f"({ended(states.CANCELLED)}) * 0 + 5",
    )
    return history(
        "Outcomes over time",
        "How the runs of each two hours ended; a colour holds until the next run ends, a week at most. One bad piece "
        "among good ones: an accident. Bad from some time on: what changed then? See the causes below.",
        over_time(_by_deployment(f"last_over_time(({' or '.join(codes)})[8d:$__interval])"), "{{deployment}}"),
        texts={
            "1": ("completed", GOOD),
            "2": ("completed and failed", WATCH),
            "3": ("failed", BAD),
            "4": ("crashed", LOST),
            "5": ("cancelled", CALM),
        },
        step=HOURS,
    )


def _by_deployment(expr: str) -> str:
    return f'label_replace({expr}, "deployment", "without deployment", "deployment", "")'


def _by_day() -> model.Panel:
    panel = columns(
        "Runs by day",
        "How runs ended, day by day; a run that failed and was run again counts twice. A day without a bar: nothing "
        "ran, although it may have been due.",
        over_time(total(bars(_OUTCOMES), "state"), "{{state}}"),
        step=DAYS,
        last="30d",
    )
    return coloured(panel, STATES)


def _failures_by_cause() -> model.Panel:
    failures = known("prefect_flow_run_failures_total", labels=("cause",), window="30d")
    causes = f"sort_desc({total(failures, 'cause')} > 0)"
    panel = ranking(
        "Why runs failed, 30 days",
        "The failed outcomes of Runs by day, by cause, which a backfill does not bring. Timeouts and connections: the "
        "other side, or too little patience. Code and data: yours to fix. Infrastructure and memory: the worker's "
        "machine.",
        now(causes, "{{cause}}"),
        decimals=0,
    )
    return in_colour(panel, BAD)


def _retries() -> model.Panel:
    panel = columns(
        "Retries by day",
        "Attempts beyond the first: of whole runs, and of single tasks. Rising: something gets shaky before it breaks; "
        "Retries and failures shows which task.",
        over_time(or_none(total(bars("prefect_flow_run_retries_total"))), "of runs"),
        over_time(or_none(total(bars("prefect_task_run_retries_total"))), "of tasks"),
        step=DAYS,
        last="30d",
        stacked=False,
    )
    return coloured(panel, {"of runs": RETRYING, "of tasks": CALM})


def _custom_values() -> model.Panel:
    def gauge(metric: str, *labels: str) -> str:
        return merged(lately(of_pipelines(metric)), *labels)

    value = gauge("prefect_custom_metric_value", "task", "metric")
    limits = [
        f"{gauge(f'prefect_slo_metric_{end}', 'metric')} * on ({BY_PIPELINE}, metric) group_right () ({value} * 0 + 1)"
        for end in ("min", "max")
    ]
    return table(
        "Custom metrics, last values",
        "What METRIC lines in the logs reported last, and the limits that are declared. Out of its limits: look at the "
        "run's log before its data is used. More on the Custom metrics dashboard.",
        rows(value),
        *map(rows, limits),
        rows(f"1000 * {gauge('prefect_custom_metric_last_observed_timestamp_seconds', 'task', 'metric')}"),
        columns=(
            Column("deployment", "Deployment"),
            Column("metric", "Metric"),
            Column("task", "Task"),
            Column("Value #A", "Last value", unit="short", width=92),
            Column("Value #B", "At least", unit="short", width=78),
            Column("Value #C", "At most", unit="short", width=72),
            Column("Value #D", "Reported", unit="dateTimeFromNow", width=115),
        ),
        sort="Metric",
        descending=False,
        all_good="No METRIC line of this flow is known.",
    )


def _custom_by_day() -> model.Panel:
    sums, counts = (total(bars(f"prefect_custom_metric_observed_{part}"), "metric") for part in ("sum", "count"))
    panel = lines(
        "Custom metrics, mean by day",
        "The mean of what METRIC lines reported each day, on a logarithmic scale, so that small and large are seen "
        "together. A line that drops or leaps: less or more data than usual came in.",
        over_time(f"{sums} / ({counts} > 0) > 0", "{{metric}}"),
        step=DAYS,
        low=None,
        bridge=True,
    )
    changed(panel, "/.*/", custom__scaleDistribution={"type": "log", "log": 10})
    return when_empty(panel, "No METRIC line is known.")


def dashboard() -> model.Dashboard:
    return board(
        uid="prefect-flow",
        title="Flow",
        description="One flow and its deployments: what happens now, how it went, what changed.",
        variables=variables.of_one_flow(),
        annotations=[critical_alerts()],
        since="now-30d",
        bands=[
            band(5, (live_state(), 24)),
            band(5, (_run_statistics(), 24)),
            band(4, (_success(), 12), (flow_durations.means(), 12)),
            band(5, (firing_alerts(of_teams=False), 24)),
            band(4, (_states(), 24), heading="Outcomes"),
            band(7, (_by_day(), 10), (_retries(), 7), (_failures_by_cause(), 7)),
            band(8, (flow_durations.trend(), 24), heading="Duration"),
            band(4, (flow_durations.changes(), 8), (flow_durations.quantiles(), 8), (flow_durations.start_delays(), 8)),
            band(7, (flow_durations.weeks(), 12), (flow_durations.weekdays(), 12)),
            band(7, (_custom_values(), 17), (_custom_by_day(), 7), heading="Custom metrics"),
        ],
    )
