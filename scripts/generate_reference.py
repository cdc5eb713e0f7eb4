"""The reference pages, made from the code: `python -m scripts.generate_reference docs`. A test keeps them so."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Final

from prefect_monitoring.archive.metrics import ARCHIVE_METRICS
from prefect_monitoring.config.settings import (
    CONFIG_ENV,
    GROUPS,
    OPTIONS,
    Group,
    default_of,
    env_name,
    flag_name,
    notation_of,
)
from prefect_monitoring.metrics import SUBJECTS
from prefect_monitoring.model.counted_metrics import COUNTED_METRICS, DEFAULT_BOUNDS, births
from prefect_monitoring.model.records import NO_FLOW
from prefect_monitoring.model.run_stats import ALL_WINDOWS, RESULTS
from prefect_monitoring.policy.pipelines_file import PipelinesFile
from scripts.archive_page import archive_schema_page

_CONFIGURATION: Final = """# Configuration

<!-- Generated from exporter/prefect_monitoring/config/settings.py by `make docs`. -->

Every option can be given as a flag, as an environment variable and as a key of one YAML file, which `--config FILE` or
`{config_env}` names. A flag beats the environment, which beats the file. An unknown option is an error. All
errors are reported at once, each with the flag, the variable, or the file and line where the option was given.

How to reach Prefect is up to Prefect's own settings, which the exporter reads as Prefect does: `PREFECT_API_URL`
(needed), `PREFECT_API_KEY`, `PREFECT_API_AUTH_STRING`, `PREFECT_API_SSL_CERT_FILE`, `PREFECT_API_TLS_INSECURE_SKIP_VERIFY`,
`PREFECT_CLIENT_CUSTOM_HEADERS`, `PREFECT_API_REQUEST_TIMEOUT`, and profiles (`PREFECT_PROFILE`). The key and the auth
string may also stand in files, which `PREFECT_API_KEY_FILE` and `PREFECT_API_AUTH_STRING_FILE` name.

- **Durations** are numbers with units: `30s`, `15m`, `8d`, `1h30m`.
- **Patterns** are regular expressions that match a whole name. In a flag or a variable they are separated by commas;
  a pattern that holds a comma goes into the file, as a list. `^$` matches the empty name: a run without a deployment,
  or outside of pools.
- **Buckets** are ascending numbers of seconds. Other buckets are another histogram: it starts anew.
- **Secrets** have no flag, because every user of a machine can read its command lines. Each can stand in a file that
  `…_file` names, without the newline at its end. A secret that is given twice, or is empty, is an error. `ledger_url` is
  a secret when it holds a password; without one, it can be given as a flag.

```yaml
# prefect-monitoring.yml
poll_interval: 15s
ledger_url: sqlite:////var/lib/prefect-monitoring/ledger.db
exclude_flows: ["test-.*", "scratch-.*"]
failure_causes:
  - cause: quota
    pattern: warehouse credit limit
```
"""

_METRICS: Final = """# Metrics

<!-- Generated from exporter/prefect_monitoring/metrics/ by `make docs`. -->

Names are the product's API. Counters end in `_total` and never go back; instants are `_timestamp_seconds`; an absent
label is `""`. State values are Prefect's state names in snake case; a state name that Prefect does not define is shown
as its type. Each value belongs to one state type, and the type says whether a run is good or bad: `completed`, `cached`,
`skipped` and `rolled_back` are completed, `failed` and `timed_out` are failed.

What to know before you build on them:

- An **outcome** is an entry into a terminal state. A failed run that is retried from the UI and then completes is one
  `failed` and one `completed` outcome, but only one *run*: `prefect_flow_run_window_runs` and
  `prefect_flow_run_consecutive_failures` count runs, by their last state. A cancelled run is neither good nor bad.
- A **new series is born at 0** and shows its first increment one birth hold later (option `birth_hold`), so that
  `increase()` sees the first failure ever. What a first start loads is the starting level, not an increase.
- A failed run that is **deleted** still counts: the failing streak, its beginning and the windows stay as they are until a
  later run completes. `prefect_flow_run_last_failure_info` and the links to the run go, once the audit has seen it is gone.
