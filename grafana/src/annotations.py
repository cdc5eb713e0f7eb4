"""Annotations that a reader can switch on."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from grafana.src.colours import BAD
from grafana.src.promql import of_pipelines
from grafana.src.variables import SOURCE


def critical_alerts() -> model.AnnotationQuery:
    """When critical alerts fired. Off by default: a bad week would hide the curves."""
    firing = of_pipelines("ALERTS", 'alertstate="firing"', 'alertname=~"Prefect.+"', 'severity="critical"')
    return model.AnnotationQuery(
        name="Critical alerts",
        datasource=SOURCE,
        enable=False,
        icon_color=BAD,
        expr=f"max by (alertname, flow, deployment) ({firing})",
        title_format="{{alertname}}",
        text_format="{{flow}} {{deployment}}",
        step="5m",
    )
