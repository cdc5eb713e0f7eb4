"""The run that the calling code belongs to, if any."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from prefect.logging.loggers import LoggingAdapter

    Logger = logging.Logger | LoggingAdapter

PLAIN_LOGGER: Final = logging.getLogger("prefect_monitoring.flows")


def run_logger() -> Logger:
    """Prefect's logger of the current run; outside a run, a plain Python logger."""
    if "prefect" not in sys.modules:  # it takes a second to import, and without it there is no run
        return PLAIN_LOGGER
    from prefect.exceptions import MissingContextError
    from prefect.logging import get_run_logger

    try:
        return get_run_logger()
    except MissingContextError:
        return PLAIN_LOGGER


def hook_logger(subject: Any, run: Any) -> Logger:
    """The logger of `run`, a FlowRun or TaskRun of the flow or task `subject`: hooks have no run context."""
    from prefect.logging.loggers import flow_run_logger, task_run_logger

    return task_run_logger(run, subject) if is_task_run(run) else flow_run_logger(run, subject)


def is_task_run(run: Any) -> bool:
    return hasattr(run, "task_key")


def ui_url() -> str:
    """The address of Prefect's UI, without a slash at its end; "" if it is unknown."""
    from prefect.settings import PREFECT_UI_URL

    address = str(PREFECT_UI_URL.value() or "")
    return address.rstrip("/") if address.startswith(("http://", "https://")) else ""


def run_resource() -> str:
    """The flow run that the calling code belongs to, as events name it; a task's own run outside of flows; or ""."""
    if "prefect" not in sys.modules:
        return ""
    from prefect.runtime import flow_run, task_run

    for kind, run in (("flow-run", flow_run), ("task-run", task_run)):
        if run.id:
            return f"prefect.{kind}.{run.id}"
    return ""
