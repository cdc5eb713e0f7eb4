"""Values from METRIC log lines: last values against their limits, rows per day, the curve of each metric."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import dashboard as model

from grafana.src import states, variables
from grafana.src.colours import BAD, CALM, COUNT_IS_BAD, COUNT_IS_WATCHED, GOOD, WATCH, steps
from grafana.src.fields import changed
from grafana.src.layout import band, board
from grafana.src.panels import columns, lines, now, over_time, stats
from grafana.src.promql import (
    BY_PIPELINE,
    DAYS,
    HOURS,
    at_end,
    bars,
    chosen,
    grown,
    highest,
    lately,
    named,
    of_pipelines,
    of_workspaces,
    or_none,
    or_zero,
)
from grafana.src.tables import PIPELINE_COLUMNS, Column, rows, table

VALUE: Final = "prefect_custom_metric_value"
OBSERVED: Final = "prefect_custom_metric_observed"
ONE: Final = f"{BY_PIPELINE}, task, metric"
LIMITED: Final = f"{BY_PIPELINE}, metric"
COUNTED: Final = 'metric=~"(.+_)?(rows|records)(_.+)?"'
TOLD: Final = steps(GOOD, (26 * 3600.0, WATCH), (8 * 86400.0, BAD))
VERDICT: Final = {"0": ("", GOOD), "1": ("out of limits", BAD)}

_CHOSEN: Final = ("task=~`${task:regex}`", "metric=~`${metric:regex}`")


def _series(metric: str, *matchers: str) -> str:
    return of_pipelines(metric, *_CHOSEN, *matchers)


def _limit(name: str) -> str:
    return f"max by ({LIMITED}) ({lately(of_pipelines(f'prefect_slo_metric_{name}', 'metric=~`${metric:regex}`'))})"


def _values(how: str = "max") -> str:
    return f"{how} by ({ONE}) ({lately(_series(VALUE))})"


def _beyond(how: str = "") -> str:
    """Values out of their limits; how="bool": 1 for those, 0 for other values with limits."""
    join = f"on ({LIMITED}) group_left ()"
    return f"{_values()} > {how} {join} {_limit('max')}\nor {_values('min')} < {how} {join} {_limit('min')}"


def _per_step(part: str, *matchers: str) -> str:
    return bars(f"{OBSERVED}_{part}", *_CHOSEN, *matchers)


def _out_of_limits() -> model.Panel:
    return stats(
        "Out of limits",
        "Metrics whose last value breaks a limit of the pipelines file. Above 0: the table below says which; the "
        "data behind it is suspect, whatever the run's state.",
        now(or_zero(f"count({chosen(f'({_beyond()})')})")),
        steps=COUNT_IS_BAD,
    )


def _not_observed() -> model.Panel:
    completed = lately(of_pipelines("prefect_flow_run_last_outcome_timestamp_seconds", f'state=~"{states.COMPLETED}"'))
    duration = lately(of_pipelines("prefect_flow_run_last_duration_seconds"))
    observed_at = lately(
        of_pipelines("prefect_custom_metric_last_observed_timestamp_seconds", "metric=~`${metric:regex}`")
    )
    begun = f"(max by ({BY_PIPELINE}) ({completed}) - max by ({BY_PIPELINE}) ({duration}))"
    seen = f"max by ({LIMITED}) ({observed_at})"
    late = f"({_limit('max')} or {_limit('min')}) unless {seen} >= on ({BY_PIPELINE}) group_left () {begun}"
    return stats(
        "Not reported",
        "Metrics with a limit of which the last completed run gave nothing. Above 0: did somebody take the line out, "
        "or did the task that reports it not run?",
        now(or_zero(f"count({chosen(f'({late})')})")),
        steps=COUNT_IS_WATCHED,
    )


def _metrics() -> model.Panel:
    return stats(
        "Metrics",
        "Names of metrics that flows tell, of those chosen. Far more than you know of: a flow builds names from "
        "data; give the line a label instead.",
        now(f"count(count by (metric) ({chosen(_values())}))"),
    )


def _observed_at() -> model.Panel:
    return stats(
        "Values, 24 h",
        "METRIC values that were read within a day. 0 with runs that completed: does the log reach Prefect at level "
        "INFO?",
        now(or_none(f"sum({chosen(grown(f'{OBSERVED}_count', *_CHOSEN, window='1d'))})", "1d", "")),
        decimals=0,
    )


def _rejected() -> model.Panel:
    parts = of_workspaces("prefect_exporter_metric_lines_rejected_total")
    return stats(
        "Unreadable",
        "Parts of METRIC lines that could not be read or had no room, of all flows. Above 0: the exporter's log "
        "names the flow and the reason.",
        now(or_zero(f"sum(max by (workspace, reason) (increase({parts}[1d])))")),
        decimals=0,
        steps=COUNT_IS_WATCHED,
    )


def _numbers() -> tuple[model.Panel, ...]:
    return _out_of_limits(), _not_observed(), _metrics(), _observed_at(), _rejected()


def _last_values() -> model.Panel:
    observed_at = lately(_series("prefect_custom_metric_last_observed_timestamp_seconds"))
    least, most = (f"0 * {_values()} + on ({LIMITED}) group_left () {_limit(name)}" for name in ("min", "max"))
    return table(
        "Last values",
        "What each task reported last, and the limits that are declared for it. Out of limits: look at the run's data "
        "before anybody uses it. Where a line gives labels, the greatest of its values stands here.",
        rows(chosen(_values())),
        rows(chosen(f"({least})")),
        rows(chosen(f"({most})")),
        rows(chosen(f"max by ({ONE}) ({_beyond('bool')})")),
        rows(chosen(f"time() - max by ({ONE}) ({observed_at})")),
        columns=(
            *PIPELINE_COLUMNS,
            Column("task", "Task"),
            Column("metric", "Metric"),
            Column("Value #A", "Last value", unit="short", width=92),
            Column("Value #B", "At least", unit="short", width=78),
            Column("Value #C", "At most", unit="short", width=75),
            Column("Value #D", "Verdict", width=100, texts=VERDICT),
            Column("Value #E", "Age", unit="s", decimals=0, width=85, steps=TOLD),
        ),
        sort="Verdict",
    )


def _rows_per_day() -> model.Panel:
    panel = columns(
        "Rows per day",
        "Daily sums of the metrics called rows or records, the eight largest. A weekday lower than the same one last "
        "week: ask the source first. Weekends are lower by nature.",
        over_time(
            named(f"{chosen(_per_step('sum', COUNTED))}\nand on ({ONE}) {_largest()}"),
            "{{pipeline}} {{metric}}",
        ),
        decimals=1,
        step=DAYS,
        last="30d",
    )
    if panel.field_config and panel.field_config.defaults:
        panel.field_config.defaults.no_value = "No metric here is called rows or records."
    return panel


def _largest() -> str:
    total = at_end(_series(f"{OBSERVED}_sum", COUNTED))
    return highest(f"max by ({ONE}) ({total})", 8)


def _one_metric() -> model.Panel:
    mean = f"{_per_step('sum')} / ({_per_step('count')} > 0)"
    panel = lines(
        "${metric}",
        "Mean of the values that were reported in each step, and the declared limits, dashed. Beyond them: look at the "
        "runs of that time; a slow drift towards a limit is worth a look before it gets there.",
        over_time(named(f"({chosen(f'({mean})')})"), "{{pipeline}}, {{task}}"),
        over_time(_limit_line("max"), "at most"),
        over_time(_limit_line("min"), "at least"),
        step=HOURS,
        bridge=True,
        low=None,
    )
    for legend in ("at most", "at least"):
        dashed = {"fill": "dash", "dash": [6, 6]}
        fixed = {"mode": "fixed", "fixedColor": CALM}
        changed(panel, legend, color=fixed, custom__lineStyle=dashed, custom__lineWidth=1, custom__showPoints="never")
    panel.repeat = "metric"
    panel.repeat_direction = "h"
    panel.max_per_row = 3
    panel.max_data_points = 60  # a third of the page: more would be noise
    return panel


def _limit_line(name: str) -> str:
    """One line for each distinct limit, across the whole range."""
    limits = at_end(of_pipelines(f"prefect_slo_metric_{name}", "metric=~`${metric:regex}`"))
    return f"max by (metric) ({limits})" if name == "max" else f"min by (metric) ({limits})"


def dashboard() -> model.Dashboard:
    pipelines = variables.of_all_pipelines()
    return board(
        uid="prefect-custom-metrics",
        title="Custom metrics",
        description="What flows tell in METRIC log lines, against its limits.",
        variables=[*pipelines[:4], variables.task(), variables.metric(), *pipelines[4:]],
        since="now-30d",
        refresh="5m",
        bands=[
            band(
                4,
                (_out_of_limits(), 5),
                (_not_observed(), 5),
                (_metrics(), 5),
                (_observed_at(), 5),
                (_rejected(), 4),
            ),
            band(13, (_last_values(), 24)),
            band(9, (_rows_per_day(), 24), heading="Over time"),
            band(8, (_one_metric(), 24), heading="Each metric, mean per step"),
        ],
    )
