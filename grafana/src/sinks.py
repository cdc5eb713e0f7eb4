"""Deliveries of the exporter and the archive: CloudWatch, reports, the archive."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import dashboard as model

from grafana.src.colours import ANY_IS_WATCHED, BAD, GOOD, WATCH, steps
from grafana.src.fields import when_empty, with_room
from grafana.src.panels import columns, lines, over_time
from grafana.src.promql import HOURS, lately, newest, of_workspaces
from grafana.src.tables import WORKSPACE, Column, rows, table

BY_SINK: Final = "workspace, sink"
BEHIND: Final = steps(GOOD, (900.0, WATCH), (3600.0, BAD))
# Prefect deletes runs after 7 days at the earliest, on the smallest plan of Prefect Cloud.
UNARCHIVED: Final = steps(GOOD, (86400.0, WATCH), (3 * 86400.0, BAD))
_NONE: Final = "No sink is switched on."


def _archive(metric: str) -> str:
    """Adds the label `sink` to the archive's metrics: it is a separate process, and they have none."""
    seen = f"max by (workspace) ({lately(of_workspaces(f'prefect_exporter_archive_{metric}'))})"
    return f'label_replace({seen}, "sink", "archive", "", "")'


def _waiting() -> str:
    """Seconds for which the oldest delivery, or the oldest run to archive, has been waiting."""
    unarchived = _archive("oldest_unarchived_timestamp_seconds")
    return f"{newest('prefect_exporter_sink_lag_seconds', by=BY_SINK)} or time() - {unarchived}"


def sinks() -> model.Panel:
    delivered = newest("prefect_exporter_sink_last_success_timestamp_seconds", by=BY_SINK)
    errors = f"max by ({BY_SINK}, reason) (increase({of_workspaces('prefect_exporter_sink_errors_total')}[1d]))"
    failures = f"max by (workspace, reason) (increase({of_workspaces('prefect_exporter_archive_failures_total')}[1d]))"
    archive_failed = f'label_replace(sum by (workspace) ({failures}), "sink", "archive", "", "")'
    return table(
        "Sinks and archive",
        "Where numbers and runs go besides /metrics. Waiting for long: the exporter's or the archive's log has the "
        "reason; what expires in Prefect before it is archived is lost. Refused deliveries are not tried again.",
        rows(f"time() - ({delivered} or {_archive('last_success_timestamp_seconds')})"),
        rows(_waiting()),
        rows(f"sum by ({BY_SINK}) ({errors}) or {archive_failed}"),
        columns=(
            WORKSPACE,
            Column("sink", "Sink"),
            Column("Value #A", "Last delivery, ago", unit="s", decimals=0, width=152),
            Column("Value #B", "Waiting for", unit="s", decimals=0, width=110, steps=BEHIND),
            Column("Value #C", "Errors, 24 h", unit="short", decimals=0, width=108, steps=ANY_IS_WATCHED),
        ),
        sort="Waiting for",
        all_good=_NONE,
    )


def waiting() -> model.Panel:
    panel = lines(
        "Waiting to be delivered",
        "For how long the oldest of what a sink has to deliver, or of the runs to archive, has been waiting. A line "
        "that climbs: nothing gets through. For the archive it must stay far below what Prefect keeps.",
        over_time(_waiting(), "{{sink}}"),
        unit="s",
    )
    return when_empty(panel, _NONE)


def errors() -> model.Panel:
    grown = f"increase({of_workspaces('prefect_exporter_sink_errors_total')}[$__interval] offset -$__interval)"
    failed = f"increase({of_workspaces('prefect_exporter_archive_failures_total')}[$__interval] offset -$__interval)"
    panel = columns(
        "Failed deliveries",
        "By sink and reason, every two hours, passes of the archive among them. Throttled or unreachable: tried again. "
        "Refused: look at the rights of the credentials.",
        over_time(f"sum by (sink, reason) (max by ({BY_SINK}, reason) ({grown}))", "{{sink}}: {{reason}}"),
        over_time(f"sum by (reason) (max by (workspace, reason) ({failed}))", "archive: {{reason}}"),
        step=HOURS,
    )
    return when_empty(with_room(panel, 3), _NONE)
