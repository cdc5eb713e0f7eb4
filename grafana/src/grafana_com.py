"""The dashboards for grafana.com: `python -m grafana.src.grafana_com FOLDER`.

On import, Grafana asks for the data source. Nothing else differs from the committed file: the answer is where the
variable of the dashboard starts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from grafana.src.render import FOLDER

INPUT: Final = "DS_PROMETHEUS"
OLDEST_GRAFANA: Final = "10.0.0"
# Panels by type, as Grafana calls them.
PANELS: Final = {
    "barchart": "Bar chart",
    "bargauge": "Bar gauge",
    "stat": "Stat",
    "state-timeline": "State timeline",
    "status-history": "Status history",
    "table": "Table",
    "timeseries": "Time series",
}


def for_grafana_com(dashboard: Mapping[str, Any]) -> dict[str, Any]:
    """`dashboard` with the header of a shared dashboard."""
    asked = {
        "name": INPUT,
        "label": "Prometheus",
        "description": "Where the metrics of prefect-monitoring are.",
        "type": "datasource",
        "pluginId": "prometheus",
        "pluginName": "Prometheus",
    }
    variables = [
        {**variable, "current": {"text": f"${{{INPUT}}}", "value": f"${{{INPUT}}}"}}
        if variable["type"] == "datasource"
        else variable
        for variable in dashboard["templating"]["list"]
    ]
    return {
        "__inputs": [asked],
        "__elements": {},
        "__requires": list(_required(dashboard)),
        "id": None,
        **dashboard,
        "templating": {"list": variables},
    }


def _required(dashboard: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    yield {"type": "grafana", "id": "grafana", "name": "Grafana", "version": OLDEST_GRAFANA}
    yield {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"}
    top = dashboard["panels"]
    within = [panel for row in top for panel in row.get("panels") or ()]
    for kind in sorted({panel["type"] for panel in (*top, *within)} - {"row"}):
        yield {"type": "panel", "id": kind, "name": PANELS[kind], "version": ""}


def main(folder: Path) -> None:
    """Writes a file for each dashboard, under the same name."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in FOLDER.glob("*.json"):
        shared = for_grafana_com(json.loads(path.read_text(encoding="utf-8")))
        (folder / path.name).write_text(json.dumps(shared, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
