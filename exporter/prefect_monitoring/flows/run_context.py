"""The run that the calling code belongs to, if any."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from prefect.logging.loggers import LoggingAdapter

PLAIN_LOGGER: Final = logging.getLogger("prefect_monitoring.flows")


def run_logger() -> logging.Logger | LoggingAdapter:
    """Prefect's logger of the current run; outside a run, a plain Python logger."""
    # Prefect takes a second to import, and whoever calls this inside a run has done so.
    from prefect.exceptions import MissingContextError
    from prefect.logging import get_run_logger

    try:
        return get_run_logger()
    except MissingContextError:
        return PLAIN_LOGGER


def ui_url() -> str:
    """Where people open Prefect, without a slash at its end; "" where that is not known."""
    from prefect.settings import PREFECT_UI_URL

    address = str(PREFECT_UI_URL.value() or "")
    return address.rstrip("/") if address.startswith(("http://", "https://")) else ""


def flow_run_id() -> str:
    """The id of the flow run that the calling code belongs to; "" outside of runs."""
    from prefect.runtime import flow_run

    return str(flow_run.id or "")
