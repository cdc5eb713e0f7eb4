"""The status page as JSON, for scripts and other dashboards: docs/status-page.md describes each field."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from prefect_monitoring.model.source_status import SourceStatus
from prefect_monitoring.snapshot.model import Links, Snapshot
from prefect_monitoring.web.status_page.banners import banners, frozen_at
from prefect_monitoring.web.status_page.conditions import CONDITIONS
from prefect_monitoring.web.status_page.page import overall_tone
from prefect_monitoring.web.status_page.pipeline_view import PipelineView, pipeline_views
from prefect_monitoring.web.status_page.rows import links_of
from prefect_monitoring.web.status_page.status import Group, status_of
from prefect_monitoring.web.status_page.tone import Tone
from prefect_monitoring.web.status_page.watched import outage

CONTENT_TYPE: Final = "application/json"
HEADERS: Final = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
# New fields keep the version. If the meaning of a field changes, so do the version and the path.
VERSION: Final = 1
_GROUPS: Final = {
    Group.ATTENTION: "attention",
    Group.UNWATCHED: "unwatched",
    Group.FINE: "fine",
    Group.IDLE: "idle",
}
_OVERALL: Final = {Tone.BAD: "bad", Tone.WARN: "warning", Tone.OK: "ok"}


def render_document(snapshot: Snapshot | None, stale_after: float, now: float) -> str:
    """The document as text. `snapshot` is None during the start; `stale_after` in seconds, `now` in epoch seconds."""
    document = {"version": VERSION, "status": "starting"} if snapshot is None else _document(snapshot, stale_after, now)
    return json.dumps(document, ensure_ascii=False) + "\n"


def _document(snapshot: Snapshot, stale_after: float, now: float) -> dict[str, Any]:
    about, shown_at = snapshot.about, frozen_at(snapshot, stale_after, now)
    shown_banners = banners(snapshot, stale_after, now)
    views = sorted(pipeline_views(snapshot), key=lambda view: view.pipeline)
    groups = Counter(_GROUPS[status_of(view).group] for view in views)
    attention = bool(groups["attention"])
    return {
        "version": VERSION,
        "status": _OVERALL[overall_tone(attention, shown_banners)],
        "as_of": _instant(shown_at if shown_at is not None else snapshot.taken_at),
        "current": shown_at is None,
        "prefect": {
            "api_url": about.links.api_url,
            "version": about.prefect_version,
            "up": about.api_up,
            "error": outage(snapshot),
        },
        "exporter": {"version": about.version, "ready": not snapshot.health.not_ready},
        "banners": [{"severity": _OVERALL[banner.tone], "text": banner.text} for banner in shown_banners],
        "counts": {name: groups[name] for name in _GROUPS.values()},
        "pipelines": [_pipeline(view, about.links) for view in views],
        "sources": [_source(source) for source in about.sources],
    }


def _pipeline(view: PipelineView, links: Links) -> dict[str, Any]:
    status, stats, policy = status_of(view), view.stats, view.policy
    outcome, ended_at = view.newest_outcome or (None, None)
    return {
        "flow": view.pipeline.flow,
        "deployment": view.pipeline.deployment,
        "group": _GROUPS[status.group],
        "status": status.lines[0].text,
        "since": _instant(status.lines[0].since),
        "criticality": policy.criticality if policy is not None else None,
        "team": policy.team if policy is not None else None,
        "conditions": list(_conditions(view)),
        "active": dict(view.active) if view.is_active_known else None,
        "paused": view.is_paused,
        "last_outcome": outcome,
        "last_outcome_at": _instant(ended_at),
        "last_success_at": _instant(stats.last_success),
        "consecutive_failures": stats.consecutive_failures,
        "next_due_at": _instant(view.due.next_at),
        "recent_durations_seconds": list(stats.recent_durations),
        "objective": policy.objective if policy is not None else None,
        "slo_runs": None if view.slo_runs is None else dict(zip(("good", "bad"), view.slo_runs, strict=True)),
        "links": {link.text.replace(" ", "_"): link.url for link in links_of(view, status, links)},
    }


def _conditions(view: PipelineView) -> Iterator[dict[str, Any]]:
    for condition in CONDITIONS:
        if (finding := condition.check(view)) is not None:
            yield {
                "id": condition.id.value,
                "alert": condition.alert,
                "fires": condition.fires(view),
                "text": condition.text,
                "detail": finding.detail.replace("\u00a0", " "),
                "since": _instant(finding.since),
            }


def _source(source: SourceStatus) -> dict[str, Any]:
    return {
        "name": source.name,
        "up": source.up,
        "error": source.error,
        "last_success": _instant(source.last_success),
        "complete_to": _instant(source.complete_to),
    }


def _instant(at: float | None) -> str | None:
    """An instant in UTC as RFC 3339 has it, to the second."""
    return None if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
