"""The exporter itself: whether its numbers are complete and current, and what they cost."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import dashboard as model

from grafana.src import exporter_costs as costs
from grafana.src import sinks, variables
from grafana.src.colours import BAD, COUNT_IS_BAD, COUNT_IS_WATCHED, GOOD, WATCH, steps
from grafana.src.fields import mapped, when_empty, with_room
from grafana.src.layout import band, board
from grafana.src.panels import columns, lines, now, over_time, stats
from grafana.src.promql import HOURS, highest, newest, of_workspaces, or_zero
from grafana.src.tables import WORKSPACE, Column, rows, table

BY_SOURCE: Final = "workspace, source"
READ_AGE: Final = steps(GOOD, (300.0, WATCH), (900.0, BAD))
UP: Final = {"0": ("down", BAD), "1": ("up", GOOD)}
READ: Final = {"0": ("failing", BAD), "1": ("reading", GOOD)}
VALID: Final = {"0": ("broken", BAD), "1": ("valid", GOOD)}


def _per_second(metric: str, *matchers: str, by: str) -> str:
    """The sum over replicas: each sends its own requests."""
    return f"sum by ({by}) (rate({of_workspaces(metric, *matchers)}[$__rate_interval]))"


def _api() -> model.Panel:
    panel = stats(
        "Prefect API",
        "Whether the API answered the last poll. Down: counters stand still and catch up by themselves; what runs "
        "now is unknown. Look at the Prefect server, then at address and key of the exporter.",
        now(f"min({newest('prefect_up')})"),
    )
    return mapped(panel, UP)


def _behind() -> model.Panel:
    return stats(
        "Counter lag",
        "How far what is counted lies behind the present; some seconds more than the poll interval is normal. Hours "
        "after a first start or a long outage: it is catching up, see Records read.",
        now(f"max({newest('prefect_exporter_source_lag_seconds', 'source=~`finished_.*`', by=BY_SOURCE)})"),
        unit="s",
        decimals=0,
        steps=steps(GOOD, (120.0, WATCH), (900.0, BAD)),
    )


def _missing() -> model.Panel:
    return stats(
        "Runs missing",
        "Finished runs that the API has and the counters have not, after reading them again. Above 0 for a quarter "
        "of an hour: the runbook of PrefectRunsMissing says what to do.",
        now(f"sum(min by (workspace, kind) ({of_workspaces('prefect_exporter_audit_missing')}))"),
        steps=COUNT_IS_BAD,
    )


def _throttled() -> model.Panel:
    grown = f"increase({of_workspaces('prefect_exporter_api_throttled_total')}[1d])"
    return stats(
        "Throttled, 1 d",
        "Requests that the API turned away, or that waited because it asked for a pause. Often: lower "
        "max_requests_per_second, or poll less often.",
        now(f"sum({grown})"),
        decimals=0,
        steps=COUNT_IS_WATCHED,
    )


def _file() -> model.Panel:
    panel = stats(
        "Pipelines file",
        "Broken: the last good one stays in force; the exporter's log names the line, and `prefect-monitoring check` "
        "does.",
        now(f"min({of_workspaces('prefect_exporter_pipelines_file_valid')})"),
    )
    return when_empty(mapped(panel, VALID), "none")


def _ledger_age() -> model.Panel:
    return stats(
        "Ledger age",
        "How long ago the ledger was created; windows longer than this are not whole. Younger than you expect: it was "
        "lost and began anew; mount its directory, and keep it.",
        now(f"time() - max({of_workspaces('prefect_exporter_ledger_created_timestamp_seconds')})"),
        unit="s",
        decimals=0,
    )


def _sources() -> model.Panel:
    seconds = "prefect_exporter_source_duration_seconds"
    mean = f"rate({of_workspaces(f'{seconds}_sum')}[15m]) / (rate({of_workspaces(f'{seconds}_count')}[15m]) > 0)"
    last = f"time() - {newest('prefect_exporter_source_last_success_timestamp_seconds', by=BY_SOURCE)}"
    return table(
        "Sources",
        "What is read of the API, each on its own: one that fails stops nothing else. Failing: the exporter's log "
        "has the reason; a 403 is a missing permission, a timeout a slow server.",
        rows(newest("prefect_exporter_source_up", by=BY_SOURCE)),
        rows(last),
        rows(newest("prefect_exporter_source_lag_seconds", by=BY_SOURCE)),
        rows(f"max by ({BY_SOURCE}) ({mean})"),
        rows(f"max by ({BY_SOURCE}) (rate({of_workspaces('prefect_exporter_records_total')}[15m])) * 60"),
        columns=(
            WORKSPACE,
            Column("source", "Source"),
            Column("Value #A", "State", width=100, texts=READ),
            Column("Value #B", "Last read, ago", unit="s", decimals=0, width=140, steps=READ_AGE),
            Column("Value #C", "Behind", unit="s", decimals=0, width=110),
            Column("Value #D", "A reading takes", unit="s", decimals=2, width=140),
            Column("Value #E", "Records a minute", unit="short", decimals=1, width=150),
        ),
        sort="Last read, ago",
    )


def _requests() -> model.Panel:
    requests = of_workspaces("prefect_exporter_api_requests_total")
    by_endpoint = _per_second("prefect_exporter_api_requests_total", by="endpoint")
    most = highest(f"sum by (endpoint) (rate({requests}[1h] @ end()))", 6)
    return lines(
        "Requests to the API, by endpoint",
        "What the exporter asks of Prefect, the six most frequent. It follows what changes, not how much there is; "
        "the ceiling is max_requests_per_second. Too much for your server: lengthen the intervals.",
        over_time(f"{by_endpoint} and on (endpoint) {most}", "{{endpoint}}"),
        unit="reqps",
    )


def _errors() -> model.Panel:
    panel = lines(
        "Requests that failed, by code",
        "429: throttled, it waits by itself. 401 and 403: key or permission. 5xx, timeout and error: the server or "
        "the way to it. Nothing here is good.",
        over_time(f"{_per_second('prefect_exporter_api_requests_total', 'code!~`2..`', by='code')}", "{{code}}"),
        over_time(or_zero(f"sum({_per_second('prefect_exporter_api_throttled_total', by='workspace')})"), "throttled"),
        unit="reqps",
    )
    return with_room(panel, 0.1)


def _lag() -> model.Panel:
    lag = newest("prefect_exporter_source_lag_seconds", 'source=~"finished_.*|log_lines"', by=BY_SOURCE)
    return lines(
        "Counter lag, by source",
        "How old the newest counted run, task run and log line may be. A climbing line: the readings cannot keep up, "
        "or fail; see Sources.",
        over_time(lag, "{{source}}"),
        unit="s",
    )


def _readings() -> model.Panel:
    buckets = of_workspaces("prefect_exporter_source_duration_seconds_bucket")
    grown = f"sum by (source, le) (rate({buckets}[15m]))"
    seconds = of_workspaces("prefect_exporter_source_duration_seconds_sum")
    most = highest(f"sum by (source) (rate({seconds}[1h] @ end()))", 5)
    return lines(
        "How long readings take, 95th percentile",
        "The five sources that take most time, over a quarter of an hour. Near source_timeout (30 s unless set) they "
        "begin to fail: give the Prefect database an eye, or the exporter more time.",
        over_time(f"histogram_quantile(0.95, {grown}) and on (source) {most}", "{{source}}"),
        unit="s",
        bridge=True,
    )


def _records() -> model.Panel:
    records = of_workspaces("prefect_exporter_records_total", 'source=~"finished_.*|log_lines"')
    return columns(
        "Records read",
        "Runs, task runs and log lines, repeated readings included, every two hours. A mountain after a start is the "
        "past being loaded; a steady one far above your runs is a too long overlap: please report it.",
        over_time(f"max by (source) (increase({records}[$__interval] offset -$__interval))", "{{source}}"),
        decimals=None,
        step=HOURS,
    )


def _audit() -> model.Panel:
    panel = lines(
        "Runs missing, by kind",
        "What the audit of closed hours found missing. It goes back to 0 by itself when the runs are read again; "
        "what stays is a fault worth a report.",
        over_time(f"min by (workspace, kind) ({of_workspaces('prefect_exporter_audit_missing')})", "{{kind}}"),
        over_time(
            f"(time() - max({of_workspaces('prefect_exporter_audit_last_success_timestamp_seconds')})) / 60",
            "minutes since the last audit",
        ),
        decimals=0,
    )
    return with_room(panel, 3)


def dashboard() -> model.Dashboard:
    return board(
        uid="prefect-exporter",
        title="Exporter",
        description="Can the numbers be trusted, and what do they cost.",
        variables=variables.of_workspaces_only(),
        since="now-24h",
        bands=[
            band(4, (_api(), 4), (_behind(), 4), (_missing(), 4), (_throttled(), 4), (_file(), 4), (_ledger_age(), 4)),
            band(14, (_sources(), 24)),
            band(8, (_lag(), 12), (_records(), 12), heading="Reading"),
            band(8, (_requests(), 12), (_errors(), 12)),
            band(8, (_readings(), 12), (_audit(), 12)),
            band(6, (sinks.sinks(), 24), heading="Sinks and archive"),
            band(7, (sinks.waiting(), 12), (sinks.errors(), 12)),
            band(11, (costs.series(), 12), (costs.scrapes(), 12), heading="What it costs"),
            band(7, (costs.left_out(), 12), (costs.ledger(), 12)),
            band(7, (costs.cpu(), 12), (costs.memory(), 12)),
            band(4, (costs.versions(), 24)),
        ],
    )
