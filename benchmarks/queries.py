"""What the dashboards' panels cost Prometheus: `PYTHONPATH=tests python -m benchmarks.queries`.

A real exporter of a small team is scraped, its series are copied under other flow names until there are 100 and 200
pipelines, and two days of samples are written as blocks, with what the recording rules and a backfill would add. Each
query runs as Grafana sends it for a range of 30 days, cut to the last one and the last two days; what the second day
costs, each further day costs as well. So do shorter windows and ranges of a panel's own.
"""

from __future__ import annotations

import argparse
import math
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

import httpx
import yaml

from benchmarks.subject import cpu_of
from dashboards.pages import Page, Query, all_of, fill, queries, seconds_of
from dashboards.site import open_site
from grafana.src.promql import SUMMED
from prefect_monitoring.backfill.families import RECORDED_PARTS
from prefect_monitoring.backfill.openmetrics import UNCHANGED
from prefect_monitoring.model.counted_metrics import COUNTED_METRICS
from support.prometheus import Prometheus, Vector, binary, run_prometheus

RULES: Final = Path(__file__).parents[1] / "prometheus/rules"
SIZES: Final = (100, 200)
WANTED_PIPELINES: Final = 800
HOUR: Final = 3600
DAY: Final = 86400
DAYS: Final = 2
WANTED_DAYS: Final = 30
SCRAPE_SECONDS: Final = 60
SPANS: Final = (1, 2)  # days
ENOUGH_SECONDS: Final = 1.5  # of CPU, which is counted in hundredths
MOST_REPEATS: Final = 60
MOST_SECONDS: Final = 1.0
SHOWN: Final = 25
PAGE_OF_ONE_FLOW: Final = "prefect-flow"
MOST_COMMON_METRIC: Final = "rows_loaded"
_WRITTEN_ANEW: Final = (
    UNCHANGED,
    *(
        row.recorded(name, part)
        for row in COUNTED_METRICS.values()
        for name in (row.name, f"{row.name}_sum", f"{row.name}_count")
        for part in RECORDED_PARTS
    ),
    *SUMMED.values(),
)
_COUNTERS: Final = ("_total", "_sum", "_count", "_bucket")


