"""Renders a snapshot as the status page: HTML without a script, at most once per snapshot and on demand."""

from __future__ import annotations

import asyncio
import gzip
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Final

import jinja2

from prefect_monitoring.snapshot.model import Snapshot
from prefect_monitoring.web.exposition import GZIP_LEVEL, Body
from prefect_monitoring.web.status_page import formatting, watched
from prefect_monitoring.web.status_page.actions import ActionRow, action_rows
from prefect_monitoring.web.status_page.banners import Banner, banners, frozen_at, is_stalled
from prefect_monitoring.web.status_page.rows import Row, make_rows
from prefect_monitoring.web.status_page.sparkline import HEIGHT, WIDTH
from prefect_monitoring.web.status_page.status import Group
from prefect_monitoring.web.status_page.tone import Tone

CONTENT_TYPE: Final = "text/html; charset=utf-8"
RELOAD_SECONDS: Final = 30
STYLE: Final = files(__package__).joinpath("style.css").read_text(encoding="utf-8")
_STYLE_HASH: Final = b64encode(sha256(STYLE.encode()).digest()).decode()
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
    Group.IDLE: "Paused, or without a success",
}


@dataclass(frozen=True, slots=True)
class Count:
    """How many pipelines are in a group, in words."""

    text: str
    is_bad: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Content:
    """What the page says about a snapshot. `frozen`: the instant that it shows, "" when that is the present."""

    title: str
    tone: Tone
    banners: tuple[Banner, ...]
    summary: tuple[Count, ...]
    sections: tuple[Section, ...]
    actions: tuple[ActionRow, ...]
    as_of: float
    frozen: str
    kept_series: int


def render_page(snapshot: Snapshot | None, stale_after: float, now: float) -> str:
    """The whole page as HTML. `snapshot` is None during the start; `stale_after` in seconds, `now` in epoch seconds."""
    content = _content(snapshot, stale_after, now) if snapshot is not None else None
    return _template().render(
        title=content.title if content is not None else "Starting",
        tone=content.tone if content is not None else Tone.WARN,
        snapshot=snapshot,
        content=content,
        formatting=formatting,
        watched=watched,
        style=STYLE,
        width=WIDTH,
        height=HEIGHT,
        reload_seconds=RELOAD_SECONDS,
    )


def _content(snapshot: Snapshot, stale_after: float, now: float) -> Content:
    rows = make_rows(snapshot)
    shown_banners = tuple(banners(snapshot, stale_after, now))
    by_group = {group: tuple(row for row in rows if row.status.group == group) for group in Group}
    sections = {group: members for group, members in by_group.items() if members}
    summary = tuple(
        Count(f"{len(members):,} {_COUNTS[group][len(members) != 1]}", is_bad=group is Group.ATTENTION)
        for group, members in sections.items()
    )
    shown_at = frozen_at(snapshot, stale_after, now)
    return Content(
        title=_title(shown_banners, summary),
        tone=overall_tone(Group.ATTENTION in sections, shown_banners),
        banners=shown_banners,
        summary=summary or (Count("No flow has run yet, and there is no deployment"),),
        sections=tuple(Section(_TITLES[group], members) for group, members in sections.items()),
        actions=tuple(action_rows(snapshot)),
        as_of=shown_at if shown_at is not None else snapshot.taken_at,
        frozen=formatting.instant(shown_at, snapshot.taken_at) if shown_at is not None else "",
        kept_series=sum(map(len, snapshot.series.values())),
    )


def overall_tone(attention: bool, shown_banners: Sequence[Banner]) -> Tone:
    """The tone of the whole page. `attention`: whether a pipeline needs attention."""
    if attention or any(banner.tone is Tone.BAD for banner in shown_banners):
        return Tone.BAD
    return Tone.WARN if shown_banners else Tone.OK


def _title(shown_banners: Sequence[Banner], summary: Sequence[Count]) -> str:
    """The page's title, as the browser tab shows it."""
    if shown_banners and shown_banners[0].tone is Tone.BAD:
        return shown_banners[0].headline
    return ", ".join(count.text for count in summary) or "No flows"


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
    """Renders the page of a snapshot in a thread on its first request; later requests get the same bytes.

    `render` gets the snapshot, `stale_after` in seconds, and the time of the request in epoch seconds.
    """

    def __init__(
        self,
        stale_after: float,
        render: Callable[[Snapshot | None, float, float], str] = render_page,
        content_type: str = CONTENT_TYPE,
    ) -> None:
        self._stale_after = stale_after
        self._text = render
        self._content_type = content_type
        self._rendered: tuple[Snapshot | None, bool, Body] | None = None
        self._rendering = asyncio.Lock()

    async def of(self, snapshot: Snapshot | None, now: float) -> Body:
        """The page's bytes; `now`, epoch seconds, is when it is asked for."""
        # The page of a snapshot changes once: when the snapshot has become too old.
        stalled = snapshot is not None and is_stalled(snapshot, self._stale_after, now)
        async with self._rendering:
            if self._rendered is None or self._rendered[0] is not snapshot or self._rendered[1] != stalled:
                self._rendered = snapshot, stalled, await asyncio.to_thread(self._render, snapshot, now)
            return self._rendered[2]

    def _render(self, snapshot: Snapshot | None, now: float) -> Body:
        plain = self._text(snapshot, self._stale_after, now).encode()
        return Body(self._content_type, plain, gzip.compress(plain, GZIP_LEVEL, mtime=0))
