"""Deployments that run once a day or less often: starts that were due today (UTC), and their results."""

from __future__ import annotations

from typing import Final

from grafana.src.promql import BY_PIPELINE, lately, merged, of_pipelines

_TODAY: Final = "time() - time() % 86400"
_LAST_DUE: Final = merged(of_pipelines("prefect_deployment_last_due_timestamp_seconds"))
_NEXT_DUE: Final = merged(of_pipelines("prefect_deployment_next_due_timestamp_seconds"))
# 20 hours: a change to summer time makes a day short, a schedule in two parts makes it shorter.
_OFTENER: Final = f"({_NEXT_DUE} - {_LAST_DUE} < 72000)"
_UNMET: Final = merged(of_pipelines("prefect_deployment_unmet_due_timestamp_seconds"), how="min")
_FAILING: Final = f"{merged(lately(of_pipelines('prefect_flow_run_consecutive_failures')))} > 0"
_DUE: Final = f"(({_LAST_DUE} >= {_TODAY}) unless on ({BY_PIPELINE}) {_OFTENER})"


def done() -> str:
    return f"({_DUE} unless on ({BY_PIPELINE}) {_UNMET})"


def failed() -> str:
    return f"({_DUE} and on ({BY_PIPELINE}) {_UNMET} and on ({BY_PIPELINE}) {_FAILING})"


def under_way() -> str:
    """Due and neither completed nor failed: running, waiting, or late."""
    return f"(({_DUE} and on ({BY_PIPELINE}) {_UNMET}) unless on ({BY_PIPELINE}) ({_FAILING}))"


def to_come() -> str:
    return f"(({_NEXT_DUE} < {_TODAY} + 86400) unless on ({BY_PIPELINE}) {_OFTENER})"


def not_done() -> str:
    """Due and not completed, with the result as label `status`; the value is when it was due."""
    statuses = (("failed", failed()), ("under way", under_way()))
    return " or ".join(f'label_replace({expr}, "status", "{status}", "", "")' for status, expr in statuses)
