"""The page docs/metrics.md: the metrics by subject, each caveat beside the metrics that it concerns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from prefect_monitoring.archive.metrics import ARCHIVE_METRICS
from prefect_monitoring.metrics import SUBJECTS
from prefect_monitoring.model.counted_metrics import DEFAULT_BOUNDS, zero_born_series
from prefect_monitoring.model.records import NO_FLOW
from prefect_monitoring.model.run_stats import ALL_WINDOWS, RESULTS

# Name, type, labels and help of a metric.
_Described = tuple[str, str, Sequence[str], str]

_INTRODUCTION: Final = """# Metrics

<!-- Generated from exporter/prefect_monitoring/metrics/ and scripts/metrics_page.py by `make docs`. -->

```promql
sum by (flow, deployment) (increase(prefect_flow_run_outcomes_total{state=~"failed|timed_out|crashed"}[1d]))
```

Metrics that end in `_total` are counters, others gauges unless marked. Braces list labels beside those of the whole
section. Rules for all metrics: [Conventions](#conventions).

"""

NOTES: Final[Mapping[str, str]] = {
    "Flow runs": """\
- `outcomes_total`: a failed run that completes after a retry from the UI counts as one `failed` and one `completed`.
  `window_runs` and `consecutive_failures` count each run once, by its last state. Cancelled runs are neither good nor
  bad.
- `duration_seconds`: a state set by hand on a finished run adds no duration.
- `duration_baseline_seconds`: the median of hourly medians, weighted by runs.
- `oldest_state_timestamp_seconds`: for running runs, earlier attempts since the last terminal state count, waits and
  pauses do not. It jumps back when an attempt begins.
- `flow_runs`: a run is `late` a minute after its expected start, whatever the server has recorded.
- `heartbeat_timestamp_seconds`, `flow_runs_unresponsive`: the exporter learns the interval
  (`PREFECT_FLOWS_HEARTBEAT_FREQUENCY`). Pauses, waits and time in which it could not read do not count as missed.
- A deleted failed run counts in `consecutive_failures`, `failing_since` and windows until a later run completes.
  `last_failure_info` disappears when the reconciliation notices the deletion.
- Windows consist of whole hours, the current one included: `1d` covers 23 to 24 hours. `30d_before` is the 30 days
  before `30d`; `same_weekday` is `1d` 7, 14, 21 and 28 days ago.
""",
    "Task runs": """\
- `task` is the name of the `@task`, or of its function where `task_run_name` is set. Mapped task runs count as one
  task; the task run of a subflow does not count. Tasks outside flows have `flow=""`.
- `failures_total`: attempts that a retry saved count only if the task run's log reaches Prefect.
- `time_share_ratio`: shares of parallel tasks add up to more than 1.
- Prefect may write task runs up to a minute late; they are counted then. Before Prefect 3.6.22 they are not
  reconciled.
- `duration_seconds` is off by default: `metrics_on`.
""",
    "Deployments": """\
- Pausing a deployment or its schedules cancels earlier due starts: `last_due` and `unmet_due` omit them, also after
  the resume.
""",
    "Work pools and queues": """\
- A worker is offline after three missed heartbeats, at least 90 seconds, whatever the server has recorded.
""",
    "Custom metrics": """\
- Syntax and limits: [METRIC lines](#metric-lines). Your own names and types: [custom-metrics.md](custom-metrics.md).
""",
    "The exporter": """\
- Compare counters only since `ledger_created_timestamp_seconds`: a new ledger starts with a new baseline.
- `records_unreadable`: retried after 15 seconds, then at doubling intervals up to an hour, and after a restart. A run
  whose history cannot be read counts without a duration.
- `process_*` (CPU, memory, file descriptors) come from prometheus_client.
""",
}
"""Caveats by subject, in the order of its metrics, which they name by the ends of their names."""

_CONVENTIONS: Final = """## Conventions

- **States** are Prefect's state names in snake case; other names are shown as the state's type. The type decides what
  is good or bad: `completed`, `cached`, `skipped` and `rolled_back` are completed, `failed` and `timed_out` failed.
- **New series start at 0** for `birth_hold`, so `increase()` sees the first failure. History that the first start
  loads (`lookback`, `task_lookback`) is the baseline, not an increase.
- **Runs without a deployment**, such as subflow runs, have `deployment=""`, those of a deleted deployment
  `deployment="(deleted)"`.
- **Deleted or renamed flows**: gauges disappear at once, counters after `series_ttl`.
- **Caps**: pipelines beyond `max_pairs`, and tasks beyond `max_tasks` per pipeline, are counted as `(other)`.
- **Label values** longer than 500 characters are cut, and end in `~` and a digest.
- **Absence means 0** only for `prefect_flow_runs`, `prefect_task_runs`, `prefect_flow_run_orphans` and
  `prefect_flow_runs_unresponsive`. To get a 0:
  `sum by (flow, deployment) (prefect_flow_runs{state="late"}) or 0 * prefect_flow_run_consecutive_failures`; to leave
  out outages: `… unless on () (prefect_up == 0)`.
- **When the API does not answer**, counters and gauges from the ledger stay. Gauges of live state (runs, deployments,
  pools, queues, limits, automations) disappear once stale, each by its own endpoint.

"""

_METRIC_LINES: Final = """## METRIC lines

```python
logger = get_run_logger()
logger.info("METRIC: rows_extracted=%d", rows)
logger.info('Loaded. METRIC: rows_loaded{table="orders"}=%d rows_rejected=%d', loaded, rejected)
```

Values become [`prefect_custom_metric_*`](#custom-metrics).

- Separate pairs `name=value` by spaces, commas or semicolons. Values are integers or floats; names are letters, digits
  and underscores. Up to five labels in braces, as in Prometheus, except `flow`, `deployment`, `task`, `metric` and
  labels that Prometheus sets.
- Invalid parts, and series beyond `max_custom_metrics` per pipeline, are counted in
  `prefect_exporter_metric_lines_rejected_total` and logged once; the rest of the line counts.
- Only lines sent to Prefect's API are read (`PREFECT_LOGGING_TO_API_MIN_LEVEL`, default INFO), some seconds late.
- `emit_metric` ([flows.md](flows.md)) writes such lines and rejects invalid ones at once.
- Prefect on SQLite before 3.44 cannot search logs: the exporter transfers every log line, and misses lines more than
  three minutes late.

"""


def metrics_page() -> str:
    sections = [
        _section(
            subject,
            [(metric.name, metric.kind, metric.labels, metric.help) for metric in metrics],
            NOTES.get(subject, ""),
        )
        for subject, metrics in SUBJECTS.items()
    ]
    archive = [(metric.name, metric.kind, metric.labels, metric.help) for metric in ARCHIVE_METRICS]
    served = "Served by `prefect-monitoring archive` at `archive_listen`, with `process_*` of its process.\n\n"
    sections.append(_section("Archive", archive, "", served))
    return "".join((_INTRODUCTION, *sections, _METRIC_LINES, _CONVENTIONS, _series_arithmetic()))


def _section(subject: str, metrics: Sequence[_Described], notes: str, introduction: str = "") -> str:
    shared = [label for label in metrics[0][2] if all(label in labels for _, _, labels, _ in metrics)]
    if shared:
        introduction += f"Labels of all: {_codes(shared)}.\n\n"
    return f"## {subject}\n\n{introduction}{_table(metrics, shared)}\n" + (f"{notes}\n" if notes else "")


def _table(metrics: Sequence[_Described], shared: Collection[str]) -> str:
    rows = "".join(
        f"| {_selector(name, labels, shared)}{_type(name, kind)} | {text} |\n" for name, kind, labels, text in metrics
    )
    return f"| Metric | Meaning |\n| --- | --- |\n{rows}"


def _selector(name: str, labels: Iterable[str], shared: Collection[str]) -> str:
    further = ", ".join(label for label in labels if label not in shared)
    return f"`{name}{{{further}}}`" if further else f"`{name}`"


def _type(name: str, kind: str) -> str:
    """The type, unless the name shows it."""
    return "" if kind == ("counter" if name.endswith("_total") else "gauge") else f" ({kind})"


def _codes(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _series_arithmetic() -> str:
    zero_born = Counter(key.metric for key in zero_born_series(NO_FLOW))
    histograms = {metric: len(DEFAULT_BOUNDS[metric]) + 3 for metric in zero_born if metric in DEFAULT_BOUNDS}
    series = {**zero_born, **histograms}
    return (
        f"## Number of series\n\nA pipeline that has not run yet has {sum(series.values())} counter series, all 0:\n"
        f"{', '.join(f'`{metric}` {count}' for metric, count in series.items())}.\n\n"
        f"Once it has run, it also has {len(ALL_WINDOWS) * len(RESULTS)} `prefect_flow_run_window_runs`, up to"
        f" {len(ALL_WINDOWS)} baselines, a few other gauges,\nand further states and causes as they occur."
        " `prefect_exporter_series` shows the number; `metrics_off` and fewer buckets reduce it.\n"
    )
