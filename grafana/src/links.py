"""Links between dashboards and to Prefect; they pass on the variables and the time range."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import dashboard as model

TAG: Final = "prefect-monitoring"
_TIME: Final = "${__url_time_range}"
# The chosen datasource has to be passed on.
_SOURCE: Final = "var-datasource=${datasource}"


def between_dashboards() -> list[model.DashboardLink]:
    """The menu at the top of every dashboard."""
    return [
        model.DashboardLink(
            title="Other Prefect dashboards",
            type_val=model.DashboardLinkType.DASHBOARDS,
            icon="external link",
            tags=[TAG],
            as_dropdown=True,
            include_vars=True,
            keep_time=True,
        )
    ]


def to_dashboard(uid: str, title: str, *variables: str) -> model.DashboardLink:
    """variables: names of fields of the row that become variables."""
    passed = "&".join(f"var-{name}=${{__data.fields.{name}:percentencode}}" for name in variables)
    return model.DashboardLink(title=title, url="&".join(filter(None, (f"/d/{uid}?{_SOURCE}", passed, _TIME))))


def to_flow() -> model.DashboardLink:
    """From a row or a series with workspace, flow and deployment to its own dashboard."""
    return to_dashboard("prefect-flow", "Open this flow's dashboard", "workspace", "flow", "deployment")


def to_failed_run() -> model.DashboardLink:
    """From a row with prefect_url and flow_run_id to the run in Prefect's UI."""
    url = "${__data.fields.prefect_url}/runs/flow-run/${__data.fields.flow_run_id}"
    return model.DashboardLink(title="Open the failed run in Prefect", url=url, target_blank=True)


def to_upstream_flow() -> model.DashboardLink:
    """From a row with workspace, upstream_flow and upstream_deployment to the dashboard of the upstream pipeline."""
    fields = {"workspace": "workspace", "flow": "upstream_flow", "deployment": "upstream_deployment"}
    passed = "&".join(f"var-{name}=${{__data.fields.{field}:percentencode}}" for name, field in fields.items())
    url = f"/d/prefect-flow?{_SOURCE}&{passed}&{_TIME}"
    return model.DashboardLink(title="Open the upstream flow's dashboard", url=url)


def to_runbook() -> model.DashboardLink:
    """From a row with runbook_url and alertname to the alert's runbook."""
    url = "${__data.fields.runbook_url}/${__data.fields.alertname}.md"
    return model.DashboardLink(title="Open the runbook", url=url, target_blank=True)
