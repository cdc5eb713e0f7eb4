"""`make bench`: measures, prints, writes JSON; exits with 1 when a count is above its aim."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import prefect

from benchmarks.archive import LONG_LOG, measure_archive, measure_long_log
from benchmarks.baseline import measure_baseline
from benchmarks.late import measure_late
from benchmarks.measures import Measure, markdown, same_for_all
from benchmarks.past import measure_past
from benchmarks.requests import AUDIT, INVENTORY, POLL, measure_requests
from benchmarks.scrapes import measure_busy, measure_idle_scrapes
from benchmarks.seed import ACTIVE, seed_runs, seed_team
from benchmarks.subject import Subject
from benchmarks.sustained import Load, measure_sustained
from support.postgres import start_postgres
from support.prefect_server import PrefectServer, start_server

SIZES: Final = {"1k": 1_000, "10k": 10_000, "100k": 100_000}
PARTS: Final = ("baseline", "requests", "polls", "scrapes", "backfill", "archive")
SUSTAINED: Final = "sustained"
LATE: Final = "late"
ON_REQUEST: Final = (SUSTAINED, LATE)  # a quarter of an hour each
RESULTS: Final = Path(__file__).with_name("results")


def main() -> int:
    options = _options()
    results: dict[str, list[Measure]] = {}
    for size in options.size:
        with tempfile.TemporaryDirectory(prefix="benchmark-") as name, _server(options, Path(name)) as server:
            results[size] = _measure(server, Path(name), size, options)
    several = len(results) > 1 and "requests" in options.parts
    overall = [same_for_all(name, results) for name in (POLL, INVENTORY, AUDIT)] if several else []
    _tell(markdown(results), *(f"{measure.name}: {measure.verdict}" for measure in overall))
    _write(results, overall, postgres=options.postgres)
    missed = [measure for measures in (*results.values(), overall) for measure in measures if measure.missed]
    return int(any(measure.binding for measure in missed))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--size", action="append", choices=SIZES, help="may be repeated; all by default, 100k for `sustained` alone"
    )
    parser.add_argument("--postgres", action="store_true", help="the Prefect server on PostgreSQL instead of SQLite")
    parser.add_argument("--rounds", type=int, default=3, help="loadings of the baseline, each beside a download")
    parser.add_argument("--scrapes", type=int, default=500)
    parser.add_argument("--days", type=int, default=7, help="over which the flow runs are spread")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=(*PARTS, *ON_REQUEST),
        default=PARTS,
        help="what to measure; by default all but `late` and `sustained`, which is on PostgreSQL",
    )
    parser.add_argument("--polls", type=int, default=1000, help="polls over which memory is watched")
    parser.add_argument("--log-lines", type=int, default=LONG_LOG, help="of the run with a long log")
    parser.add_argument("--task-days", type=int, help="over which flow runs have task runs; --days by default")
    parser.add_argument("--late-runs", type=int, default=100_000, help="of `late`")
    parser.add_argument("--minutes", type=float, default=10, help="of `sustained`")
    parser.add_argument("--flow-runs", type=int, default=12, help="that end each second of `sustained`")
    parser.add_argument("--task-runs", type=int, default=50, help="the same for task runs")
    options = parser.parse_args()
    options.postgres |= SUSTAINED in options.parts
    options.size = options.size or (["100k"] if options.parts == [SUSTAINED] else list(SIZES))
    return options


@contextmanager
def _server(options: argparse.Namespace, directory: Path) -> Iterator[PrefectServer]:
    if not options.postgres:
        with start_server(directory) as server:
            yield server
        return
    with start_postgres(directory) as postgres, start_server(directory, database_url=postgres.create("prefect")) as one:
        yield one


def _measure(server: PrefectServer, directory: Path, size: str, options: argparse.Namespace) -> list[Measure]:
    runs = SIZES[size]
    begun = time.monotonic()
    places = seed_team(server)
    task_span = None if options.task_days is None else timedelta(days=options.task_days)
    seed_runs(server, places, runs, timedelta(days=options.days), task_span)
    _tell(f"{size}: seeded {runs:,} flow runs in {time.monotonic() - begun:.0f} s")
    subject = Subject(server, directory, ACTIVE)
    parts: dict[str, Callable[[], list[Measure]]] = {
        "baseline": lambda: measure_baseline(subject, options.rounds),
        "requests": lambda: asyncio.run(measure_requests(subject)),
        "polls": lambda: measure_busy(subject, options.scrapes, options.polls),
        "scrapes": lambda: measure_idle_scrapes(subject, options.scrapes),
        "backfill": lambda: measure_past(subject, f"{options.days + 1}d"),
        "archive": lambda: [
            *measure_archive(subject, options.rounds, options.days),
            *measure_long_log(subject, options.log_lines),
        ],
        LATE: lambda: asyncio.run(measure_late(subject, places, options.late_runs)),
        SUSTAINED: lambda: measure_sustained(
            subject, places, Load(options.flow_runs, options.task_runs, options.minutes)
        ),
    }
    measures: list[Measure] = []
    for name in options.parts:
        found = parts[name]()
        measures += found
        _tell(*(f"{size}: {one.name}: {one.verdict} {one.unit}" for one in found))
    return measures


def _write(results: dict[str, list[Measure]], overall: list[Measure], *, postgres: bool) -> None:
    now = datetime.now(UTC)
    about = {
        "at": now.isoformat(timespec="seconds"),
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "prefect": prefect.__version__,
        "database": "PostgreSQL" if postgres else "SQLite",
    }
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{now:%Y-%m-%dT%H%M%S}.json"
    sizes = {size: [asdict(measure) for measure in measures] for size, measures in results.items()}
    file.write_text(json.dumps({**about, "sizes": sizes, "overall": [asdict(one) for one in overall]}, indent=1))
    _tell(*(f"{key}: {value}" for key, value in about.items()), f"written to {file}")


def _tell(*lines: str) -> None:
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
