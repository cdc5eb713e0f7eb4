"""Writes the report's text from its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final
from zoneinfo import ZoneInfo

from prefect_monitoring.model.actions import ActionResult, Kind
from prefect_monitoring.model.units import DAY
from prefect_monitoring.report import tables
from prefect_monitoring.report.document import Document, Line
from prefect_monitoring.report.figures import Figures
from prefect_monitoring.report.wording import count, date, day, instant, listed, name_of, percent

# What was done, for one and for many.
_DONE: Final = {
    Kind.RETRY: ("retry", "retries"),
    Kind.PAUSE: ("pause", "pauses"),
    Kind.SCALE_UP: ("raised limit", "raised limits"),
    Kind.SKIP: ("skipped run", "skipped runs"),
    Kind.MARK_CRASHED: ("run marked Crashed", "runs marked Crashed"),
}


def document_of(figures: Figures, zone: ZoneInfo) -> Document:
    """The report in words; its instants are those of clocks in `zone`."""
    hours = figures.hours
    days = (hours.end - hours.start) // DAY
    title = f"Prefect: the {count(days, 'day')} to {date(figures.at, zone)}"
    scope = f"team {figures.team}" if figures.team else "all teams"
    return Document(
        title=title,
        period=f"{instant(hours.start, zone)} to {instant(figures.at, zone)} ({zone.key}), {scope}",
        lines=(
            _success(figures),
            _failures(figures),
            _budgets(figures),
            _speed(figures),
            _activity(figures),
        ),
        tables=tables.tables_of(figures, zone),
        notes=tuple(_notes(figures, zone)),
    )


def _success(figures: Figures) -> Line:
    now = figures.total.success_ratio
    if now is None:
        return Line("Success", "No run ended in this time.", "dim")
    before = figures.total_before.success_ratio if figures.total_before else None
    compared = f" (before: {percent(before)})" if before is not None else ""
    promised = [success for success in figures.pipelines if success.objective is not None and success.now.runs]
    below = len(figures.below)
    missed = f" {below:,} of {count(len(promised), 'pipeline')} with an objective missed it." if promised else ""
    text = f"{percent(now)} of {count(figures.total.runs, 'run')} completed{compared}.{missed}"
    return Line("Success", text, "bad" if below else "good")


def _failures(figures: Figures) -> Line:
    failed = [success for success in figures.pipelines if success.now.bad]
    if not failed:
        return Line("Failures", "No run failed.", "good")
    most = sorted(failed, key=lambda success: (-success.now.bad, success.pipeline))
    causes: Counter[str] = Counter()
    for group in figures.failures:
        causes[group.cause] += group.runs
    main = "".join(f" Most common cause: {cause} ({runs:,})." for cause, runs in causes.most_common(1))
    worst = listed(f"{name_of(success.pipeline)} ({success.now.bad:,})" for success in most)
    runs, pipelines = count(figures.total.bad, "run"), count(len(failed), "pipeline")
    return Line("Failures", f"{runs} of {pipelines} failed: {worst}.{main}", "bad")


def _budgets(figures: Figures) -> Line:
    if not figures.budgets:
        return Line("Budgets", "No pipeline with an objective has run.", "dim")
    spent = [name_of(budget.pipeline) for budget in figures.budgets if budget.left < 0]
    used_up = sum(budget.left == 0 for budget in figures.budgets)
    last = f" {count(used_up, 'pipeline')} cannot afford another failure." if used_up else ""
    if not spent:
        return Line("Budgets", f"No budget is overspent.{last}", "" if used_up else "good")
    return Line("Budgets", f"{count(len(spent), 'budget is', 'budgets are')} overspent: {listed(spent)}.{last}", "bad")


def _speed(figures: Figures) -> Line:
    pipelines = [item for item in figures.slower if not item.task]
    tasks = len(figures.slower) - len(pipelines)
    if figures.slower:
        worst = figures.slower[0]
        what = f"{worst.task} of {name_of(worst.pipeline)}" if worst.task else name_of(worst.pipeline)
        slower = f"{count(len(pipelines), 'pipeline')} and {count(tasks, 'task')} got slower, first {what}."
    else:
        slower = "Nothing got slower." if figures.total_before else "What got slower is not known yet."
    compared = f" (before: {figures.retries_before:,})" if figures.retries_before is not None else ""
    most = figures.retrying[0] if figures.retrying else None
    first = f", most in {most.task} of {name_of(most.pipeline)}" if most else ""
    retries = f"{count(figures.retries, 'task retry', 'task retries')}{compared}{first}."
    return Line("Speed and retries", f"{slower} {retries}", "bad" if figures.slower else "")


def _activity(figures: Figures) -> Line:
    done = _done(figures)
    acted = f"{listed(done, len(done))}." if done else "No action was taken."
    failed = sum(figures.failed_automations.values())
    broken = f" {count(failed, 'action')} of Prefect's own automations failed." if failed else ""
    why: Counter[str] = Counter(deployment.why for deployment in figures.idle)
    parts = {"paused": "paused", "missed": "missed a start", "never": "never ran"}
    idle = [f"{why[key]:,} {text}" for key, text in parts.items() if why[key]]
    deployments = f" Deployments: {', '.join(idle)}." if idle else " No deployment is paused or missed a start."
    return Line("Activity", acted + broken + deployments, "bad" if failed or why["missed"] else "")


def _done(figures: Figures) -> list[str]:
    counts = {kind: figures.actions.get(kind, {}).get(ActionResult.DONE, 0) for kind in _DONE}
    parts = {kind: count(done, *_DONE[kind]) for kind, done in counts.items() if done}
    if Kind.RETRY in parts and figures.saved:
        parts[Kind.RETRY] += f" ({count(figures.saved, 'run')} completed after it)"
    return list(parts.values())


def _notes(figures: Figures, zone: ZoneInfo) -> Iterator[str]:
    days = figures.days
    yield (
        "Runs count once, by their last state; cancelled runs do not count. Tasks and custom metrics are counted by"
        f" whole days (UTC): {day(days.start, ZoneInfo('UTC'))} to {day(days.end - DAY, ZoneInfo('UTC'))}."
    )
    if figures.total_before is None:
        yield "The time before is not compared: the ledger does not reach that far back."
    if figures.days_from is not None:
        yield f"Tasks and custom metrics are known since {instant(figures.days_from, zone)}."
    grouped = sum(group.runs for group in figures.failures)
    if grouped < figures.total.bad:
        yield f"The causes of {count(figures.total.bad - grouped, 'failed run')} are no longer kept (lookback)."
    if figures.elsewhere.runs:
        runs = count(figures.elsewhere.runs, "run")
        yield f"Not part of these figures: {runs} of deleted pipelines, or of pipelines beyond max_pairs."