_WINDOW: Final = re.compile(r"\[(\d+)([smhd])")
_OFFSET: Final = re.compile(r"offset (\d+)([smhd])")


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds by days that the query reads and by the days that it was given."""

    seconds: tuple[float, float]
    days: float  # that it reads with a range of 30 days

    @property
    def whole(self) -> float:
        one, two = self.seconds
        return one + max(two - one, 0) * max(self.days - 1, 0)


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks.queries", description=__doc__)
    options.add_argument("--only", default="", help="measure the panels whose name contains this")
    only: str = options.parse_args().only
    asked = [query for query in queries() if only in str(query)]
    with tempfile.TemporaryDirectory(prefix="queries-") as name:
        directory = Path(name)
        template = _template(directory / "site")
        found = {size: _measure(template, size, directory / str(size), asked) for size in SIZES}
    _tell(_table(found))
    return int(any(seconds > MOST_SECONDS for seconds in _extrapolated(found).values()))


def _template(directory: Path) -> Vector:
    """Every series of a site in trouble, recorded ones included, with its value."""
    directory.mkdir()
    with open_site(directory, make_history=lambda *_: None) as site:
        site.get_into_trouble()
        prometheus = site.prometheus
        # The other rules read it, and some of them are not evaluated for minutes.
        prometheus.wait_for("last_over_time(flow_deployment_task:prefect_task_run_seconds:last[5m])", bool, timeout=90)
        rules = [rule for group in _rule_groups() for rule in group["rules"] if "record" in rule]
        recorded = {
            labels | {("__name__", rule["record"])}: value
            for rule in rules
            for labels, value in prometheus.query(rule["expr"]).items()
        }
        return recorded | prometheus.query('{__name__=~".+"}')


def _rule_groups() -> Iterator[dict[str, Any]]:
    for path in sorted(RULES.glob("*.yml")):
        yield from yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]


def _measure(template: Vector, pipelines: int, directory: Path, asked: Sequence[Query]) -> dict[str, float]:
    """CPU seconds of each panel for 30 days."""
    directory.mkdir()
    begun, end = time.monotonic(), time.time() // HOUR * HOUR
    series = list(_copied(template, pipelines))
    _write_blocks(series, end, directory)
    _tell(f"{pipelines} pipelines: {len(series):,} series over {DAYS} days in {time.monotonic() - begun:.0f} s")
    with run_prometheus(directory, "{}", "60d") as prometheus:
        return _costs(prometheus, end, asked)


def _copied(template: Vector, pipelines: int) -> Iterator[tuple[dict[str, str], float]]:
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


def _write_blocks(series: Sequence[tuple[dict[str, str], float]], end: float, directory: Path) -> None:
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
        for name in (f"{row.name}_sum", f"{row.name}_count") if row.is_observed else (row.name,):
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
    pairs = (f'{name}="{_escaped(text)}"' for name, text in labels.items() if name != "__name__" and text)
    return f"{labels['__name__']}{{{','.join(pairs)}}}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _costs(prometheus: Prometheus, end: float, asked: Sequence[Query]) -> dict[str, float]:
    costs: dict[str, float] = defaultdict(float)
    with httpx.Client(base_url=prometheus.url, timeout=300, trust_env=False) as client:
        for query in asked:
            one, two = (_cpu_of(prometheus, client, query, days, end) for days in SPANS)
            costs[_panel(query)] += Cost((one, two), _days_of(query)).whole
    return dict(costs)


def _cpu_of(prometheus: Prometheus, client: httpx.Client, query: Query, days: int, end: float) -> float:
    """Mean CPU seconds of a query that may read so many days."""
    path, asked = "/api/v1/query", {"query": _as_sent(query, days), "time": str(end)}
    if not query.instant:
        path = "/api/v1/query_range"
        asked |= {"start": str(end - min(days * DAY, _range_of(query))), "end": str(end), "step": str(_step(query))}
    begun, repeats, spent = cpu_of(prometheus.process.popen.pid), 0, 0.0
    while spent < ENOUGH_SECONDS and repeats < MOST_REPEATS:
        answer = client.post(path, data=asked)
        if answer.json()["status"] != "success":
            raise RuntimeError(f"{query}: {answer.text[:500]}")
        repeats += 1
        spent = cpu_of(prometheus.process.popen.pid) - begun
    return spent / repeats


def _as_sent(query: Query, days: int) -> str:
    """The query with windows that are longer than the data cut to so many days.

    The data is too short for most offsets: instead, they reach back for an hour, where there is as much to read.
    """
    text = _WINDOW.sub(lambda found: f"[{_cut(_seconds(found), days)}s", _filled(query))
    return _OFFSET.sub(lambda found: f"offset {min(_seconds(found), HOUR)}s", text)


def _cut(seconds: int, days: int) -> int:
    return days * DAY if seconds > DAYS * DAY else seconds


def _filled(query: Query) -> str:
    """The query for a range of 30 days; of the panel that is repeated, one."""
    step = _step(query)
    page: Page = query.page
    values = {name: all_of(variable) for name, variable in page.variables.items()}
    values |= {"flow": "quality-checks"} if page.uid == PAGE_OF_ONE_FLOW else {}
    values |= {"metric": MOST_COMMON_METRIC} if query.panel.get("repeat") == "metric" else {}
    values |= {
        "__range": f"{_range_of(query)}s",
        "__range_s": str(_range_of(query)),
        "__interval": f"{step}s",
        "__rate_interval": f"{max(step + 15, 60)}s",
    }
    return fill(query.text, values)


def _seconds(found: re.Match[str]) -> int:
    return seconds_of(found[1] + found[2])


def _range_of(query: Query) -> int:
    """Seconds; a panel may have a range of its own."""
    return query.seconds if query.panel.get("timeFrom") else WANTED_DAYS * DAY


def _step(query: Query) -> int:
    return query.step_of(_range_of(query))


def _days_of(query: Query) -> float:
    """The days that a query reads: its range or its longest window, whichever is longer."""
    windows = [_seconds(found) for found in _WINDOW.finditer(_filled(query))]
    return max([0 if query.instant else _range_of(query), *windows]) / DAY


def _panel(query: Query) -> str:
    return str(query).rpartition(" ")[0]


def _extrapolated(found: Mapping[int, Mapping[str, float]]) -> dict[str, float]:
    """For the wanted number of pipelines, along the line through those measured."""
    few, many = SIZES
    lines = (WANTED_PIPELINES - many) / (many - few)
    return {panel: seconds + lines * max(seconds - found[few][panel], 0) for panel, seconds in found[many].items()}


def _table(found: Mapping[int, Mapping[str, float]]) -> str:
    wanted = _extrapolated(found)
    lines = [
        f"| panel | {SIZES[0]} pipelines, s | {SIZES[1]}, s | growth | {WANTED_PIPELINES}, s |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for panel in sorted(wanted, key=wanted.__getitem__, reverse=True)[:SHOWN]:
        few, many = (found[size][panel] for size in SIZES)
        growth = many / few if few else math.nan
        lines.append(f"| {panel} | {few:.3f} | {many:.3f} | {growth:.1f} | {wanted[panel]:.2f} |")
    above = sum(seconds > MOST_SECONDS for seconds in wanted.values())
    return "\n".join([*lines, "", f"{above} of {len(wanted)} panels above {MOST_SECONDS:.0f} s of a core"])


def _tell(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
