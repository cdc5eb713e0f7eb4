"""The metric catalogue follows its conventions and the design. Metric names are a public API."""

from __future__ import annotations

import re

import pytest

from prefect_monitoring.config.settings import SettingsError
from prefect_monitoring.metrics import CATALOGUE, shown_metrics
from prefect_monitoring.metrics.family import Metric

PIPELINE = ("flow", "deployment")

# The design's tables, literally.
FLOW_RUNS = {
    "prefect_flow_run_outcomes_total": ("counter", (*PIPELINE, "state")),
    "prefect_flow_run_duration_seconds": ("histogram", PIPELINE),
    "prefect_flow_run_start_delay_seconds": ("histogram", PIPELINE),
    "prefect_flow_run_retries_total": ("counter", PIPELINE),
    "prefect_flow_run_failures_total": ("counter", (*PIPELINE, "cause")),
    "prefect_flow_runs": ("gauge", (*PIPELINE, "work_pool", "state")),
    "prefect_flow_run_oldest_state_timestamp_seconds": ("gauge", (*PIPELINE, "state")),
    "prefect_flow_run_last_outcome_timestamp_seconds": ("gauge", (*PIPELINE, "state")),
    "prefect_flow_run_last_duration_seconds": ("gauge", PIPELINE),
    "prefect_flow_run_consecutive_failures": ("gauge", PIPELINE),
    "prefect_flow_run_failures_unresolved": ("gauge", PIPELINE),
    "prefect_flow_run_unresolved_since_timestamp_seconds": ("gauge", PIPELINE),
    "prefect_flow_run_storm_timestamp_seconds": ("gauge", (*PIPELINE, "cause")),
    "prefect_flow_run_last_failure_info": ("gauge", (*PIPELINE, "flow_run_id", "flow_run_name", "cause", "message")),
    "prefect_flow_run_orphans": ("gauge", PIPELINE),
    "prefect_flow_run_heartbeat_timestamp_seconds": ("gauge", PIPELINE),
    "prefect_flow_runs_unresponsive": ("gauge", PIPELINE),
    "prefect_flow_run_failing_since_timestamp_seconds": ("gauge", PIPELINE),
    "prefect_flow_run_failure_timestamp_seconds": ("gauge", (*PIPELINE, "nth")),
    "prefect_flow_run_duration_baseline_seconds": ("gauge", (*PIPELINE, "window")),
    "prefect_flow_run_duration_quantile_seconds": ("gauge", (*PIPELINE, "window", "quantile")),
    "prefect_flow_run_start_delay_quantile_seconds": ("gauge", (*PIPELINE, "window", "quantile")),
    "prefect_flow_run_window_runs": ("gauge", (*PIPELINE, "window", "result")),
}
TASK = (*PIPELINE, "task")
TASK_RUNS = {
    "prefect_task_run_outcomes_total": ("counter", (*TASK, "state")),
    "prefect_task_run_seconds_total": ("counter", TASK),
    "prefect_task_run_retries_total": ("counter", TASK),
    "prefect_task_run_failures_total": ("counter", (*TASK, "cause")),
    "prefect_task_run_time_share_ratio": ("gauge", TASK),
    "prefect_task_runs": ("gauge", (*TASK, "state")),
    "prefect_task_run_duration_seconds": ("histogram", ("flow", "task")),
}
POOL = ("work_pool",)
QUEUE = ("work_pool", "work_queue")
LIMIT = ("limit",)
INVENTORY = {
    "prefect_deployment_info": ("gauge", (*PIPELINE, "work_pool", "work_queue")),
    "prefect_deployment_tag_info": ("gauge", (*PIPELINE, "tag")),
    "prefect_deployment_paused": ("gauge", PIPELINE),
    "prefect_deployment_ready": ("gauge", PIPELINE),
    "prefect_deployment_next_due_timestamp_seconds": ("gauge", PIPELINE),
    "prefect_deployment_last_due_timestamp_seconds": ("gauge", PIPELINE),
    "prefect_deployment_unmet_due_timestamp_seconds": ("gauge", PIPELINE),
    "prefect_deployment_paused_since_timestamp_seconds": ("gauge", PIPELINE),
    "prefect_deployment_resumed_timestamp_seconds": ("gauge", PIPELINE),
    "prefect_work_pool_info": ("gauge", (*POOL, "type")),
    "prefect_work_pool_ready": ("gauge", POOL),
    "prefect_work_pool_paused": ("gauge", POOL),
    "prefect_work_pool_slots": ("gauge", POOL),
    "prefect_work_pool_slots_used": ("gauge", POOL),
    "prefect_work_pool_workers": ("gauge", (*POOL, "state")),
    "prefect_work_pool_last_heartbeat_timestamp_seconds": ("gauge", POOL),
    "prefect_work_queue_ready": ("gauge", QUEUE),
    "prefect_work_queue_paused": ("gauge", QUEUE),
    "prefect_work_queue_late_runs": ("gauge", QUEUE),
    "prefect_work_queue_last_polled_timestamp_seconds": ("gauge", QUEUE),
    "prefect_work_queue_slots": ("gauge", QUEUE),
    "prefect_work_queue_slots_used": ("gauge", QUEUE),
    "prefect_concurrency_limit_slots": ("gauge", LIMIT),
    "prefect_concurrency_limit_slots_used": ("gauge", LIMIT),
    "prefect_automations": ("gauge", ("enabled",)),
    "prefect_automation_actions_failed_total": ("counter", ("automation",)),
}
# Labels declared by METRIC lines are added to these.
CUSTOM = {
    "prefect_custom_metric_value": ("gauge", (*TASK, "metric")),
    "prefect_custom_metric_last_observed_timestamp_seconds": ("gauge", (*TASK, "metric")),
    "prefect_custom_metric_observed_sum": ("unknown", (*TASK, "metric")),
    "prefect_custom_metric_observed_count": ("unknown", (*TASK, "metric")),
}
# Labels declared by the pipelines file and by tags are added to prefect_pipeline_info.
POLICY = {
    "prefect_pipeline_info": ("gauge", (*PIPELINE, "criticality", "team", "tags")),
    "prefect_slo_objective_ratio": ("gauge", PIPELINE),
    "prefect_slo_window_seconds": ("gauge", PIPELINE),
    "prefect_slo_max_duration_seconds": ("gauge", PIPELINE),
    "prefect_slo_max_staleness_seconds": ("gauge", PIPELINE),
    "prefect_slo_grace_seconds": ("gauge", PIPELINE),
    "prefect_slo_max_pause_seconds": ("gauge", PIPELINE),
    "prefect_pipeline_alert_on_streak": ("gauge", PIPELINE),
    "prefect_slo_metric_max": ("gauge", (*PIPELINE, "metric")),
    "prefect_slo_metric_min": ("gauge", (*PIPELINE, "metric")),
}
ACTIONS = {
    "prefect_exporter_actions_total": ("counter", ("action", "result", *PIPELINE)),
    "prefect_exporter_acting": ("gauge", ()),
    "prefect_exporter_actions_stopped_info": ("gauge", ("stopped_by", "reason")),
    "prefect_exporter_downstream_paused_timestamp_seconds": (
        "gauge",
        (*PIPELINE, "upstream_flow", "upstream_deployment", "resume"),
    ),
    "prefect_flow_run_last_failure_retries": ("gauge", PIPELINE),
    "prefect_pipeline_retries_max": ("gauge", PIPELINE),
}
SINKS = {
    "prefect_exporter_sink_last_success_timestamp_seconds": ("gauge", ("sink",)),
    "prefect_exporter_sink_errors_total": ("counter", ("sink", "reason")),
    "prefect_exporter_sink_lag_seconds": ("gauge", ("sink",)),
}
ABOUT_ITSELF = {
    "prefect_up": ("gauge", ()),
    "prefect_exporter_build_info": ("gauge", ("version", "prefect_version", "python_version")),
    "prefect_exporter_ledger_created_timestamp_seconds": ("gauge", ()),
    "prefect_exporter_ledger_bytes": ("gauge", ()),
    "prefect_exporter_source_up": ("gauge", ("source",)),
    "prefect_exporter_source_last_success_timestamp_seconds": ("gauge", ("source",)),
    "prefect_exporter_source_duration_seconds": ("histogram", ("source",)),
    "prefect_exporter_source_lag_seconds": ("gauge", ("source",)),
    "prefect_exporter_api_requests_total": ("counter", ("endpoint", "code")),
    "prefect_exporter_api_throttled_total": ("counter", ()),
    "prefect_exporter_records_total": ("counter", ("source",)),
    "prefect_exporter_records_unreadable": ("gauge", ("source",)),
    "prefect_exporter_records_unreadable_oldest_timestamp_seconds": ("gauge", ("source",)),
    "prefect_exporter_series": ("gauge", ("metric",)),
    "prefect_exporter_series_folded_total": ("counter", ("metric",)),
    "prefect_exporter_audit_missing": ("gauge", ("kind",)),
    "prefect_exporter_audit_last_success_timestamp_seconds": ("gauge", ("kind",)),
    "prefect_asset_last_materialization_timestamp_seconds": ("gauge", ("asset", "result")),
    "prefect_asset_max_staleness_seconds": ("gauge", ("asset",)),
    "prefect_exporter_custom_values_rejected_total": ("counter", ("reason",)),
    "prefect_exporter_metric_lines_rejected_total": ("counter", ("reason",)),
    "prefect_exporter_links_info": ("gauge", ("prefect_url", "grafana_url", "runbook_url")),
    "prefect_exporter_pipelines_file_valid": ("gauge", ()),
    "prefect_exporter_pipelines_file_last_success_timestamp_seconds": ("gauge", ()),
}
EXPECTED = {**FLOW_RUNS, **TASK_RUNS, **INVENTORY, **CUSTOM, **POLICY, **ACTIONS, **SINKS, **ABOUT_ITSELF}
NOT_BY_DEFAULT = {"prefect_task_run_duration_seconds"}

