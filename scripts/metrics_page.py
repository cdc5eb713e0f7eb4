"""The page docs/metrics.md: the metrics by subject, each caveat beside the metrics that it concerns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from prefect_monitoring.archive.metrics import ARCHIVE_METRICS
from prefect_monitoring.metrics import SUBJECTS
from prefect_monitoring.model.counted_metrics import COUNTED_METRICS, DEFAULT_BOUNDS, births
from prefect_monitoring.model.records import NO_FLOW
from prefect_monitoring.model.run_stats import ALL_WINDOWS, RESULTS

_HEAD: Final = "| Metric | Type | Labels | Meaning |\n| --- | --- | --- | --- |\n"

_INTRODUCTION: Final = """# Metrics

<!-- Generated from exporter/prefect_monitoring/metrics/ and scripts/metrics_page.py by `make docs`. -->

```promql
sum by (flow, deployment) (increase(prefect_flow_run_outcomes_total{state=~"failed|timed_out|crashed"}[1d]))
```

Names are the product's API. Counters end in `_total`, instants in `_timestamp_seconds`; an absent label is `""`. What
holds for all metrics is under [Conventions](#conventions).

"""

NOTES: Final[Mapping[str, str]] = {
    "Flow runs": """\
- `outcomes_total` counts entries into terminal states: a failed run that is retried from the UI and completes is one
  `failed` and one `completed` outcome. `window_runs` and `consecutive_failures` count each run once, by its last
  state. A cancelled run is neither good nor bad.
- `failures_total` counts failed outcomes, not runs.
- `duration_seconds`: from the first Running after the previous terminal state to the end. A state that was set by
  hand on a run that was over has no duration; on a run that was still Running, Prefect keeps no trace of the hand.
- Baselines are medians, so that one absurd run does not move what is usual: of each hour the median of its runs, of a
  window the median of its hours, each hour weighted by its number of runs. Of two, the lower.
- `failing_since` is the first failure after the last completed run. It stays when that run is retried by hand and fails
  again. Failures that the exporter itself retried do not count.
- `oldest_state_timestamp_seconds`: a running run is as old as its attempts since its last terminal state together,
  without the waits and pauses between them. The value jumps back when an attempt begins.
- `flow_runs` with state `late`: runs whose start passed more than a minute ago, whatever the server's services have
  recorded.
- `heartbeat_timestamp_seconds`, `unresponsive`: heartbeats come from the flow's process every 180 seconds, or as
  `PREFECT_FLOWS_HEARTBEAT_FREQUENCY` says (30 at least); the interval is learned from them. A run is unresponsive
  after three missed intervals. Time in which the exporter could not read, pauses and waits do not count. Runs that
  send no heartbeats have neither metric.
- A failed run that is deleted still counts in `consecutive_failures`, `failing_since` and the windows until a later
  run completes. `last_failure_info` disappears once the audit has noticed the deletion.
- Windows move in whole hours, the current one included: `1d` covers the last 23 to 24 hours. `30d_before` is the 30
  days before `30d`; `same_weekday` is `1d` 7, 14, 21 and 28 days ago, so that Sundays are compared with Sundays at
  any hour.
""",
    "Task runs": """\
- `task` is the name of the `@task`, without the suffix of each run; where `task_run_name` names the runs, the
  function's name. Mapped task runs are runs of one task. The placeholder of a subflow is not counted. Tasks outside
  flows have `flow=""`.
- `failures_total` counts failed attempts, also those that a retry saved, as long as the task run's log reaches
  Prefect.
- `time_share_ratio` is about the pipeline's last finished run. A retried task run counts with its running time before
  its end. Shares of parallel tasks add up to more than 1.
- Prefect writes task runs up to a minute after their end when many end at once; they are counted then.
- Servers before Prefect 3.6.22 can neither filter nor count task runs by end time: the last five minutes are read
  again with each poll, and task runs are not reconciled.
- `duration_seconds` is off by default: `metrics_on`.
""",
    "Deployments": """\
- Pausing a deployment, or switching its schedules off, cancels what was due before: `last_due` and `unmet_due` do not
  show those starts, nor after the resume.
""",
    "Work pools and queues": """\
- A worker is offline when its last heartbeat is older than three of its intervals, 90 seconds at least, whatever the
  server's services have recorded.
""",
    "Custom metrics": """\
- Names, labels and limits: [METRIC lines](#metric-lines). Metrics with names and types that you declare:
  [custom-metrics.md](custom-metrics.md).
- Prefect stores log lines some seconds late; they are counted when they arrive.
""",
    "The exporter": """\
- Compare counters only since `ledger_created_timestamp_seconds`: a lost ledger starts with a new baseline.
- `records_unreadable`: a record that cannot be read (a run without a state, a state history that the server refuses,
  a row of an unexpected shape) does not stop the others. A run counts for what its row still says, without a duration
  where that needs the history; a row that says too little is set aside. Both are tried again after 15 seconds, then
  at twice the interval up to an hour, and after a restart, and are counted once. Timestamps without an offset are
  read as UTC.
- `process_*` (CPU, memory, file descriptors) come from prometheus_client.
""",
}
"""Caveats by subject, in the order of its metrics, which they name by the ends of their names."""

_CONVENTIONS: Final = """## Conventions

- **States** are Prefect's state names in snake case; a name that Prefect does not define is shown as its type. The
  state's type decides what is good or bad: `completed`, `cached`, `skipped` and `rolled_back` are completed, `failed`
  and `timed_out` are failed.
- **New series start at 0** and show their first increment after the birth hold (option `birth_hold`), so `increase()`
  sees the first failure. What the first start loads (`lookback`; 7 days of task runs and log lines, `task_lookback`)
  is the baseline, not an increase.
- **Runs without a deployment**, subflow runs among them, have `deployment=""`. Select `deployment!=""` to leave them
  out, or `exclude_flows` to drop a flow. Runs of a deleted deployment have `deployment="(deleted)"`.
- **Deleted or renamed flows**: gauges disappear at once, counters after `series_ttl`.
- **Caps**: pipelines beyond `max_pairs`, and tasks of a pipeline beyond `max_tasks`, are counted as `(other)`.
- **Label values** (names, tags, limits, messages) have at most 500 characters: of a longer one the first 491, `~` and
  eight characters of a digest of the whole, so that two long names that begin alike stay two series.
- **Absence means 0** only for what is counted by state: `prefect_flow_runs`, `prefect_task_runs`,
  `prefect_flow_run_orphans` and `prefect_flow_runs_unresponsive` have series for what there is. To get the 0: `sum by
  (flow, deployment) (prefect_flow_runs{state="late"}) or 0 * prefect_flow_run_consecutive_failures`; to leave out
  outages: `… unless on () (prefect_up == 0)`. Counters of known pipelines start at 0.
- **When the API does not answer**, counters and what the ledger knows stay. Gauges of the live state (runs,
  deployments, pools, queues, limits, automations) disappear once stale, each by its own endpoint.
- The oldest supported server is Prefect 3.4.20.

"""

_METRIC_LINES: Final = """## METRIC lines

```python
logger = get_run_logger()
logger.info("METRIC: rows_extracted=%d", rows)
logger.info('Loaded. METRIC: rows_loaded{table="orders"}=%d rows_rejected=%d', loaded, rejected)
```

What a flow or task logs after `METRIC:` becomes `prefect_custom_metric_value` (the last value) and
`prefect_custom_metric_observed_sum` and `_count`.

- Pairs `name=value` are separated by spaces, commas or semicolons. Values are integers or floats, with sign, exponent
  or underscores; names are letters, digits and underscores. Up to five labels in braces, as in Prometheus, except
  `flow`, `deployment`, `task`, `metric` and the labels that Prometheus sets.
- A part that cannot be read does not affect the rest of its line. It is counted in
  `prefect_exporter_metric_lines_rejected_total`; the log names the flow and the reason, once.
- A pipeline has room for `max_custom_metrics` series; further ones are rejected, existing ones continue.
- Only lines that Prefect sends to its API are read (`PREFECT_LOGGING_TO_API_MIN_LEVEL`, INFO by default).
- `emit_metric` of [flows.md](flows.md) writes such lines and rejects invalid ones at once.
- Prefect on SQLite before 3.44 cannot search logs: every line is transferred and searched by the exporter, at a cost
  in proportion to what your flows log, and lines more than three minutes late are missed.

"""


def metrics_page() -> str:
    sections = [
        _section(subject, _rows((one.name, one.kind, one.labels, one.help) for one in metrics), NOTES.get(subject, ""))
        for subject, metrics in SUBJECTS.items()
    ]
    archive = _rows((one.name, one.kind, one.labels, one.help) for one in ARCHIVE_METRICS)
    served = "Served by `prefect-monitoring archive` at `archive_listen`, with `process_*` of its process.\n\n"
    sections.append(_section("Archive", archive, "", served))
    return "".join((_INTRODUCTION, *sections, _METRIC_LINES, _CONVENTIONS, _series_arithmetic()))


def _rows(metrics: Iterable[tuple[str, str, Iterable[str], str]]) -> str:
    return "".join(
        f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {text} |\n"
        for name, kind, labels, text in metrics
    )


def _section(subject: str, rows: str, notes: str, introduction: str = "") -> str:
    return f"## {subject}\n\n{introduction}{_HEAD}{rows}\n" + (f"{notes}\n" if notes else "")


def _series_arithmetic() -> str:
    zero_born = Counter(key.metric for key in births(NO_FLOW))
    histograms = {metric: len(DEFAULT_BOUNDS[metric]) + 3 for metric in zero_born if metric in DEFAULT_BOUNDS}
    lines = [
        f"- `{metric}`: {histograms[metric]} series (buckets, `+Inf`, sum, count)\n"
        if metric in histograms
        else f"- `{metric}`: {count} series{_details(metric)}\n"
        for metric, count in zero_born.items()
    ]
    return (
        "## Number of series\n\nA pipeline that has not run yet has"
        f" {sum({**zero_born, **histograms}.values())} counter series, all 0:\n\n{''.join(lines)}"
        f"\nOnce it has run, {len(ALL_WINDOWS) * len(RESULTS)} `prefect_flow_run_window_runs`, up to"
        f" {len(ALL_WINDOWS)} baselines and a few other gauges are added, and further states and causes as they"
        " occur. `prefect_exporter_series` shows the number; `metrics_off` and wider buckets reduce it.\n"
    )


def _details(metric: str) -> str:
    names = ", ".join(f"`{detail}`" for detail in COUNTED_METRICS[metric].zero_born if detail)
    return f" ({names})" if names else ""
