"""The banners above the table: why it is out of date, incomplete or wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prefect_monitoring.snapshot.model import Snapshot
from prefect_monitoring.web.status_page.formatting import age, counted, moment
from prefect_monitoring.web.status_page.pipeline_view import complete_to
from prefect_monitoring.web.status_page.tone import Tone
from prefect_monitoring.web.status_page.watched import outage


@dataclass(frozen=True, slots=True)
class Banner:
    """`tone`: BAD when the page is out of date or wrong, WARN when something is missing."""

    tone: Tone
    text: str

    @property
    def headline(self) -> str:
        """The first sentence, without its full stop."""
        return self.text.partition(".")[0]


def banners(snapshot: Snapshot, stale_after: float, now: float) -> list[Banner]:
    """The most important first. `now`: the reader's clock; `stale_after`: the age in seconds of outdated data."""
    return [*_out_of_date(snapshot, stale_after, now), *_gaps(snapshot), *_faults(snapshot)]


def is_stalled(snapshot: Snapshot, stale_after: float, now: float) -> bool:
    """Whether the snapshot is too old, because no newer one came."""
    return now - snapshot.taken_at > stale_after


def frozen_at(snapshot: Snapshot, stale_after: float, now: float) -> float | None:
    """The instant that the page shows; None when it shows the present."""
    if is_stalled(snapshot, stale_after, now):
        return snapshot.taken_at
    known_until = complete_to(snapshot)
    is_behind = known_until is not None and snapshot.taken_at - known_until > stale_after
    return known_until if is_behind or snapshot.about.api_up is False else None


def _out_of_date(snapshot: Snapshot, stale_after: float, now: float) -> Iterator[Banner]:
    shown_at = frozen_at(snapshot, stale_after, now)
    instant = "Nothing is known yet."
    if shown_at is not None:
        instant = f"This page shows {moment(shown_at)}, not the present."
    if is_stalled(snapshot, stale_after, now):
        yield Banner(Tone.BAD, f"Polling has stopped: restart the exporter. {instant}")
    elif fault := outage(snapshot):
        yield Banner(Tone.BAD, f"{fault}. {instant}")
    elif shown_at is not None:
        behind = age(snapshot.taken_at - shown_at)
        yield Banner(Tone.BAD, f"Finished runs of the last {behind} are not read yet. {instant}")
    for fault in snapshot.health.not_ready:
        yield Banner(Tone.BAD if snapshot.health.baseline_complete else Tone.WARN, f"Not ready: {fault}")


def _gaps(snapshot: Snapshot) -> Iterator[Banner]:
    if not snapshot.health.baseline_complete:
        text = "History is still being loaded: past runs, ratios and durations appear when it is complete."
        yield Banner(Tone.WARN, text)
    if snapshot.active is None:
        text = "Active runs are not known: nothing is shown as running, late or stuck."
        yield Banner(Tone.WARN, text)
    if snapshot.deployments is None:
        text = "Deployments could not be listed lately: links to them and new ones are missing."
        yield Banner(Tone.WARN, text)


def _faults(snapshot: Snapshot) -> Iterator[Banner]:
    about = snapshot.about
    if about.pipelines_file is not None and not about.pipelines_file.valid:
        text = "The pipelines file is invalid, the last valid one is in use: see the exporter's log."
        yield Banner(Tone.BAD, text)
    acting = snapshot.actions.acting if snapshot.actions is not None else None
    if acting is not None and acting.stopped_at is not None:
        why = f"The fuse is blown ({acting.stopped_by})" if acting.fuse_blown else "Somebody stopped actions"
        yield Banner(Tone.BAD, f"{why}. Nothing is retried, paused, scaled or skipped until they are resumed.")
    for kind, reconciliation in about.reconciliations.items():
        if reconciliation.missing:
            runs = counted(reconciliation.missing, "finished run", "finished runs")
            yield Banner(Tone.BAD, f"{runs} that Prefect has could not be counted ({kind.replace('_', ' ')}).")
    if any(about.folded.values()):
        text = "Label caps were reached: some runs count as (other), and have no separate row."
        yield Banner(Tone.WARN, text)