# Counts have no unit in their names.
UNITLESS = {
    "prefect_exporter_records_unreadable",
    "prefect_up",
    "prefect_flow_runs",
    "prefect_flow_runs_unresponsive",
    "prefect_flow_run_consecutive_failures",
    "prefect_flow_run_failures_unresolved",
    "prefect_pipeline_alert_on_streak",
    "prefect_flow_run_window_runs",
    "prefect_exporter_acting",
    "prefect_flow_run_last_failure_retries",
    "prefect_pipeline_retries_max",
    "prefect_exporter_source_up",
    "prefect_exporter_series",
    "prefect_exporter_audit_missing",
    "prefect_task_runs",
    "prefect_deployment_paused",
    "prefect_deployment_ready",
    "prefect_work_pool_ready",
    "prefect_work_pool_paused",
    "prefect_work_pool_slots",
    "prefect_work_pool_slots_used",
    "prefect_work_pool_workers",
    "prefect_work_queue_ready",
    "prefect_work_queue_paused",
    "prefect_work_queue_late_runs",
    "prefect_work_queue_slots",
    "prefect_work_queue_slots_used",
    "prefect_concurrency_limit_slots",
    "prefect_concurrency_limit_slots_used",
    "prefect_automations",
    "prefect_custom_metric_value",
    "prefect_flow_run_orphans",
    "prefect_exporter_pipelines_file_valid",
    # In the unit of the metric that they limit.
    "prefect_slo_metric_max",
    "prefect_slo_metric_min",
}
UNITS = ("_seconds", "_bytes", "_ratio", "_info")
# PrefectHQ/prometheus-prefect-exporter, which a team may run beside this one while it migrates.
INCUMBENT = re.compile(
    r"prefect_(?:flow_runs_total(?:_run_time)?|info_\w+|deployments_total|flows_total|work_pools_total|work_queues_total)"
)
RUN_LABELS = {"flow_run_id", "flow_run_name", "run_id", "run_name", "task_run_id", "task_run_name", "run", "id", "name"}

each = pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)


@pytest.mark.parametrize("name", EXPECTED)
def test_metric_is_as_designed(name: str) -> None:
    found = {metric.name: (metric.kind, metric.labels) for metric in CATALOGUE}
    assert found.get(name) == EXPECTED[name]


def test_catalogue_has_no_metric_outside_the_design() -> None:
    assert {metric.name for metric in CATALOGUE} == EXPECTED.keys()


def test_metrics_off_by_default_are_as_designed() -> None:
    assert {metric.name for metric in CATALOGUE if not metric.by_default} == NOT_BY_DEFAULT


def test_only_custom_metrics_and_pipeline_info_take_user_labels() -> None:
    assert {metric.name for metric in CATALOGUE if metric.more_labels} == CUSTOM.keys() | {"prefect_pipeline_info"}


@pytest.mark.parametrize("option", ["metrics_on", "metrics_off"])
def test_unknown_metric_is_refused_by_name(option: str) -> None:
    chosen = {"on": (), "off": (), option.removeprefix("metrics_"): ("prefect_up", "prefect_dwon")}
    with pytest.raises(SettingsError, match=f"{option}: no such metric: prefect_dwon;"):
        shown_metrics(**chosen)


def test_metrics_are_chosen_by_name() -> None:
    opt_in, usual = "prefect_task_run_duration_seconds", "prefect_up"
    assert {metric.name for metric in shown_metrics((), ())} == EXPECTED.keys() - NOT_BY_DEFAULT
    assert {metric.name for metric in shown_metrics((opt_in,), (usual,))} == EXPECTED.keys() - {usual}
    assert opt_in not in {metric.name for metric in shown_metrics((opt_in,), (opt_in,))}, "off takes precedence"


