"""The list of dashboards, and their files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from grafana.src import automations, bottlenecks, custom_metrics, exporter, flow, overview, retries, slo, workers

DASHBOARDS: Final[tuple[Callable[[], model.Dashboard], ...]] = (
    overview.dashboard,
    flow.dashboard,
    bottlenecks.dashboard,
    retries.dashboard,
    slo.dashboard,
    workers.dashboard,
    automations.dashboard,
    custom_metrics.dashboard,
    exporter.dashboard,
)
FOLDER: Final = Path(__file__).parents[1] / "dashboards"


def rendered() -> dict[str, str]:
    """File names and their contents, the same on every machine."""
    files = {}
    for make in DASHBOARDS:
        dashboard = make()
        files[f"{dashboard.uid}.json"] = json.dumps(dashboard, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"
    return files


def write() -> None:
    """Writes the dashboards of the list to the folder, and deletes others."""
    files = rendered()
    for old in FOLDER.glob("*.json"):
        if old.name not in files:
            old.unlink()
    FOLDER.mkdir(exist_ok=True)
    for name, text in files.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
