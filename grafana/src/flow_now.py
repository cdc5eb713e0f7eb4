"""The current state of one flow's deployments: running, waiting, late and unresponsive runs, and the next start."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import dashboard as model

from grafana.src.colours import ANY_IS_BAD, ANY_IS_WATCHED, CALM, RETRYING, RUNNING, WATCH, Steps, steps
from grafana.src.promql import BY_PIPELINE, answering, lately, merged, named, of_pipelines
from grafana.src.tables import Column, rows, table

_RUNNING: Final = "running|retrying|cancelling"
_WAITING: Final = "pending|submitting|infrastructure_pending|awaiting_concurrency_slot|paused|suspended|resuming"
_PAUSED: Final = {"0": ("active", CALM), "1": ("paused", WATCH)}


def _known(expr: str) -> str:
    """With 0 for every pipeline without such runs, as long as that is known."""
    pipelines = (
        f"{merged(lately(of_pipelines('prefect_flow_run_consecutive_failures')))}"
        f" or on ({BY_PIPELINE}) {merged(lately(of_pipelines('prefect_deployment_paused')))}"
    )
    return answering(f"({expr} or on ({BY_PIPELINE}) 0 * ({pipelines}))")


def _runs(states: str) -> str:
    """How many runs are in these states, in all pools."""
    each = merged(of_pipelines("prefect_flow_runs", f'state=~"{states}"'), "work_pool", "state")
    return _known(f"sum by ({BY_PIPELINE}) ({each})")


def _since(states: str) -> str:
    oldest = of_pipelines("prefect_flow_run_oldest_state_timestamp_seconds", f'state=~"{states}"')
    return f"1000 * {merged(oldest, how='min')}"


def _count(of: str, name: str, width: int, limits: Steps | None = None) -> Column:
    return Column(of, name, unit="short", width=width, decimals=0, steps=limits)


def live_state() -> model.Panel:
    statuses = (
        _runs(_RUNNING),
        _since(_RUNNING),
        _runs(_WAITING),
        _runs("late"),
        _since("late"),
        _runs("awaiting_retry"),
        _known(merged(of_pipelines("prefect_flow_runs_unresponsive"))),
        merged(of_pipelines("prefect_deployment_paused")),
        f"1000 * {merged(of_pipelines('prefect_deployment_next_due_timestamp_seconds'), how='min')}",
    )
    return table(
        "Right now",
        "A row a deployment: runs under way, and when the next start is due. Late: no worker took the run, see Workers "
        "and queues. Waiting: for a machine, a slot or an approval. Unresponsive: the process of the run went silent, "
        "most likely it is dead. Empty: unknown, since the Prefect API does not answer.",
        *(rows(named(f"({expr})")) for expr in statuses),
        columns=(
            Column("pipeline", "Pipeline"),
            _count("Value #A", "Running", 75, steps(CALM, (1.0, RUNNING))),
            Column("Value #B", "Since", unit="dateTimeFromNow", width=105),
            _count("Value #C", "Waiting", 75),
            _count("Value #D", "Late", 55, ANY_IS_WATCHED),
            Column("Value #E", "Was due", unit="dateTimeFromNow", width=105),
            _count("Value #F", "To retry", 78, steps(CALM, (1.0, RETRYING))),
            _count("Value #G", "Unresponsive", 118, ANY_IS_BAD),
            Column("Value #H", "Schedule", width=80, texts=_PAUSED),
            Column("Value #I", "Next start", unit="dateTimeFromNow", width=105),
        ),
        sort="Running",
        all_good="Unknown: the Prefect API or the exporter does not answer.",
    )
