"""The archive of what was seeded, against the same requests with their answers thrown away; memory with a long log."""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import orjson

from benchmarks.baseline import download
from benchmarks.command import run_measured
from benchmarks.measures import Measure
from benchmarks.subject import RECORDER, UNLIMITED, Call, Subject
from support.bulk import Batch, add_flow_run, add_log, task_history
from support.database import insert
from support.prefect_server import env_for
from support.seeder import Seeder

MAX_PEAK: Final = 250
MAX_TO_DOWNLOAD: Final = 2.0
LONG_LOG: Final = 1_000_000
_LINES_A_BATCH: Final = 20_000
_LONG_AGO: Final = timedelta(days=100)
"""Before all that is seeded otherwise, so that it can be archived alone."""


def measure_archive(subject: Subject, rounds: int, days: int) -> list[Measure]:
    """The medians of `rounds` archivings and downloads, one after the other, so that a busy minute strikes both."""
    archived, bare, peaks, runs = [], [], [], 0
    for number in range(rounds):
        calls, peak = _archive(subject, f"past-{number}", "--since", f"{days + 1}d")
        archived.append(max(call.ended for call in calls) - min(call.begun for call in calls))
        bare.append(asyncio.run(download(subject.server.url, calls)).seconds)
        runs = sum(call.rows or 0 for call in calls if call.endpoint == "/flow_runs/filter")
        peaks.append(peak)
    seconds = statistics.median(archived)
    ratio = statistics.median(mine / theirs for mine, theirs in zip(archived, bare, strict=True))
    return [
        Measure("archive: runs", runs),
        Measure("archive: seconds", seconds, "s"),
        Measure("archive: runs per second", runs / seconds),
        Measure("archive: the same requests, answers thrown away", statistics.median(bare), "s"),
        Measure("archive: archiving to downloading", ratio, at_most=MAX_TO_DOWNLOAD),
        Measure("archive: most memory (RSS)", max(peaks), "MiB", at_most=MAX_PEAK),
    ]


def measure_long_log(subject: Subject, lines: int = LONG_LOG) -> list[Measure]:
    """One run with a million log lines."""
    end = datetime.now(UTC) - _LONG_AGO
    _seed_long_log(subject, end, lines)
    since, until = end - timedelta(hours=1), end + timedelta(hours=1)
    calls, peak = _archive(subject, "long-log", "--since", since.isoformat(), "--until", until.isoformat())
    read = sum(call.rows or 0 for call in calls if call.endpoint == "/logs/filter")
    files = list((subject.directory / "long-log").rglob("logs/**/*.parquet"))
    return [
        Measure("archive, long log: lines read", read, at_least=lines, binding=True),
        Measure("archive, long log: Parquet", sum(file.stat().st_size for file in files) / 2**20, "MiB"),
        Measure("archive, long log: seconds", max(c.ended for c in calls) - min(c.begun for c in calls), "s"),
        Measure("archive, long log: most memory (RSS)", peak, "MiB", at_most=MAX_PEAK),
    ]


def _seed_long_log(subject: Subject, end: datetime, lines: int) -> None:
    with Seeder(subject.server.url, auth=subject.server.auth) as api:
        flow_id = api.flow("long-log")
    batch: Batch = Batch(list)
    run_id = add_flow_run(batch, flow_id, task_history(end, duration=timedelta(minutes=30)))
    for number in range(lines):
        at = end - timedelta(microseconds=(lines - number) * 1000)
        text = f"Row group {number:,} of table orders loaded: {number * 7919 % 1000} rows in {number % 97 / 10} s"
        add_log(batch, at, text, flow_run_id=run_id)
        if number % _LINES_A_BATCH == 0:
            insert(subject.server, batch)
            batch.clear()
    insert(subject.server, batch)


def _archive(subject: Subject, name: str, *options: str) -> tuple[Sequence[Call], float]:
    """The requests of an archive as its user runs it, the rate limit lifted, and the most memory that it had (MiB)."""
    folder = subject.directory / name
    folder.mkdir()
    record = folder / "calls.jsonl"
    command = [sys.executable, str(RECORDER), str(record), "archive", "--to", (folder / "archive").as_uri(), *options]
    command += ["--max-requests-per-second", f"{UNLIMITED:g}"]
    peak, _ = run_measured(command, env_for(subject.server), folder)
    return [Call(**orjson.loads(line)) for line in record.read_bytes().splitlines()], peak
