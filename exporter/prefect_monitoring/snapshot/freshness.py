"""How old readings may be to count as current."""

from __future__ import annotations

from typing import Final

from prefect_monitoring.config.settings import PollSettings

STALE_AFTER_INTERVALS: Final = 3


def current_limit(settings: PollSettings) -> float:
    """The maximum age of what each poll reads, in seconds.

    A reading may take up to its timeout before its result is published.
    """
    return STALE_AFTER_INTERVALS * settings.poll_interval + settings.source_timeout


def listing_limit(settings: PollSettings) -> float:
    """The maximum age of what each inventory reads: deployments, pools, queues, limits, automations."""
    return STALE_AFTER_INTERVALS * settings.inventory_interval + settings.source_timeout