@each
def test_name_follows_the_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"prefect_[a-z][a-z0-9_]*[a-z0-9]", metric.name)
    assert "__" not in metric.name
    reserved = ("_bucket", "_created") if metric.kind == "unknown" else ("_count", "_sum", "_bucket", "_created")
    assert not metric.name.endswith(reserved), "suffixes of histograms and summaries"
    assert not INCUMBENT.fullmatch(metric.name)
    assert not metric.name.startswith("prefect_worker_channel_"), "the server's own"


@each
def test_counters_alone_end_in_total(metric: Metric) -> None:
    assert metric.name.endswith("_total") == (metric.kind == "counter")


@each
def test_name_has_its_unit(metric: Metric) -> None:
    if metric.kind == "histogram":
        assert metric.name.endswith("_seconds")
    elif metric.kind == "gauge":
        assert metric.name.endswith(UNITS) or metric.name in UNITLESS
    if "timestamp" in metric.name:
        assert metric.name.endswith("_timestamp_seconds")
    assert not re.search(r"_(?:milliseconds|ms|minutes|hours|kb|mb|percent)\b", metric.name)


@each
def test_help_is_a_sentence(metric: Metric) -> None:
    assert metric.help
    assert metric.help == metric.help.strip()
    assert metric.help.endswith(".")
    assert "\n" not in metric.help


@each
def test_labels_follow_the_conventions(metric: Metric) -> None:
    assert len(set(metric.labels)) == len(metric.labels)
    for label in metric.labels:
        assert re.fullmatch(r"[a-z][a-z_]*", label)
        assert label not in {"le", "job", "instance", "workspace"}
        assert label != "quantile" or metric.name.endswith("_quantile_seconds"), "reserved for summaries"
    allowed = {"flow_run_id", "flow_run_name"} if metric.name == "prefect_flow_run_last_failure_info" else set()
    assert set(metric.labels) & RUN_LABELS == allowed


@each
def test_histograms_alone_have_bounds(metric: Metric) -> None:
    assert (metric.bounds is not None) == (metric.kind == "histogram")


def test_names_are_unique() -> None:
    names = [metric.name for metric in CATALOGUE]
    assert len(set(names)) == len(names)
    samples = {name + end for name in names for end in ("_bucket", "_sum", "_count")}
    assert not samples & set(names)
