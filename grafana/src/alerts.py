"""The table of firing alerts that the variables select."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from grafana.src.promql import chosen, merged, named, of_pipelines
from grafana.src.tables import PIPELINE, SEVERITY, VALUE, Column, by_severity, rows, table


def firing_alerts(*, of_teams: bool = True) -> model.Panel:
    """`of_teams`: the page has the variables that promql.chosen() reads."""
    labels = "workspace, alertname, severity, flow, deployment"
    which = 'alertname=~"Prefect.+", severity!="none"'
    firing = merged(of_pipelines("ALERTS", 'alertstate="firing"', which), by=labels)
    since = f"(time() - {merged(of_pipelines('ALERTS_FOR_STATE', which), by=labels)} and on ({labels}) {firing})"
    alert = f'label_replace({chosen(since) if of_teams else since}, "alert", "$1", "alertname", "Prefect(.+)")'
    return table(
        "Alerts that fire",
        "As Prometheus' rules see it, the most severe first; Alertmanager may have silenced or grouped them. Alerts of "
        "pools, of the exporter and the like have no pipeline. It is empty, too, where the rules are not loaded.",
        rows(named(by_severity(alert))),
        columns=(
            Column("severity", "Severity", width=78, texts=SEVERITY),
            Column("alert", "Alert", width=160),
            *PIPELINE,
            Column(VALUE, "For", unit="dtdurations", width=90, decimals=0),
        ),
        sort="Severity",
        descending=False,
        all_good="No alert is known to fire.",
    )
