"""The variables at the top. All of them may be All, which also selects pipelines without the label."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

from grafana.src.promql import of_flows, of_pipelines, of_workspaces

SOURCE: Final = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
_RUNS: Final = "prefect_flow_run_outcomes_total"  # every pipeline has it, for its whole history


def datasource() -> model.VariableModel:
    return build.DatasourceVariable("datasource").label("Data source").type("prometheus").build()


def _choice(name: str, label: str, series: str, description: str) -> model.VariableModel:
    query = f"label_values({series}, {name})"
    return (
        build.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(SOURCE)
        .query({"query": query, "refId": "A"})
        .definition(query)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(model.VariableOption(selected=True, text=["All"], value=["$__all"]))
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .build()
    )


def workspace() -> model.VariableModel:
    return _choice(
        "workspace",
        "Workspace",
        "prefect_up",
        "A Prefect server or Cloud workspace, as the scrape configuration names it.",
    )


def flow() -> model.VariableModel:
    return _choice("flow", "Flow", of_workspaces(_RUNS), "Flows that ran.")


def deployment() -> model.VariableModel:
    return _choice("deployment", "Deployment", of_flows(_RUNS), "Runs without a deployment are among All.")


def team() -> model.VariableModel:
    return _choice("team", "Team", of_workspaces("prefect_pipeline_info"), "As the pipelines file or a tag says.")


def criticality() -> model.VariableModel:
    return _choice(
        "criticality", "Criticality", of_workspaces("prefect_pipeline_info"), "As the pipelines file or a tag says."
    )


def tag() -> model.VariableModel:
    return _choice(
        "tag", "Tag", of_workspaces("prefect_deployment_tag_info"), "Of deployments, where deployment_tags allows it."
    )


def task() -> model.VariableModel:
    return _choice(
        "task", "Task", of_pipelines("prefect_custom_metric_observed_count"), "Tasks whose logs tell metrics."
    )


def metric() -> model.VariableModel:
    series = of_pipelines("prefect_custom_metric_observed_count", "task=~`${task:regex}`")
    return _choice("metric", "Metric", series, "Names in METRIC log lines.")


def work_pool() -> model.VariableModel:
    return _choice("work_pool", "Work pool", of_workspaces("prefect_work_pool_info"), "Work pools that exist.")


def of_all_pipelines() -> list[model.VariableModel]:
    """All variables that select pipelines; promql.chosen() is for the last three."""
    return [datasource(), workspace(), flow(), deployment(), team(), criticality(), tag()]


def of_one_flow() -> list[model.VariableModel]:
    """Selects the first flow until another is chosen, since a dashboard of one flow cannot show all."""
    one_flow = flow()
    one_flow.include_all, one_flow.all_value, one_flow.current = False, None, None
    return [datasource(), workspace(), one_flow, deployment()]


def of_workspaces_only() -> list[model.VariableModel]:
    return [datasource(), workspace()]
