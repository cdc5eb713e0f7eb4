"""What the server's version can do: after a refusal it is not asked for an hour, which is logged once."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from typing import Final

log = logging.getLogger(__name__)

ASK_AGAIN_SECONDS: Final = 3600.0  # the refusal may have been temporary, or the server may have been upgraded


OLDEST: Final = (3, 4, 20)


def too_old(version: str) -> str:
    """A warning for servers of an unsupported version; "" for a supported or unreadable version."""
    parts = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    if parts is None or tuple(int(part or 0) for part in parts.groups()) >= OLDEST:
        return ""
    oldest = ".".join(map(str, OLDEST))
    return f"the server is Prefect {version}, and the oldest that is supported is {oldest}: update the server"


@dataclass(slots=True)
class Capability:
    """Something that servers of some versions cannot do. `without_it`: the log line for such a server."""

    without_it: str
    _ask_from: float = 0.0

    @property
    def is_there(self) -> bool:
        return time.monotonic() >= self._ask_from

    def refused(self) -> None:
        """Records a refusal: `is_there` is false for `ASK_AGAIN_SECONDS`."""
        first, self._ask_from = not self._ask_from, time.monotonic() + ASK_AGAIN_SECONDS
        log.log(logging.INFO if first else logging.DEBUG, "%s", self.without_it)
