"""The backfill of what was seeded: loading, writing and promtool, each with its time, and what comes of it."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Final

import orjson

from benchmarks.baseline import download
from benchmarks.command import run_measured
from benchmarks.measures import Measure
from benchmarks.subject import RECORDER, UNLIMITED, Call, Subject
from support.prefect_server import env_for

MAX_PEAK: Final = 250
MAX_TO_DOWNLOAD: Final = 1.0
_TOLD: Final[tuple[tuple[str, str], ...]] = (
    ("loaded", r"Loaded in (\d+) s"),
    ("series", r"To write: ([\d,]+) series"),
    ("samples", r"series, ([\d,]+) samples"),
    ("text", r": ([\d,.]+) MiB of text"),
    ("wrote", r"Wrote .* in (\d+) s"),
    ("blocks", r"Made .* days \(([\d,.]+) MiB\)"),
    ("made", r"Made .* days .* in (\d+) s"),
)


def measure_past(subject: Subject, since: str) -> list[Measure]:
    """A backfill as its user runs it, with the rate limit lifted; then the same requests, their answers thrown away."""
    folder = subject.directory / "past"
    folder.mkdir()
    record = folder / "calls.jsonl"
    command = [sys.executable, str(RECORDER), str(record), "backfill", "--since", since]
    command += ["--output", str(folder / "out"), "--ledger-url", f"sqlite:///{folder / 'ledger.db'}"]
    command += ["--max-requests-per-second", f"{UNLIMITED:g}"]
    peak, output = run_measured(command, env_for(subject.server), folder)
    told = {}
    for name, pattern in _TOLD:
        match = re.search(pattern, output)
        if match is None:
            raise RuntimeError(f"the backfill did not tell {name}:\n{output}")
        told[name] = float(match[1].replace(",", ""))
    calls = [Call(**orjson.loads(line)) for line in record.read_bytes().splitlines()]
    bare = asyncio.run(download(subject.server.url, calls))
    return [
        Measure("backfill: loaded in", told["loaded"], "s"),
        Measure("backfill: the same requests, answers thrown away", bare.seconds, "s"),
        Measure("backfill: series", told["series"]),
        Measure("backfill: samples", told["samples"]),
        Measure("backfill: text written in", told["wrote"], "s"),
        Measure("backfill: writing to downloading", told["wrote"] / bare.seconds, at_most=MAX_TO_DOWNLOAD),
        Measure("backfill: text", told["text"], "MiB"),
        Measure("backfill: promtool and checks", told["made"], "s"),
        Measure("backfill: blocks", told["blocks"], "MiB"),
        Measure("backfill: ledger", (folder / "ledger.db").stat().st_size / 2**20, "MiB"),
        Measure("backfill: most memory (RSS)", peak, "MiB", at_most=MAX_PEAK),
    ]
