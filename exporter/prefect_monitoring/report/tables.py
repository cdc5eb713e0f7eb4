"""The report's tables: a row of text for each figure that is worth one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final
from zoneinfo import ZoneInfo

from prefect_monitoring.analysis.durations import format_duration
from prefect_monitoring.flows.slack_message import duration
from prefect_monitoring.model.actions import ActionResult
from prefect_monitoring.report.advice import likely_fix
from prefect_monitoring.report.document import Cell, Column, Table, Tone
from prefect_monitoring.report.figures import Budget, Figures, Idle, PipelineSuccess
from prefect_monitoring.report.wording import (
    MINUS,
    UNKNOWN,
    change,
    instant,
    listed,
    name_of,
    number,
    percent,
    points,
)

MAX_ROWS: Final = 20
_Rows = Sequence[tuple[Cell, ...]]
_WHY: Final = {"paused": "paused", "missed": "did not run when it was due", "never": "never ran"}


def tables_of(figures: Figures, zone: ZoneInfo) -> tuple[Table, ...]:
    return (
        _success(figures),
        _failures(figures, zone),
        _retrying(figures),
        _slower(figures),
        _budgets(figures),
        _volumes(figures),
        _automations(figures),
        _idle(figures, zone),
        _all(figures),
    )


def _table(title: str, note: str, columns: tuple[str, ...], rows: _Rows, nothing: str) -> Table:
    """A column whose title begins with `#` holds numbers."""
    found = tuple(Column(one.removeprefix("#"), is_number=one.startswith("#")) for one in columns)
    return Table(title, note, found, tuple(rows[:MAX_ROWS]), nothing, more=max(len(rows) - MAX_ROWS, 0))


_SUCCESS_COLUMNS: Final = ("Pipeline", "Team", "#Success", "#Objective", "#Before", "#Change", "#Failed", "#Runs")


def _success_row(one: PipelineSuccess) -> tuple[Cell, ...]:
    now, before = one.now.success_ratio, one.before.success_ratio if one.before else None
    tone: Tone = "bad" if one.is_below else ""
    return (
        Cell(name_of(one.pipeline)),
        Cell(one.team or UNKNOWN, "" if one.team else "dim"),
        Cell(percent(now), tone),
        Cell(percent(one.objective), "dim"),
        Cell(percent(before), "dim"),
        points(before, now),
        Cell(f"{one.now.bad:,}", "" if one.now.bad else "dim"),
        Cell(f"{one.now.runs:,}"),
    )


def _success(figures: Figures) -> Table:
    rows = [_success_row(one) for one in figures.pipelines if one.is_below or one.now.bad]
    note = "Pipelines with failed runs; those that missed their objective come first. Change is in percentage points."
    return _table("Success against objective", note, _SUCCESS_COLUMNS, rows, "No run failed.")


def _all(figures: Figures) -> Table:
    ordered = sorted(figures.pipelines, key=lambda one: one.pipeline)
    columns = tuple(Column(one.removeprefix("#"), is_number=one.startswith("#")) for one in _SUCCESS_COLUMNS)
    rows = tuple(_success_row(one) for one in ordered)
    return Table("All pipelines", "Every pipeline that ran now or before.", columns, rows, "None ran.", is_list=True)


def _failures(figures: Figures, zone: ZoneInfo) -> Table:
    rows = [
        (
            Cell(group.cause),
            Cell(group.pattern or "(message not kept)", "" if group.pattern else "dim"),
            Cell(f"{group.runs:,}"),
            Cell(listed(f"{name_of(pipeline)} ({runs:,})" for pipeline, runs in group.pipelines)),
            Cell(instant(group.last_at, zone)),
        )
        for group in figures.failures
    ]
    columns = ("Cause", "Message", "#Runs", "Pipelines", "Last")
    note = "Failed runs by cause and by what their messages have in common (# stands for what differs)."
    return _table("Failures by cause", note, columns, rows, "No run failed.")


def _retrying(figures: Figures) -> Table:
    rows = []
    for one in figures.retrying:
        cause = one.causes[0][0] if one.causes else ""
        before = UNKNOWN if one.before is None else f"{one.before:,}"
        causes = listed(f"{name} ({runs:,})" for name, runs in one.causes) or UNKNOWN
        rows.append(
            (
                Cell(one.task),
                Cell(name_of(one.pipeline)),
                Cell(f"{one.retries:,}"),
                Cell(before, "dim"),
                Cell(f"{one.runs:,}"),
                Cell(causes),
                Cell(likely_fix(cause)),
            )
        )
    columns = ("Task", "Pipeline", "#Retries", "#Before", "#Task runs", "Causes", "Likely fix")
    return _table("Tasks that retry most", "By whole days (UTC).", columns, rows, "No task was retried.")


def _slower(figures: Figures) -> Table:
    rows = [
        (
            Cell(one.task or "(whole run)", "" if one.task else "dim"),
            Cell(name_of(one.pipeline)),
            Cell(duration(one.now)),
            Cell(duration(one.before), "dim"),
            Cell(change(one.before, one.now), "bad"),
            Cell(f"{one.runs:,}"),
        )
        for one in figures.slower
    ]
    columns = ("Task", "Pipeline", "#Mean", "#Before", "#Change", "#Runs")
    note = "Means that grew by a quarter and by 10 s or more; what lost the most time comes first."
    return _table("Slower than before", note, columns, rows, "Nothing got slower, as far as it can be compared.")


def _budget_tone(one: Budget) -> Tone:
    return "bad" if one.left < 0 else ""


def _budgets(figures: Figures) -> Table:
    rows = [
        (
            Cell(name_of(one.pipeline)),
            Cell(percent(one.objective)),
            Cell(format_duration(one.window)),
            Cell(f"{one.failed:,}"),
            Cell(f"{one.allowed:,}"),
            Cell(f"{one.left:,}".replace("-", MINUS), _budget_tone(one)),
        )
        for one in figures.budgets
        if one.failed
    ]
    columns = ("Pipeline", "#Objective", "#Window", "#Failed", "#Allowed", "#Left")
    note = "Failed runs that the objective allows over its own window, which may be longer than this report."
    return _table("Budgets", note, columns, rows, "No budget was touched.")


def _volumes(figures: Figures) -> Table:
    rows = [
        (
            Cell(name_of(one.pipeline)),
            Cell(f"mean of {one.what}" if one.what else "runs"),
            Cell(number(one.now)),
            Cell(number(one.before), "dim"),
            Cell(change(one.before, one.now)),
        )
        for one in figures.volumes
    ]
    columns = ("Pipeline", "What", "#Now", "#Before", "#Change")
    note = "Numbers of runs, and means of custom metrics, that moved by half or more."
    return _table("Volumes", note, columns, rows, "No volume moved by half, as far as it can be compared.")


def _automations(figures: Figures) -> Table:
    rows = []
    for kind, results in sorted(figures.actions.items()):
        done = results.get(ActionResult.DONE, 0)
        others = listed(
            (f"{runs:,} {result.replace('_', ' ')}" for result, runs in sorted(results.items()) if result != "done"),
            len(ActionResult),
        )
        saved = f"{figures.saved:,} runs completed after it" if kind == "retry" and done else ""
        rows.append((Cell(kind.replace("_", " ")), Cell(f"{done:,}"), Cell(others or UNKNOWN), Cell(saved)))
    for name, failed in figures.failed_automations.items():
        rows.append((Cell(f"automation {name}"), Cell(UNKNOWN), Cell(f"{failed:,} failed", "bad"), Cell("")))
    columns = ("Action", "#Done", "Otherwise", "Effect")
    note = "What the rules of the pipelines file did, and what failed of Prefect's own automations."
    return _table("Automations", note, columns, rows, "No action was taken.")


def _idle(figures: Figures, zone: ZoneInfo) -> Table:
    rows = list(_idle_rows(figures.idle, zone))
    columns = ("Pipeline", "What", "Since")
    return _table("Paused, missed or never run", "As it stands now.", columns, rows, "None.")


def _idle_rows(idle: Sequence[Idle], zone: ZoneInfo) -> Iterator[tuple[Cell, ...]]:
    for one in idle:
        since = Cell(UNKNOWN, "dim") if one.since is None else Cell(instant(one.since, zone))
        yield Cell(name_of(one.pipeline)), Cell(_WHY[one.why], "bad" if one.why == "missed" else ""), since
