"""What a server may be unable to do: once it has refused, it is not asked for an hour, and the log says so once."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from typing import Final

log = logging.getLogger(__name__)

ASK_AGAIN_SECONDS: Final = 3600.0  # it may have been a fault that has passed, or the server is a newer one by then


OLDEST: Final = (3, 4, 20)


def too_old(version: str) -> str:
    """What to say of a server of that version; "" for one that is supported, or whose version cannot be read."""
    parts = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    if parts is None or tuple(int(part or 0) for part in parts.groups()) >= OLDEST:
        return ""
    oldest = ".".join(map(str, OLDEST))
    return f"the server is Prefect {version}, and the oldest that is supported is {oldest}: update the server"


@dataclass(slots=True)
class Capability:
    """Something that servers of some versions cannot do. `without_it`: the log line for one that cannot."""

    without_it: str
    _ask_from: float = 0.0

    @property
    def is_there(self) -> bool:
        return time.monotonic() >= self._ask_from

    def refused(self) -> None:
        """The server has refused it: `is_there` is false for `ASK_AGAIN_SECONDS`."""
        first, self._ask_from = not self._ask_from, time.monotonic() + ASK_AGAIN_SECONDS
        log.log(logging.INFO if first else logging.DEBUG, "%s", self.without_it)
