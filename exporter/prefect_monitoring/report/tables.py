"""The report's tables: a row of text for each figure that is reported."""

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
    titled = tuple(Column(heading.removeprefix("#"), is_number=heading.startswith("#")) for heading in columns)
    return Table(title, note, titled, tuple(rows[:MAX_ROWS]), nothing, more=max(len(rows) - MAX_ROWS, 0))


_SUCCESS_COLUMNS: Final = ("Pipeline", "Team", "#Success", "#Objective", "#Before", "#Change", "#Failed", "#Runs")


def _success_row(success: PipelineSuccess) -> tuple[Cell, ...]:
    now, before = success.now.success_ratio, success.before.success_ratio if success.before else None
    tone: Tone = "bad" if success.is_below else ""
    return (
        Cell(name_of(success.pipeline)),
        Cell(success.team or UNKNOWN, "" if success.team else "dim"),
        Cell(percent(now), tone),
        Cell(percent(success.objective), "dim"),
        Cell(percent(before), "dim"),
        points(before, now),
        Cell(f"{success.now.bad:,}", "" if success.now.bad else "dim"),
        Cell(f"{success.now.runs:,}"),
    )


def _success(figures: Figures) -> Table:
    rows = [_success_row(success) for success in figures.pipelines if success.is_below or success.now.bad]
    note = "Pipelines with failed runs; those that missed their objective come first. Change is in percentage points."
    return _table("Success against objective", note, _SUCCESS_COLUMNS, rows, "No run failed.")


def _all(figures: Figures) -> Table:
    ordered = sorted(figures.pipelines, key=lambda success: success.pipeline)
    columns = tuple(
        Column(heading.removeprefix("#"), is_number=heading.startswith("#")) for heading in _SUCCESS_COLUMNS
    )
    rows = tuple(_success_row(success) for success in ordered)
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
    for task in figures.retrying:
        cause = task.causes[0][0] if task.causes else ""
        before = UNKNOWN if task.before is None else f"{task.before:,}"
        causes = listed(f"{name} ({runs:,})" for name, runs in task.causes) or UNKNOWN
        rows.append(
            (
                Cell(task.task),
                Cell(name_of(task.pipeline)),
                Cell(f"{task.retries:,}"),
                Cell(before, "dim"),
                Cell(f"{task.runs:,}"),
                Cell(causes),
                Cell(likely_fix(cause)),
            )
        )
    columns = ("Task", "Pipeline", "#Retries", "#Before", "#Task runs", "Causes", "Likely fix")
    return _table("Tasks that retry most", "By whole days (UTC).", columns, rows, "No task was retried.")


def _slower(figures: Figures) -> Table:
    rows = [
        (
            Cell(slower.task or "(whole run)", "" if slower.task else "dim"),
            Cell(name_of(slower.pipeline)),
            Cell(duration(slower.now)),
            Cell(duration(slower.before), "dim"),
            Cell(change(slower.before, slower.now), "bad"),
            Cell(f"{slower.runs:,}"),
        )
        for slower in figures.slower
    ]
    columns = ("Task", "Pipeline", "#Mean", "#Before", "#Change", "#Runs")
    note = "Means that grew by a quarter and by 10 s or more; what lost the most time comes first."
    return _table("Slower than before", note, columns, rows, "Nothing got slower, as far as it can be compared.")


def _budget_tone(budget: Budget) -> Tone:
    return "bad" if budget.left < 0 else ""


def _budgets(figures: Figures) -> Table:
    rows = [
        (
            Cell(name_of(budget.pipeline)),
            Cell(percent(budget.objective)),
            Cell(format_duration(budget.window)),
            Cell(f"{budget.failed:,}"),
            Cell(f"{budget.allowed:,}"),
            Cell(f"{budget.left:,}".replace("-", MINUS), _budget_tone(budget)),
        )
        for budget in figures.budgets
        if budget.failed
    ]
    columns = ("Pipeline", "#Objective", "#Window", "#Failed", "#Allowed", "#Left")
    note = "Failed runs that the objective allows over its own window, which may be longer than this report."
    return _table("Budgets", note, columns, rows, "No budget was touched.")


def _volumes(figures: Figures) -> Table:
    rows = [
        (
            Cell(name_of(volume.pipeline)),
            Cell(f"mean of {volume.what}" if volume.what else "runs"),
            Cell(number(volume.now)),
            Cell(number(volume.before), "dim"),
            Cell(change(volume.before, volume.now)),
        )
        for volume in figures.volumes
    ]
    columns = ("Pipeline", "What", "#Now", "#Before", "#Change")
    note = "Numbers of runs, and means of custom metrics, that moved by half or more."
    return _table("Volumes", note, columns, rows, "No volume moved by half, as far as it can be compared.")


def _automations(figures: Figures) -> Table:
    rows = []
    for kind, results in sorted(figures.actions.items()):
        done = results.get(ActionResult.DONE, 0)
        otherwise = listed(
            (f"{runs:,} {result.replace('_', ' ')}" for result, runs in sorted(results.items()) if result != "done"),
            len(ActionResult),
        )
        saved = f"{figures.saved:,} runs completed after it" if kind == "retry" and done else ""
        rows.append((Cell(kind.replace("_", " ")), Cell(f"{done:,}"), Cell(otherwise or UNKNOWN), Cell(saved)))
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
    for deployment in idle:
        since = Cell(UNKNOWN, "dim") if deployment.since is None else Cell(instant(deployment.since, zone))
        yield (
            Cell(name_of(deployment.pipeline)),
            Cell(_WHY[deployment.why], "bad" if deployment.why == "missed" else ""),
            since,
        )
