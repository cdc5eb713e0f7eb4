"""A snapshot as the status page: HTML without a script, made at most once a snapshot, when it is asked for."""

from __future__ import annotations

import asyncio
import gzip
from base64 import b64encode
from collections import Counter
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Final

import jinja2

from prefect_monitoring.snapshot.model import Snapshot
from prefect_monitoring.web.exposition import GZIP_LEVEL, Body
from prefect_monitoring.web.status_page import formatting as words
from prefect_monitoring.web.status_page.banners import frozen_at, is_stalled, notices
from prefect_monitoring.web.status_page.conditions import Group
from prefect_monitoring.web.status_page.rows import Row, rows
from prefect_monitoring.web.status_page.sparkline import HEIGHT, WIDTH

CONTENT_TYPE: Final = "text/html; charset=utf-8"
RELOAD_SECONDS: Final = 30
_STYLE: Final = files(__package__).joinpath("style.css").read_text(encoding="utf-8")
_STYLE_HASH: Final = b64encode(sha256(_STYLE.encode()).digest()).decode()
HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
_COUNTS: Final = {
    Group.ATTENTION: ("needs attention", "need attention"),
    Group.UNWATCHED: ("fails unwatched", "fail unwatched"),
    Group.FINE: ("fine", "fine"),
    Group.IDLE: ("idle", "idle"),
}
_TITLES: Final = {
    Group.ATTENTION: "Needs attention",
    Group.UNWATCHED: "Failing, without an alert: no deployment, and not in the pipelines file",
    Group.FINE: "Fine",
    Group.IDLE: "Paused, or without runs",
}


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    rows: tuple[Row, ...]


def render_page(snapshot: Snapshot | None, stale_after: float, now: float) -> str:
    """The whole page; None before there is a snapshot."""
    return _template().render(
        snapshot=snapshot,
        words=words,
        style=_STYLE,
        width=WIDTH,
        height=HEIGHT,
        reload_seconds=RELOAD_SECONDS,
        **(_content(snapshot, stale_after, now) if snapshot is not None else {"tone": "warn", "title": "Starting"}),
    )


def _content(snapshot: Snapshot, stale_after: float, now: float) -> dict[str, object]:
    found = rows(snapshot)
    told = notices(snapshot, stale_after, now)
    counts = Counter(row.state.group for row in found)
    summary = [f"{counts[group]:,} {_COUNTS[group][counts[group] != 1]}" for group in Group if counts[group]]
    shown = frozen_at(snapshot, stale_after, now)
    is_bad = bool(counts[Group.ATTENTION]) or any(notice.tone == "bad" for notice in told)
    return {
        "notices": told,
        "summary": summary or ["No flow has run yet, and there is no deployment"],
        "title": told[0].text.partition(".")[0] if told and told[0].tone == "bad" else ", ".join(summary) or "No flows",
        "tone": "bad" if is_bad else "warn" if told else "ok",
        "sections": [
            Section(_TITLES[group], tuple(row for row in found if row.state.group == group))
            for group in Group
            if counts[group]
        ],
        "as_of": shown if shown is not None else snapshot.taken_at,
        "frozen": words.instant(shown, snapshot.taken_at) if shown is not None else "",
        "kept": sum(map(len, snapshot.series.values())),
    }


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


class StatusPage:
    """Makes the page of a snapshot on its first request, beside the event loop; the next ones get the same bytes."""

    def __init__(self, stale_after: float) -> None:
        self._stale_after = stale_after
        self._made: tuple[Snapshot | None, bool, Body] | None = None
        self._making = asyncio.Lock()

    async def of(self, snapshot: Snapshot | None, now: float) -> Body:
        # A snapshot that nothing has replaced for long says so: then its page is another one.
        stalled = snapshot is not None and is_stalled(snapshot, self._stale_after, now)
        async with self._making:
            if self._made is None or self._made[0] is not snapshot or self._made[1] != stalled:
                self._made = snapshot, stalled, await asyncio.to_thread(self._make, snapshot, now)
            return self._made[2]

    def _make(self, snapshot: Snapshot | None, now: float) -> Body:
        plain = render_page(snapshot, self._stale_after, now).encode()
        return Body(CONTENT_TYPE, plain, gzip.compress(plain, GZIP_LEVEL, mtime=0))
