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
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx

from benchmarks.many_pipelines import DAY, DAYS, HOUR, copied, template_of_a_team, write_blocks
from benchmarks.subject import cpu_of
from dashboards.pages import Query, all_of, queries, seconds_of
from months.rules import shipped_groups
from support.prometheus import Prometheus, Vector, run_prometheus

SIZES: Final = (100, 200)
WANTED_PIPELINES: Final = 800
WANTED_DAYS: Final = 30
SPANS: Final = (1, 2)  # days
ENOUGH_SECONDS: Final = 1.0  # of CPU
MOST_REPEATS: Final = 50
MOST_SECONDS: Final = 1.0
EVALUATION_INTERVAL: Final = "15s"  # that of prometheus/prometheus.yml
SHOWN: Final = 25
PAGE_OF_ONE_FLOW: Final = "prefect-flow"
MOST_COMMON_METRIC: Final = "rows_loaded"
_WINDOW: Final = re.compile(r"\[(\d+)([smhd])")
_OFFSET: Final = re.compile(r"offset (\d+)([smhd])")


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks.queries", description=__doc__)
    options.add_argument("--only", default="", help="measure the panels whose name contains this")
    only: str = options.parse_args().only
    asked = [query for query in queries() if only in str(query)]
    with tempfile.TemporaryDirectory(prefix="queries-") as name:
        directory = Path(name)
        template = template_of_a_team(directory / "site")
        found = {size: _measure(template, size, directory / str(size), asked) for size in SIZES}
    _tell(_table(found))
    return int(any(seconds > MOST_SECONDS for seconds in _extrapolated(found).values()))


def _measure(template: Vector, pipelines: int, directory: Path, asked: Sequence[Query]) -> dict[str, float]:
    """CPU seconds of each panel for 30 days."""
    directory.mkdir()
    begun, end = time.monotonic(), time.time() // HOUR * HOUR
    series = list(copied(template, pipelines))
    write_blocks(series, end, directory)
    _tell(f"{pipelines} pipelines: {len(series):,} series over {DAYS} days in {time.monotonic() - begun:.0f} s")
    with run_prometheus(directory, "{}", "60d") as prometheus:
        _tell(f"{pipelines} pipelines: the rules take {_share_of_rules(prometheus, end):.2%} of a core")
        return _costs(prometheus, end, asked)


def _share_of_rules(prometheus: Prometheus, end: float) -> float:
    """CPU time of all rules, evaluated at their intervals."""
    share = 0.0
    with httpx.Client(base_url=prometheus.url, timeout=300, trust_env=False) as client:
        for group in shipped_groups():
            interval = seconds_of(group.get("interval", EVALUATION_INTERVAL))
            for rule in group["rules"]:
                asked = {"query": rule["expr"], "time": str(end)}
                share += _mean_cpu(prometheus, client, "/api/v1/query", asked) / interval
    return share


def _costs(prometheus: Prometheus, end: float, asked: Sequence[Query]) -> dict[str, float]:
    costs: dict[str, float] = defaultdict(float)
    with httpx.Client(base_url=prometheus.url, timeout=300, trust_env=False) as client:
        for query in asked:
            # Back and forth: a machine that gets slower meanwhile would look like more days.
            there, back = (
                {days: _cpu_of(prometheus, client, query, days, end) for days in spans}
                for spans in (SPANS, SPANS[::-1])
            )
            one, two = ((there[days] + back[days]) / 2 for days in SPANS)
            costs[_panel(query)] += one + max(two - one, 0) * max(_days_of(query) - 1, 0)
    return dict(costs)


def _cpu_of(prometheus: Prometheus, client: httpx.Client, query: Query, days: int, end: float) -> float:
    """Mean CPU seconds of a query that may read so many days."""
    path, asked = "/api/v1/query", {"query": _as_sent(query, days), "time": str(end)}
    if not query.instant:
        path = "/api/v1/query_range"
        asked |= {"start": str(end - min(days * DAY, _range_of(query))), "end": str(end), "step": str(_step(query))}
    return _mean_cpu(prometheus, client, path, asked)


def _mean_cpu(prometheus: Prometheus, client: httpx.Client, path: str, asked: Mapping[str, str]) -> float:
    begun, repeats, spent = cpu_of(prometheus.process.popen.pid), 0, 0.0
    while spent < ENOUGH_SECONDS and repeats < MOST_REPEATS:
        answer = client.post(path, data=asked)
        if answer.json()["status"] != "success":
            raise RuntimeError(f"{asked['query']}: {answer.text[:500]}")
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
    values = {name: all_of(variable) for name, variable in query.page.variables.items()}
    values |= {"flow": "quality-checks"} if query.page.uid == PAGE_OF_ONE_FLOW else {}
    values |= {"metric": MOST_COMMON_METRIC} if query.panel.get("repeat") == "metric" else {}
    return query.filled(values, _range_of(query))


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
