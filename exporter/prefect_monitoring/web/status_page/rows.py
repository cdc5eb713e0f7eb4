"""The rows of the status page: a pipeline's status, last run, success ratio, durations, slowest task and links."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

from prefect_monitoring.model.records import COMPLETED_LABELS, Pipeline
from prefect_monitoring.model.units import DAY
from prefect_monitoring.snapshot.model import Links, Snapshot
from prefect_monitoring.web.status_page.conditions import allowed_failures
from prefect_monitoring.web.status_page.formatting import age, counted, instant, percent, span
from prefect_monitoring.web.status_page.pipeline_view import PipelineView, pipeline_views
from prefect_monitoring.web.status_page.sparkline import Sparkline, sparkline
from prefect_monitoring.web.status_page.status import PipelineStatus, status_of

LEAST_SHARE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Link:
    text: str
    url: str


@dataclass(frozen=True, slots=True)
class Badge:
    text: str
    is_critical: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """The text of a cell; `when` is "" if no time is known."""

    text: str
    detail: str
    when: str


@dataclass(frozen=True, slots=True)
class Success:
    """The success ratio, the runs it is taken from, its objective ("": none), and whether more failed than allowed."""

    ratio: str
    of: str
    objective: str
    is_missed: bool


@dataclass(frozen=True, slots=True)
class Row:
    pipeline: Pipeline
    badges: tuple[Badge, ...]
    status: PipelineStatus
    lines: tuple[Line, ...]
    last_run: Line | None
    success: Success | None
    durations: Sparkline | None
    slowest: Line | None
    links: tuple[Link, ...]


def make_rows(snapshot: Snapshot) -> list[Row]:
    """By group, criticality and the worst condition, then by name, so that rows keep their places."""
    rows = [_row(view, snapshot.about.links) for view in pipeline_views(snapshot)]
    return sorted(rows, key=lambda row: (row.status.group, row.status.rank, row.pipeline))


def _row(view: PipelineView, links: Links) -> Row:
    status = status_of(view)
    return Row(
        pipeline=view.pipeline,
        badges=tuple(_badges(view)),
        status=status,
        lines=tuple(
            Line(line.text, line.detail, _since(line.since, view.now) if line.since is not None else "")
            for line in status.lines
        ),
        last_run=_last_run(view),
        success=_success(view),
        durations=sparkline(view.stats.recent_durations, view.policy.max_duration if view.policy is not None else None),
        slowest=_slowest(view),
        links=tuple(links_of(view, status, links)),
    )


def _badges(view: PipelineView) -> Iterator[Badge]:
    if view.policy is None:
        return
    if view.policy.criticality != "standard":
        yield Badge(view.policy.criticality, is_critical=view.policy.criticality == "critical")
    if view.policy.team:
        yield Badge(view.policy.team)


def _since(at: float, now: float) -> str:
    return f"since {instant(at, now)} ({age(now - at)})" if at <= now else f"due {instant(at, now)}"


def _last_run(view: PipelineView) -> Line | None:
    """Its duration is known for the last completed and the last failed run only."""
    if view.newest_outcome is None:
        return None
    outcome, at = view.newest_outcome
    failed = view.stats.last_failure
    seconds = view.stats.last_duration if outcome in COMPLETED_LABELS else failed.duration if failed else None
    took = f"took\u00a0{span(seconds)}" if seconds is not None and outcome != "cancelled" else ""
    return Line(f"{age(view.now - at)} ago", took, instant(at, view.now))


def _success(view: PipelineView) -> Success | None:
    """Over the SLO's window if there is one, else over 30 days; None without a run that counts."""
    policy = view.policy
    if view.slo_runs is not None and policy is not None:
        (good, bad), window = view.slo_runs, age(policy.window)
    else:
        counts = view.stats.window_runs
        good, bad, window = counts.get(("30d", "good"), 0), counts.get(("30d", "bad"), 0), age(30 * DAY)
    if not good + bad:
        return None
    return Success(
        percent(good / (good + bad)),
        f"of {counted(good + bad, 'run', 'runs')} in {window}",
        percent(policy.objective) if policy is not None else "",
        is_missed=policy is not None and bad > allowed_failures(policy, good, bad),
    )


def _slowest(view: PipelineView) -> Line | None:
    shares = view.stats.time_shares
    task, share = max(shares.items(), key=lambda item: item[1], default=("", 0.0))
    # If the time of a run goes into subflows, no task is to blame.
    return Line(task, percent(share), "") if share >= LEAST_SHARE else None


def links_of(view: PipelineView, status: PipelineStatus, links: Links) -> Iterator[Link]:
    """The dashboard opens in Grafana's default workspace: that label is set by Prometheus and unknown here."""
    candidates = []
    failed = view.stats.last_failure if not view.stats.last_failure_gone else None
    if links.prefect_url and failed is not None:
        candidates.append(Link("failed run", f"{links.prefect_url}/runs/flow-run/{quote(failed.run_id, safe='')}"))
    if links.prefect_url and view.deployment is not None:
        path = f"deployments/deployment/{quote(view.deployment.id, safe='')}"
        candidates.append(Link("deployment", f"{links.prefect_url}/{path}"))
    if links.grafana_url:
        variables = {"var-flow": view.pipeline.flow, "var-deployment": view.pipeline.deployment}
        query = urlencode(variables, quote_via=quote)
        candidates.append(Link("dashboard", f"{links.grafana_url}/d/prefect-flow?{query}"))
    if links.runbook_url and status.conditions:
        candidates.append(Link("runbook", f"{links.runbook_url}/{status.conditions[0].alert}.md"))
    return (link for link in candidates if link.url.startswith(("http://", "https://")))
