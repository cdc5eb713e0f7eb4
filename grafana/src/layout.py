"""Builds a dashboard from bands of panels: positions, ids and common settings."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as model

from grafana.src.links import TAG, between_dashboards

COLUMNS: Final = 24
# Grafana 10 writes 39; newer versions migrate it.
SCHEMA: Final = 39


@dataclass(frozen=True, slots=True)
class Band:
    """Panels side by side, of one height; with a heading if they start a part of the page."""

    height: int
    panels: tuple[tuple[model.Panel, int], ...]
    heading: str = ""


def band(height: int, *panels: tuple[model.Panel, int], heading: str = "") -> Band:
    """Panels with their widths, 24 in all."""
    if (width := sum(width for _, width in panels)) != COLUMNS:
        raise ValueError(f"{[panel.title for panel, _ in panels]} are {width} wide, not {COLUMNS}")
    return Band(height, panels, heading)


def _number(kind: str, title: str) -> int:
    # From the title, not the position: links to a panel stay valid when others are added before it.
    return zlib.crc32(f"{kind} {title}".encode()) % 100_000 + 1


def _placed(bands: Iterable[Band]) -> list[model.Panel | model.RowPanel]:
    placed: list[model.Panel | model.RowPanel] = []
    y = 0
    for band in bands:
        if band.heading:
            place = model.GridPos(h=1, w=COLUMNS, x=0, y=y)
            placed.append(
                model.RowPanel(title=band.heading, id_val=_number("row", band.heading), grid_pos=place, panels=[])
            )
            y += 1
        x = 0
        for panel, width in band.panels:
            panel.id_val = _number("panel", panel.title or "")
            panel.grid_pos = model.GridPos(h=band.height, w=width, x=x, y=y)
            placed.append(panel)
            x += width
        y += band.height
    ids = [panel.id_val for panel in placed]
    if len(set(ids)) != len(ids):
        raise ValueError("two panels have the same title, or titles with the same number: rename one")
    return placed


def board(
    *,
    uid: str,
    title: str,
    description: str,
    variables: Sequence[model.VariableModel],
    bands: Sequence[Band],
    since: str = "now-7d",
    refresh: str = "1m",
    annotations: Sequence[model.AnnotationQuery] = (),
) -> model.Dashboard:
    made = (
        build.Dashboard(f"Prefect / {title}")
        .uid(uid)
        .description(description)
        .tags([TAG])
        .time(since, "now")
        .refresh(refresh)
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .timezone("browser")
        .build()
    )
    made.schema_version = SCHEMA
    made.links = between_dashboards()
    made.templating = model.DashboardDashboardTemplating(list_val=list(variables))
    made.annotations = model.AnnotationContainer(list_val=list(annotations))
    made.panels = _placed(bands)
    return made