- A **duration** runs from the first Running after the previous terminal state to the end. A state set by hand has none.
- A run that is **running** is as old as its attempts together, in `prefect_flow_run_oldest_state_timestamp_seconds`: those
  since it was last over, without the waits and pauses between them. It jumps back when an attempt begins.
- **Subflow runs** are flow runs without a deployment (`deployment=""`). To leave them out of a query, select
  `deployment!=""`; to leave out a flow altogether, use `exclude_flows`.
- Runs of a deployment whose name is gone are counted under `deployment="(deleted)"`. Gauges of a deleted or renamed flow
  vanish at once, its counters after `series_ttl`. Pairs beyond `max_pairs` are counted under `(other)`.
- When the Prefect API does not answer, counters and what the ledger knows stay; gauges of the live state (runs and task
  runs under way, deployments, pools, queues, limits, automations) vanish once stale, each by its own endpoint.
- A **task** is the name of the `@task`, without what each run adds to it, however often its code is edited; where
  `task_run_name` names the runs, it is the function's name. Mapped task runs are runs of one task, a subflow's placeholder
  is none. Tasks outside flows have `flow=""`. Tasks of one pair beyond `max_tasks` are counted under `(other)`.
- Prefect writes task runs late, up to a minute after their end when many end at once, and log lines some seconds late;
  they are counted when they come. What task runs and lines of the last 7 days (`task_lookback`) hold is the starting level.
- A server before Prefect 3.6.22 can neither choose nor count task runs by their end: there, the last five minutes are
  read again with each poll, and task runs are not audited. The oldest that is supported is Prefect 3.4.20.
- `prefect_flow_run_failures_total` counts failed outcomes, `prefect_task_run_failures_total` failed attempts: those that a
  retry saved too, as long as the task run's log reaches Prefect.
- `prefect_task_run_time_share_ratio` is about the pair's last finished run. A task run that was retried counts as its
  running time before its end. Shares of tasks that run side by side add up to more than 1.
- **Windows** move in whole hours, the running one included: `1d` covers the last 23 to 24 hours. What they are compared
  with: `30d_before` is the 30 days before those of `30d`; `same_weekday` is `1d` 7, 14, 21 and 28 days ago, so that at any
  hour Sundays are compared with Sundays. Its mean takes in the running hour as far as that has come today.
- A **pause calls off** what was due before it and not met, as does switching the schedules off: no such start is shown
  then, nor after the resume. Only what is due from then on can be missed or unmet.
- `process_*` (CPU, memory, file descriptors of the exporter) come from prometheus_client and are always there.
- **Heartbeats** come from the flow's own process, every 180 seconds unless `PREFECT_FLOWS_HEARTBEAT_FREQUENCY` says otherwise
  (30 at least). A run is unresponsive when the exporter has seen none come for three intervals; the interval is learned from
  the beats. Time in which the exporter could not read does not count, nor do pauses and waits. Runs that send none have
  neither metric.
- A run is **late** when its start has passed by more than a minute, and a **worker** is offline when its last heartbeat is
  older than three of its intervals, 90 seconds at least, whatever the server's own services have written down.
- A **record that cannot be read** (a run without a state, a state history that the server refuses, a row of an unexpected
  shape) stops no other. A run counts for what its row still says (state type, name, end), without a duration where that
  takes the history; what says too little is set aside. Both are tried again after 15 seconds, then after twice as long, up
  to an hour, and after a restart; what becomes readable is counted once. Instants without an offset are UTC.
- A **lost ledger** starts a new level: compare counters only since `prefect_exporter_ledger_created_timestamp_seconds`.

"""


_METRIC_LINES: Final = """## METRIC lines

What a flow or a task logs behind the word `METRIC:` becomes `prefect_custom_metric_value` (the last value) and
`prefect_custom_metric_observed_sum` and `_count`:

```python
logger = get_run_logger()
logger.info("METRIC: rows_extracted=%d", rows)
logger.info('Loaded. METRIC: rows_loaded{table="orders"}=%d rows_rejected=%d', loaded, rejected)
```

- Pairs `name=value` are separated by spaces, commas or semicolons. Values are integers or floats, with sign, exponent or
  underscores. Names are letters, digits and underscores. Up to five labels stand in braces, as Prometheus writes them;
  `flow`, `deployment`, `task`, `metric` and the labels that Prometheus sets itself cannot be given.
