"""What the exporter costs: series, samples, disk, CPU, memory."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from grafana.src.fields import with_room
from grafana.src.panels import lines, now, over_time, ranking
from grafana.src.promql import highest, newest, of_workspaces, or_zero
from grafana.src.tables import Column, rows, table


def series() -> model.Panel:
    return ranking(
        "Series, by metric",
        "Label sets that the ledger keeps; a histogram has buckets on top. Too many for your Prometheus: "
        "exclude_flows, metrics_off, or wider buckets.",
        now(f"sort_desc({highest(newest('prefect_exporter_series', by='metric'), 8)})", "{{metric}}"),
        decimals=0,
    )


def scrapes() -> model.Panel:
    exporter = f"group by (job, instance) ({of_workspaces('prefect_exporter_build_info')})"
    return lines(
        "Samples a scrape",
        "What Prometheus stores each time. It grows with flows, deployments and tasks, and stands still otherwise; a "
        "steady climb means that names are built from data.",
        over_time(f"scrape_samples_scraped * on (job, instance) {exporter}", "{{instance}}"),
    )


def left_out() -> model.Panel:
    folded = f"increase({of_workspaces('prefect_exporter_series_folded_total')}[1h])"
    rejected = f"increase({of_workspaces('prefect_exporter_metric_lines_rejected_total')}[1h])"
    panel = lines(
        "Left out, an hour",
        "Increments counted under (other), because max_pairs or max_tasks is reached, and parts of METRIC lines that "
        "could not be read. Above 0: raise the cap, or see the exporter's log for the flow.",
        over_time(f"sum(max by (workspace, metric) ({folded}))", "counted under (other)"),
        over_time(or_zero(f"sum(max by (workspace, reason) ({rejected}))"), "METRIC parts unreadable"),
        decimals=0,
    )
    return with_room(panel, 3)


def ledger() -> model.Panel:
    return lines(
        "Ledger size",
        "On disk. It grows for the first weeks and then follows the number of runs within the lookback; a week of "
        "steep growth is a week of many runs.",
        over_time(newest("prefect_exporter_ledger_bytes"), "{{workspace}}"),
        unit="bytes",
    )


def _exporters(expr: str) -> str:
    exporter = f"group by (job, instance) ({of_workspaces('prefect_exporter_build_info')})"
    return f"{expr} * on (job, instance) {exporter}"


def memory() -> model.Panel:
    return lines(
        "Memory",
        "Resident memory of the exporter. It is bounded by series and by runs under way; growth without end is a "
        "fault worth a report.",
        over_time(_exporters("process_resident_memory_bytes"), "{{instance}}"),
        unit="bytes",
    )


def cpu() -> model.Panel:
    return lines(
        "CPU",
        "Share of one core. It follows what changes in Prefect; a steady 100 % is a first start that loads the past, "
        "or a poll interval that is too short.",
        over_time(_exporters("rate(process_cpu_seconds_total[$__rate_interval])"), "{{instance}}"),
        unit="percentunit",
        decimals=0,
    )


def versions() -> model.Panel:
    info = "prefect_exporter_build_info"
    labels = "workspace, instance, version, prefect_version, python_version"
    return table(
        "Exporters",
        "One line an exporter. Two in one workspace are replicas only while one takes over from the other: a ledger "
        "has one writer.",
        rows(f"max by ({labels}) ({of_workspaces(info)})"),
        columns=(
            Column("workspace", "Workspace"),
            Column("instance", "Instance"),
            Column("version", "Version"),
            Column("prefect_version", "Prefect"),
            Column("python_version", "Python"),
        ),
    )
