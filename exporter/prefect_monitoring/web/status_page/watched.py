"""Which Prefect is watched, whether it answers, and how much of it has been counted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from prefect_monitoring.model.counted_metrics import OUTCOMES, TASK_OUTCOMES
from prefect_monitoring.snapshot.model import Snapshot
from prefect_monitoring.web.status_page.formatting import counted

REFUSED: Final = frozenset({"401", "403"})
_CLOUD: Final = re.compile(r"(?P<host>https?://[^/]+)/.*?accounts/(?P<account>[^/]+)/workspaces/(?P<workspace>[^/]+)")
# By source: the metric that counts what it reads, and the noun for it.
_COUNTED: Final[Mapping[str, tuple[str, str, str]]] = {
    "finished_flow_runs": (OUTCOMES, "run", "runs"),
    "finished_task_runs": (TASK_OUTCOMES, "task run", "task runs"),
}


def watched(api_url: str) -> str:
    """The watched API in words; of Prefect Cloud, the workspace by its id."""
    if cloud := _CLOUD.match(api_url):
        return f"{cloud['host']}, workspace {cloud['workspace']} of account {cloud['account']}"
    return api_url


def outage(snapshot: Snapshot) -> str:
    """What is wrong with the API, in words; "" while it answers, and before it was first asked."""
    if snapshot.about.api_up is not False:
        return ""
    codes = {source.code for source in snapshot.about.sources if source.up is False}
    if refused := sorted(codes & REFUSED):
        return f"The Prefect API refuses the exporter's credentials ({refused[0]})"
    if statuses := sorted(code for code in codes if code.isdecimal()):
        return f"The Prefect API answers with an error ({statuses[0]})"
    return "The Prefect API does not answer"


def runs_counted(snapshot: Snapshot, source: str) -> str:
    """How many runs of this source the ledger has counted; "" for sources without such a count."""
    if source not in _COUNTED:
        return ""
    metric, singular, plural = _COUNTED[source]
    return counted(int(sum(series.value for series in snapshot.series.get(metric, {}).values())), singular, plural)
