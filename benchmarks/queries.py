"""What the dashboards' panels cost Prometheus: `PYTHONPATH=tests python -m benchmarks.queries`.

A real exporter of a small team is scraped, its series are copied under other flow names until there are 100 and 200
pipelines, and two days of samples are written as blocks. Each query runs as Grafana sends it for a range of 30 days.
The extrapolation to 800 pipelines and 30 days is linear in both, also for the part of a cost that does not grow.
The recorded increments of ten minutes are missing: the site is younger than the first of them.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

import httpx

from benchmarks.subject import cpu_of
from dashboards.pages import Page, Query, all_of, fill, queries
from dashboards.site import open_site
from support.prometheus import Prometheus, Vector, binary, run_prometheus

SIZES: Final = (100, 200)
WANTED_PIPELINES: Final = 800
DAY: Final = 86400
DAYS: Final = 2
WANTED_DAYS: Final = 30
SCRAPE_SECONDS: Final = 60
POINTS: Final = 1000
MOST_SECONDS: Final = 1.0
SHOWN: Final = 25
PAGE_OF_ONE_FLOW: Final = "prefect-flow"
_COUNTERS: Final = ("_total", "_sum", "_count", "_bucket")


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of a panel's queries by number of pipelines, and by how much a longer range multiplies them."""

    seconds: Mapping[int, float]
    range_factor: float

    @property
    def growth(self) -> float:
        few, many = (self.seconds[size] for size in SIZES)
        return many / few if few else math.nan

    @property
    def extrapolated(self) -> float:
        return self.seconds[SIZES[-1]] * WANTED_PIPELINES / SIZES[-1] * self.range_factor


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks.queries", description=__doc__)
    options.add_argument("--rounds", type=int, default=3, help="of which the median counts")
    rounds: int = options.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="queries-") as name:
        directory = Path(name)
        template = _template(directory / "site")
        found: dict[str, dict[int, float]] = defaultdict(dict)
        for size in SIZES:
            for panel, seconds in _measure(template, size, directory / str(size), rounds).items():
                found[panel][size] = seconds
    costs = {panel: Cost(seconds, _range_factor(panel)) for panel, seconds in found.items()}
    _tell(_table(costs))
    return int(any(cost.extrapolated > MOST_SECONDS for cost in costs.values()))


def _template(directory: Path) -> Vector:
    """Every series of a site in trouble, recorded ones included, with its value."""
    directory.mkdir()
    with open_site(directory, make_history=lambda *_: None) as site:
        site.get_into_trouble()
        return site.prometheus.query('{__name__=~".+"}')


def _measure(template: Vector, pipelines: int, directory: Path, rounds: int) -> dict[str, float]:
    """CPU seconds of each panel."""
    directory.mkdir()
    begun, end = time.monotonic(), time.time() // SCRAPE_SECONDS * SCRAPE_SECONDS
    series = list(_copied(template, pipelines))
    _write_blocks(series, end, directory)
    _tell(f"{pipelines} pipelines: {len(series):,} series over {DAYS} days in {time.monotonic() - begun:.0f} s")
    with run_prometheus(directory, "{}", "60d") as prometheus:
        return _costs(prometheus, end, rounds)


def _copied(template: Vector, pipelines: int) -> Iterator[tuple[dict[str, str], float]]:
    """The series of the template, those of pipelines as often as needed, under other names of flows."""
    own = {
        (labels["flow"], labels["deployment"])
        for labels in map(dict, template)
        if labels["__name__"] == "prefect_pipeline_info"
    }
    for key, value in template.items():
        labels = dict(key)
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
    by_name: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for labels, value in series:
        pairs = (f'{name}="{_escaped(text)}"' for name, text in labels.items() if name != "__name__")
        by_name[labels["__name__"]].append((",".join(pairs), value))
    instants = range(int(end) - DAYS * DAY, int(end) + 1, SCRAPE_SECONDS)
    for name, rows in sorted(by_name.items()):
        grows = name.endswith(_COUNTERS)
        output.write(f"# TYPE {name} unknown\n")
        for quoted, value in rows:
            grow = grows and math.isfinite(value)
            for number, instant in enumerate(instants, 1):
                shown = math.floor(value * number / len(instants)) if grow else value
                output.write(f"{name}{{{quoted}}} {shown} {instant}\n")
    output.write("# EOF\n")


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _costs(prometheus: Prometheus, end: float, rounds: int) -> dict[str, float]:
    costs: dict[str, float] = defaultdict(float)
    with httpx.Client(base_url=prometheus.url, timeout=300, trust_env=False) as client:
        for query in queries():
            text, step = _as_sent(query)
            costs[_panel(query)] += statistics.median(
                _cpu_of(prometheus, client, query, text, step, end) for _ in range(rounds)
            )
    return dict(costs)


def _cpu_of(prometheus: Prometheus, client: httpx.Client, query: Query, text: str, step: int, end: float) -> float:
    before = cpu_of(prometheus.process.popen.pid)
    if query.instant:
        answer = client.post("/api/v1/query", data={"query": text, "time": str(end)})
    else:
        span = {"start": str(end - DAYS * DAY), "end": str(end), "step": str(step)}
        answer = client.post("/api/v1/query_range", data={"query": text, **span})
    if answer.json()["status"] != "success":
        raise RuntimeError(f"{query}: {answer.text[:500]}")
    return cpu_of(prometheus.process.popen.pid) - before


def _as_sent(query: Query) -> tuple[str, int]:
    """The query with every variable set to All and a range of 30 days, and its step in seconds."""
    step = max(query.step, WANTED_DAYS * DAY // POINTS)
    page: Page = query.page
    values = {name: all_of(variable) for name, variable in page.variables.items()}
    values |= {"flow": "quality-checks"} if page.uid == PAGE_OF_ONE_FLOW else {}
    values |= {
        "__range": f"{WANTED_DAYS}d",
        "__range_s": str(WANTED_DAYS * DAY),
        "__interval": f"{step}s",
        "__rate_interval": f"{max(step + 15, 60)}s",
    }
    return fill(query.text, values), step


def _range_factor(panel: str) -> float:
    """How much longer the range of 30 days is than the data; 1 for panels that show the present alone."""
    shown = [query for query in queries() if _panel(query) == panel]
    depends = any(not query.instant or "$__range" in query.text for query in shown)
    return WANTED_DAYS / DAYS if depends else 1.0


def _panel(query: Query) -> str:
    return str(query).rpartition(" ")[0]


def _table(costs: Mapping[str, Cost]) -> str:
    ordered = sorted(costs.items(), key=lambda item: item[1].extrapolated, reverse=True)
    above = sum(cost.extrapolated > MOST_SECONDS for cost in costs.values())
    lines = [
        f"| panel | {SIZES[0]}, s | {SIZES[1]}, s | growth | {WANTED_PIPELINES} pipelines, {WANTED_DAYS} days, s |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for panel, cost in ordered[:SHOWN]:
        few, many = (cost.seconds[size] for size in SIZES)
        lines.append(f"| {panel} | {few:.2f} | {many:.2f} | {cost.growth:.1f} | {cost.extrapolated:.2f} |")
    return "\n".join([*lines, "", f"{above} of {len(costs)} panels above {MOST_SECONDS:.0f} s of a core"])


def _tell(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
