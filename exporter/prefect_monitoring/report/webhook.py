"""Sends to a Slack incoming webhook. Its URL is a secret: no message contains it, nor what a proxy may repeat."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

import httpx

from prefect_monitoring.model.sink_status import SinkError

TIMEOUT_SECONDS: Final = 10.0
# The library would log the URL of every request.
logging.getLogger("httpx").setLevel(logging.WARNING)
_REASON: Final = re.compile(r"[a-z_]{1,50}")
_BY_STATUS: Final[Mapping[int, SinkError]] = {
    403: SinkError.CREDENTIALS,
    404: SinkError.CONFIGURATION,
    410: SinkError.CONFIGURATION,
    429: SinkError.THROTTLED,
}


class SlackError(Exception):
    """Slack did not accept the message; `reason` is for the metric, the text for people."""

    def __init__(self, reason: SinkError, text: str) -> None:
        super().__init__(text)
        self.reason = reason


async def post(url: str, message: Mapping[str, Any]) -> None:
    """Sends a message, as `slack.render` makes it. Raises SlackError."""
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as client:
            answer = await client.post(url, json=message)
    except httpx.TransportError as error:
        raise SlackError(SinkError.UNREACHABLE, f"Slack could not be reached ({type(error).__name__})") from None
    except (httpx.InvalidURL, ValueError, OSError, ImportError) as error:
        # Proxies and certificates that the environment names may be unusable.
        advice = (
            f"Slack cannot be reached this way ({type(error).__name__}): check report_slack_webhook_url and the proxies"
        )
        raise SlackError(SinkError.CONFIGURATION, advice) from None
    if answer.is_success:
        return
    default = SinkError.UNREACHABLE if answer.is_server_error else SinkError.REFUSED
    # Slack's faults are words such as no_service.
    code = answer.text.strip() if _REASON.fullmatch(answer.text.strip()) else ""
    reason = _BY_STATUS.get(answer.status_code, default)
    raise SlackError(reason, f"Slack answered {answer.status_code} {code}".rstrip())
