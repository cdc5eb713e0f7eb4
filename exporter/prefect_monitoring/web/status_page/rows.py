"""The rows of the status page: a pair's state, its last run, its success, its durations, where to look next."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlencode

from prefect_monitoring.model.records import Pair
from prefect_monitoring.snapshot.model import Links, Snapshot
from prefect_monitoring.web.status_page.conditions import State, allowed_failures, slo_runs, state_of
from prefect_monitoring.web.status_page.formatting import age, counted, instant, percent, span
from prefect_monitoring.web.status_page.pipeline_view import Case, cases
from prefect_monitoring.web.status_page.sparkline import Sparkline, sparkline


@dataclass(frozen=True, slots=True)
class Link:
    text: str
    url: str


@dataclass(frozen=True, slots=True)
class Line:
    """A remark as it is shown; `when` is "" for one without a beginning."""

    text: str
    detail: str
    when: str


@dataclass(frozen=True, slots=True)
class Success:
    """A ratio, what it is of, its objective ("" for none), and whether more failed than that allows."""

    ratio: str
    of: str
    objective: str
    is_missed: bool


@dataclass(frozen=True, slots=True)
class Row:
    pair: Pair
    badges: tuple[str, ...]
    state: State
    lines: tuple[Line, ...]
    last_run: Line | None
    success: Success | None
    durations: Sparkline | None
    slowest: Line | None
    links: tuple[Link, ...]


def rows(snapshot: Snapshot) -> list[Row]:
    """What needs attention first, the critical before the rest; within that by name, so that rows stay in place."""
    found = [_row(case, snapshot.about.links) for case in cases(snapshot)]
    return sorted(found, key=lambda row: (row.state.group, row.state.rank, row.pair))


def _row(case: Case, links: Links) -> Row:
    state = state_of(case)
    policy = case.policy
    is_usual = policy is None or policy.criticality == "standard"
    badges = ("" if is_usual or policy is None else policy.criticality, policy.team if policy is not None else "")
    return Row(
        pair=case.pair,
        badges=tuple(badge for badge in badges if badge),
        state=state,
        lines=tuple(
            Line(one.text, one.detail, _since(one.since, case.now) if one.since is not None else "")
            for one in state.remarks
        ),
        last_run=_last_run(case),
        success=_success(case),
        durations=sparkline(case.standing.recent_durations, policy.max_duration if policy is not None else None),
        slowest=_slowest(case),
        links=tuple(_links(case, state, links)),
    )


def _since(at: float, now: float) -> str:
    return f"since {instant(at, now)} ({age(now - at)})" if at <= now else f"due {instant(at, now)}"


def _last_run(case: Case) -> Line | None:
    """How long it took is known of the last completed and of the last failed run."""
    if case.newest_outcome is None:
        return None
    outcome, at = case.newest_outcome
    failed = case.standing.last_failure
    seconds = case.standing.last_duration if outcome == "completed" else failed.duration if failed else None
    took = f"took\u00a0{span(seconds)}" if seconds is not None and outcome != "cancelled" else ""
    return Line(f"{age(case.now - at)} ago", took, instant(at, case.now))


def _success(case: Case) -> Success | None:
    """Over the SLO's window where there is one, else over 30 days; None without a run that counts."""
    slo = slo_runs(case, case.policy) if case.policy is not None else None
    if slo is not None and case.policy is not None:
        good, bad, window = *slo, age(case.policy.window)
    else:
        windows = case.standing.window_runs
        good, bad, window = windows.get(("30d", "good"), 0), windows.get(("30d", "bad"), 0), age(30 * 86400)
    if not good + bad:
        return None
    return Success(
        percent(good / (good + bad)),
        f"of {counted(good + bad, 'run', 'runs')} in {window}",
        percent(case.policy.objective) if case.policy is not None else "",
        is_missed=case.policy is not None and bad > allowed_failures(case.policy, good, bad),
    )


def _slowest(case: Case) -> Line | None:
    shares = case.standing.time_shares
    if not shares:
        return None
    task = max(shares, key=lambda one: shares[one])
    return Line(task, percent(shares[task]), "")


def _links(case: Case, state: State, links: Links) -> list[Link]:
    """Grafana's default workspace holds: it is a label that Prometheus gives its target, unknown to the exporter."""
    found = []
    failed = case.standing.last_failure
    if links.prefect_url and failed is not None:
        found.append(Link("failed run", f"{links.prefect_url}/runs/flow-run/{quote(failed.run_id, safe='')}"))
    if links.prefect_url and case.deployment is not None:
        found.append(
            Link("deployment", f"{links.prefect_url}/deployments/deployment/{quote(case.deployment.id, safe='')}")
        )
    if links.grafana_url:
        names = {"var-flow": case.pair.flow, "var-deployment": case.pair.deployment}
        found.append(Link("dashboard", f"{links.grafana_url}/d/prefect-flow?{urlencode(names, quote_via=quote)}"))
    alert = state.remarks[0].alert
    if links.runbook_url and alert:
        found.append(Link("runbook", f"{links.runbook_url}/{alert}.md"))
    return [link for link in found if link.url.startswith(("http://", "https://"))]
