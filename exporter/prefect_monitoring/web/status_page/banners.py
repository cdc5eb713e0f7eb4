"""What stands above the table because it changes how to read it: what is not of now, not known, not right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prefect_monitoring.snapshot.model import Snapshot
from prefect_monitoring.web.status_page.formatting import age, counted, moment
from prefect_monitoring.web.status_page.pipeline_view import read_at


@dataclass(frozen=True, slots=True)
class Notice:
    """`tone`: bad when what is shown is not of now or not right, warn when something is missing."""

    tone: str
    text: str


def notices(snapshot: Snapshot, stale_after: float, now: float) -> list[Notice]:
    """`now` is the reader's; `stale_after`, seconds, is how old what is shown may be and still pass for the present."""
    return [*_age(snapshot, stale_after, now), *_gaps(snapshot), *_faults(snapshot)]


def is_stalled(snapshot: Snapshot, stale_after: float, now: float) -> bool:
    return now - snapshot.taken_at > stale_after


def frozen_at(snapshot: Snapshot, stale_after: float, now: float) -> float | None:
    """The instant that is shown, where that is not now."""
    if is_stalled(snapshot, stale_after, now):
        return snapshot.taken_at
    known_until = read_at(snapshot)
    is_late = known_until is not None and snapshot.taken_at - known_until > stale_after
    return known_until if is_late or snapshot.about.api_up is False else None


def _age(snapshot: Snapshot, stale_after: float, now: float) -> Iterator[Notice]:
    shown = frozen_at(snapshot, stale_after, now)
    what = f"What follows is of {moment(shown)}, not of now." if shown is not None else "Nothing is known yet."
    if is_stalled(snapshot, stale_after, now):
        yield Notice("bad", f"Polling has stopped: restart the exporter. {what}")
    elif snapshot.about.api_up is False:
        yield Notice("bad", f"The Prefect API does not answer. {what}")
    elif shown is not None:
        yield Notice("bad", f"Finished runs of the last {age(snapshot.taken_at - shown)} are not read yet. {what}")
    for fault in snapshot.health.not_ready:
        yield Notice("bad" if snapshot.health.level_complete else "warn", f"Not ready: {fault}")


def _gaps(snapshot: Snapshot) -> Iterator[Notice]:
    if not snapshot.health.level_complete:
        yield Notice("warn", "History is still being loaded: past runs, ratios and durations come when it is complete.")
    if snapshot.active is None:
        yield Notice("warn", "What runs or waits now is not known: nothing is shown as running, late or stuck.")
    if snapshot.deployments is None:
        yield Notice("warn", "Deployments could not be listed lately: links to them and new ones are missing.")


def _faults(snapshot: Snapshot) -> Iterator[Notice]:
    about = snapshot.about
    if about.pipelines_file is not None and not about.pipelines_file.valid:
        yield Notice("bad", "The pipelines file is broken, the last good one holds: the exporter's log tells why.")
    for kind, audit in about.audits.items():
        if audit.missing:
            runs = counted(audit.missing, "finished run", "finished runs")
            yield Notice("bad", f"{runs} that Prefect has could not be counted ({kind.replace('_', ' ')}).")
    if any(about.folded.values()):
        yield Notice("warn", "Label caps were reached: some runs count as (other), and have no row of their own.")
