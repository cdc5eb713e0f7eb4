"""TSDB blocks from the files of the past, by promtool, and the proof that they hold what was written."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prefect_monitoring.backfill.openmetrics import DAY, History, Size, Total, Totals

# As long as a day's file: one block a file, and one reading of it. By default, promtool reads it twelve times.
_BLOCK_LENGTH: Final = "24h"
_DUMPED: Final = re.compile(r'\{__name__="(?P<name>[^"]+)".*\} (?P<value>\S+) \d+')


class BlocksError(Exception):
    """Blocks could not be made, or do not hold what was written; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Block:
    """What a block says of itself. Times in epoch milliseconds, `last` exclusive."""

    path: Path
    first: int
    last: int
    samples: int
    series: int

    @property
    def bytes(self) -> int:
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())


def find_promtool() -> str | None:
    return shutil.which("promtool")


def make_block(promtool: str, file: Path, blocks: Path) -> None:
    """Adds the block of one day's file to the directory `blocks`. Raises BlocksError."""
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", f"--max-block-duration={_BLOCK_LENGTH}"]
    blocks.mkdir(exist_ok=True)
    made = _run([*command, str(file), str(blocks)])
    if made.returncode:
        raise BlocksError(f"promtool made no block of {file}: {made.stderr.strip() or made.stdout.strip()}")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 # no shell, paths only


def block_of_day(blocks: Path, day: int) -> Block | None:
    """The block that begins within a day (epoch seconds)."""
    for meta in blocks.glob("*/meta.json"):
        told = json.loads(meta.read_text(encoding="utf-8"))
        if day * 1000 <= told["minTime"] < (day + DAY) * 1000:
            stats = told["stats"]
            return Block(meta.parent, told["minTime"], told["maxTime"], stats["numSamples"], stats["numSeries"])
    return None


def check_block(blocks: Path, day: int, written: Size) -> Block:
    """The block of a day, which must hold all that was written, and nothing beyond that day. Raises BlocksError."""
    block = block_of_day(blocks, day)
    if block is None:
        raise BlocksError(f"{blocks} has no block of the day that begins at {day}: make it again, into an empty folder")
    found, meant = (block.samples, block.series), (written.samples, written.series)
    if found != meant or block.last > (day + DAY) * 1000:
        raise BlocksError(
            f"The block {block.path} holds {found[0]} samples of {found[1]} series up to {block.last / 1000:.0f}, but"
            f" {meant[0]} of {meant[1]} were written for the day that begins at {day}: do not use it; report it, please"
        )
    return block


def check_last_values(promtool: str, blocks: Path, history: History, totals: Totals) -> None:
    """Reads the last sample of every series back, which must be where the ledger stood. Raises BlocksError."""
    instant = str(history.end * 1000)
    command = [promtool, "tsdb", "dump", f"--min-time={instant}", f"--max-time={instant}", str(blocks)]
    dump = _run(command)
    if dump.returncode:
        raise BlocksError(f"promtool cannot read {blocks}: {dump.stderr.strip()}")
    found: defaultdict[str, list[float]] = defaultdict(list)
    for line in dump.stdout.splitlines():
        if match := _DUMPED.match(line):
            found[match["name"]].append(float(match["value"]))
    meant = _last_values(history, totals)
    differing = [name for name in found.keys() | meant.keys() if sorted(found[name]) != sorted(meant[name])]
    if differing:
        raise BlocksError(
            f"The last values in {blocks} are not those of the ledger, for {', '.join(sorted(differing))}: do not use"
            " them. Runs that were changed by hand meanwhile can be the reason: run it again with another --output"
        )


def _last_values(history: History, totals: Totals) -> Mapping[str, list[float]]:
    values: defaultdict[str, list[float]] = defaultdict(list)
    for family in history.families:
        for key in history.series_of(family):
            if history.births[key] <= history.end:
                values[family.name].append(float(getattr(totals.get(key, Total()), family.measure)))
    return values
