"""Needs attention now, one problem per pipeline: the first of the list that applies. The value is its age in seconds.

The limits are those of the alert rules in prometheus/rules; here, low criticality counts as well.
"""

from __future__ import annotations

from typing import Final

from grafana.src import states
from grafana.src.promql import BY_PIPELINE, UP, answering, chosen, lately, merged, of_pipelines, of_workspaces


def _latest(metric: str, *matchers: str) -> str:
    return merged(lately(of_pipelines(metric, *matchers)))


def _aged(metric: str, *matchers: str) -> str:
    # Gauges that vanish when all is well are read as they are: with last_over_time(), a run would age after its end.
    return f"time() - {merged(of_pipelines(metric, *matchers), how='min')}"


def _in_state(labels: str) -> str:
    return _aged("prefect_flow_run_oldest_state_timestamp_seconds", f'state=~"{labels}"')


_USUAL: Final = "3 * " + _latest("prefect_flow_run_duration_baseline_seconds", 'window="30d"')
_MAX_DURATION: Final = _latest("prefect_slo_max_duration_seconds")
_STALENESS: Final = _latest("prefect_slo_max_staleness_seconds")
_GRACE: Final = _latest("prefect_slo_grace_seconds")
_LAST_SUCCESS: Final = _latest("prefect_flow_run_last_outcome_timestamp_seconds", f'state=~"{states.COMPLETED}"')

PROBLEMS: Final = (
    # With parallel runs, one may have failed for good although another one completed since.
    (
        "failing",
        f"({_aged('prefect_flow_run_failing_since_timestamp_seconds')}"
        f" or on ({BY_PIPELINE}) {_aged('prefect_flow_run_unresolved_since_timestamp_seconds')})",
    ),
    (
        "unresponsive",
        f"({_aged('prefect_flow_run_heartbeat_timestamp_seconds')})"
        f" and on ({BY_PIPELINE}) ({merged(of_pipelines('prefect_flow_runs_unresponsive'))} > 0)",
    ),
    ("late to start", f"{_in_state('late')} > 300"),
    ("stuck before start", f"{_in_state('pending|submitting|infrastructure_pending|awaiting_retry|cancelling')} > 900"),
    ("waiting for a slot", f"{_in_state('awaiting_concurrency_slot')} > 3600"),
    (
        "running too long",
        f"{_in_state('running|retrying')} > ({_MAX_DURATION} or clamp_min({_USUAL}, 1800))",
    ),
    # While Prefect does not answer, it is unknown what has completed.
    ("no success in time", answering(f"time() - {_LAST_SUCCESS} > {_STALENESS}")),
    (
        "due, not completed",
        answering(
            f"{_aged('prefect_deployment_unmet_due_timestamp_seconds')}"
            f" > {_GRACE} + ({_MAX_DURATION} or {_USUAL} or 0 * {_GRACE})"
            f" unless ({_STALENESS} and {_LAST_SUCCESS})"
            f" unless {_latest('prefect_deployment_paused')} == 1"
        ),
    ),
    (
        "paused for long",
        f"{_aged('prefect_deployment_paused_since_timestamp_seconds')} > {_latest('prefect_slo_max_pause_seconds')}",
    ),
)


def needs_attention() -> str:
    problems = f"\nor on ({BY_PIPELINE}) ".join(
        f'label_replace({expr}, "problem", "{problem}", "", "")' for problem, expr in PROBLEMS
    )
    return chosen(f"({problems})")


def unknown() -> str:
    """A row for each workspace whose state is unknown, with the seconds since when."""
    read = of_workspaces("prefect_exporter_source_last_success_timestamp_seconds", 'source="finished_flow_runs"')
    since = f"(time() - max by (workspace) (last_over_time({read}[1d])) or 0 * {UP})"
    row = f'label_replace({since} unless on (workspace) {UP} == 1, "problem", "not known", "", "")'
    return f'label_replace({row}, "pipeline", "Prefect API or exporter down: $1", "workspace", "(.*)")'
