"""Data of many pipelines for a Prometheus: the series of a small team's exporter, copied under other flow names."""

from __future__ import annotations

import math
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TextIO

from dashboards.site import open_site
from grafana.src.promql import SUMMED
from months.rules import shipped_groups
from prefect_monitoring.backfill.families import RECORDED_PARTS, as_labels
from prefect_monitoring.backfill.openmetrics import UNCHANGED
from prefect_monitoring.model.counted_metrics import COUNTED_METRICS
from support.prometheus import Vector, binary

HOUR: Final = 3600
DAY: Final = 86400
DAYS: Final = 2
SCRAPE_SECONDS: Final = 60
_WRITTEN_ANEW: Final = (
    UNCHANGED,
    *(row.recorded(name, part) for row in COUNTED_METRICS.values() for name in row.counters for part in RECORDED_PARTS),
    *SUMMED.values(),
)
_COUNTERS: Final = ("_total", "_sum", "_count", "_bucket")


def template_of_a_team(directory: Path) -> Vector:
    """Every series of a site in trouble, recorded ones included, with its value."""
    directory.mkdir()
    with open_site(directory, make_history=lambda *_: None) as site:
        site.get_into_trouble()
        prometheus = site.prometheus
        # The other rules read it, and some of them are not evaluated for minutes.
        prometheus.wait_for("last_over_time(flow_deployment_task:prefect_task_run_seconds:last[5m])", bool, timeout=90)
        rules = [rule for group in shipped_groups() for rule in group["rules"] if "record" in rule]
        recorded = {
            frozenset({**dict(labels), "__name__": rule["record"]}.items()): value
            for rule in rules
            for labels, value in prometheus.query(rule["expr"]).items()
        }
        return recorded | prometheus.query('{__name__=~".+"}')


def copied(template: Vector, pipelines: int) -> Iterator[tuple[dict[str, str], float]]:
    """The series of the template, those of pipelines as often as needed, under other names of flows."""
    own = {
        (labels["flow"], labels["deployment"])
        for labels in map(dict, template)
        if labels["__name__"] == "prefect_pipeline_info"
    }
    for key, value in template.items():
        labels = dict(key)
        if labels["__name__"] in _WRITTEN_ANEW:
            continue
        if (labels.get("flow"), labels.get("deployment")) not in own:
            yield labels, value
            continue
        for copy in range(-(-pipelines // len(own))):
            yield ({**labels, "flow": f"{labels['flow']}-{copy}"} if copy else labels), value


def write_blocks(series: Sequence[tuple[dict[str, str], float]], end: float, directory: Path) -> None:
    text = directory / "samples.txt"
    with text.open("w") as output:
        _write_samples(series, end, output)
    command = [binary("promtool"), "tsdb", "create-blocks-from", "--max-block-duration=48h", "openmetrics"]
    subprocess.run([*command, text, directory / "data"], check=True, capture_output=True)  # noqa: S603 our own
    text.unlink()


def _write_samples(series: Iterable[tuple[dict[str, str], float]], end: float, output: TextIO) -> None:
    """Counters grow to their value, gauges keep theirs."""
    by_name: dict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
    for labels, value in series:
        by_name[labels["__name__"]].append((labels, value))
    instants = range(int(end) - DAYS * DAY, int(end) + 1, SCRAPE_SECONDS)
    for name, rows in sorted(by_name.items()):
        grows = name.endswith(_COUNTERS)
        output.write(f"# TYPE {name} unknown\n")
        for labels, value in rows:
            grow = grows and math.isfinite(value)
            text = _text(labels)
            for number, instant in enumerate(instants, 1):
                shown = math.floor(value * number / len(instants)) if grow else value
                output.write(f"{text} {shown} {instant}\n")
    _write_increases(by_name, end, output)
    output.write("# EOF\n")


def _write_increases(by_name: Mapping[str, Sequence[tuple[dict[str, str], float]]], end: float, output: TextIO) -> None:
    """As recorded if every pipeline runs once an hour: what counters grew by, and their last levels.

    A counter of zero does not grow; its level is recorded once a day.
    """
    hours = range(int(end) - DAYS * DAY, int(end) + 1, HOUR)
    for row in (row for row in COUNTED_METRICS.values() if row.increases):
        for name in row.counters:
            for part in RECORDED_PARTS:
                _write_recorded(by_name[name], row.recorded(name, part), row.labels, hours, output)
            if row.summed_by:
                summed = row.recorded(name, "increase", row.summed_by)
                _write_recorded(by_name[name], summed, row.summed_by, hours, output)
    output.write(f"# TYPE {UNCHANGED} gauge\n")
    for workspace in {labels.get("workspace", "") for rows in by_name.values() for labels, _ in rows} - {""}:
        text = _text({"__name__": UNCHANGED, "workspace": workspace})
        output.writelines(f"{text} 1 {instant}\n" for instant in range(hours[0], hours[-1] + 1, SCRAPE_SECONDS))


def _write_recorded(
    rows: Iterable[tuple[dict[str, str], float]], name: str, by: Sequence[str], hours: range, output: TextIO
) -> None:
    levels: dict[tuple[str, ...], float] = defaultdict(float)
    for labels, value in rows:
        levels[(labels.get("workspace", ""), *(labels.get(label, "") for label in by))] += value
    output.write(f"# TYPE {name} unknown\n")
    last = name.endswith(":last")
    for values, level in levels.items():
        text = _text({"__name__": name, **dict(zip(("workspace", *by), values, strict=True))})
        instants = hours if level else hours[::24] if last else ()
        shown = level if last else level / len(hours)
        output.writelines(f"{text} {shown} {instant}\n" for instant in instants)


def _text(labels: Mapping[str, str]) -> str:
    return f"{labels['__name__']}{{{as_labels({name: text for name, text in labels.items() if name != '__name__'})}}}"