- A part that cannot be read costs no other part of its line. It is counted in
  `prefect_exporter_metric_lines_rejected_total`, and the exporter's log names the flow and the reason, once.
- A pair has room for `max_custom_metrics` series of them; what is beyond is rejected, what is there goes on.
- To give a metric its own name, type, help, buckets and labels, declare it: [custom-metrics.md](custom-metrics.md).
- `emit_metric` of [flows.md](flows.md) writes such lines, and refuses at once what could not be read.
- Log lines at the level that Prefect sends to its API (`PREFECT_LOGGING_TO_API_MIN_LEVEL`, INFO unless changed) can be read.
- The server searches its logs itself. One on SQLite before 3.44 cannot: then every line comes over and is searched here,
  which costs requests in proportion to what your flows log, and lines more than three minutes late are missed.

"""


def configuration_page() -> str:
    return _CONFIGURATION.format(config_env=CONFIG_ENV) + "".join(_group_section(group) for group in GROUPS.values())


def metrics_page() -> str:
    parts = [_METRICS]
    for subject, metrics in SUBJECTS.items():
        parts.append(f"## {subject}\n\n| Metric | Type | Labels | Meaning |\n| --- | --- | --- | --- |\n")
        parts += [
            f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} | {one.help} |\n"
            for one in metrics
        ]
        parts.append("\n")
    parts += [_archive_section(), _METRIC_LINES, _series_arithmetic()]
    return "".join(parts)


def _archive_section() -> str:
    rows = [
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} | {one.help} |\n"
        for one in ARCHIVE_METRICS
    ]
    return (
        "## Archive\n\nServed by `prefect-monitoring archive` at `archive_listen`, with `process_*` of its process.\n\n"
        f"| Metric | Type | Labels | Meaning |\n| --- | --- | --- | --- |\n{''.join(rows)}\n"
    )


def _series_arithmetic() -> str:
    born = Counter(key.metric for key in births(NO_FLOW))
    histograms = {metric: len(DEFAULT_BOUNDS[metric]) + 3 for metric in born if metric in DEFAULT_BOUNDS}
    lines = [
        f"- `{metric}`: {histograms[metric]} series (buckets, `+Inf`, sum, count)\n"
        if metric in histograms
        else f"- `{metric}`: {count} series{_details(metric)}\n"
        for metric, count in born.items()
    ]
    return (
        "## How many series\n\nEverything is per pair of flow and deployment. A pair that has done nothing yet has"
        f" {sum({**born, **histograms}.values())} counter series, all 0:\n\n{''.join(lines)}"
        f"\nOnce it has run, {len(ALL_WINDOWS) * len(RESULTS)} `prefect_flow_run_window_runs`, up to"
        f" {len(ALL_WINDOWS)} baselines and a handful of other gauges come on top; further states and causes as they"
        " happen. `prefect_exporter_series` says what there is; `metrics_off` and wider buckets make it less.\n"
    )


def _details(metric: str) -> str:
    names = ", ".join(f"`{detail}`" for detail in COUNTED_METRICS[metric].zero_born if detail)
    return f" ({names})" if names else ""


def _group_section(group: type[Group]) -> str:
    rows = [_option_row(name) for name in group.model_fields]
    head = "| Key | Flag | Environment | Default | What it does |\n| --- | --- | --- | --- | --- |\n"
    return f"\n## {group.model_config.get('title')}\n\n{group.__doc__}\n\n{head}{''.join(rows)}"


def _option_row(name: str) -> str:
    notation = notation_of(name)
    flag = f"`{flag_name(name)} {notation.metavar}`" if notation.has_flag else ""
    default = f"`{default_of(name)}`" if default_of(name) else ""
    cells = f"`{name}`", flag, f"`{env_name(name)}`", default, OPTIONS[name].description or ""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def pipelines_schema() -> str:
    """For editors: completion and checks while a pipelines file is written."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **PipelinesFile.model_json_schema()}
    return json.dumps(schema, indent=2) + "\n"


PAGES: Final = {
    "archive-schema.md": archive_schema_page,
    "configuration.md": configuration_page,
    "metrics.md": metrics_page,
    "pipelines.schema.json": pipelines_schema,
}


def main() -> None:
    folder = Path(sys.argv[1])
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
