"""How old what was read may be and still pass for the present."""

from __future__ import annotations

from typing import Final

from prefect_monitoring.config.settings import PollSettings

STALE_AFTER_INTERVALS: Final = 3


def current_limit(settings: PollSettings) -> float:
    """How old what is read at each poll may be and still pass for the present, in seconds.

    A reading may take its whole time, and another one beside it too, before either is published.
    """
    return STALE_AFTER_INTERVALS * settings.poll_interval + settings.source_timeout


def listing_limit(settings: PollSettings) -> float:
    """The same for what each inventory reads: deployments, pools, queues, limits, automations."""
    return STALE_AFTER_INTERVALS * settings.inventory_interval + settings.source_timeout
