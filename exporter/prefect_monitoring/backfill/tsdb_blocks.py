"""Makes TSDB blocks from the files with promtool, and checks their contents."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prefect_monitoring.backfill.openmetrics import History, Size, Total, Totals
from prefect_monitoring.model.units import DAY

# promtool uses the longest of 2, 6, 18, … hours that fits, and reads the whole file for each block: two or three times
# for a day, instead of twelve.
_BLOCK_LENGTH: Final = "24h"
_HEAD: Final = "chunks_head"  # promtool leaves this empty folder among the blocks that it dumps
_DUMPED: Final = re.compile(r'\{__name__="(?P<name>[^"]+)".*\} (?P<value>\S+) \d+')


class BlocksError(Exception):
    """Blocks could not be made, or do not hold what was written; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Block:
    """The meta data of a block. Times in epoch milliseconds, `last` exclusive."""

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


def make_blocks(promtool: str, file: Path, folder: Path) -> None:
    """Adds the blocks of one day's file to `folder`. Raises BlocksError."""
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", f"--max-block-duration={_BLOCK_LENGTH}"]
    folder.mkdir(exist_ok=True)
    made = _run([*command, str(file), str(folder)])
    if made.returncode:
        raise BlocksError(f"promtool made no blocks of {file}: {made.stderr.strip() or made.stdout.strip()}")


def remove_blocks(blocks: Iterable[Block]) -> None:
    for block in blocks:
        shutil.rmtree(block.path)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 # no shell, paths only


def blocks_of_day(folder: Path, day: int) -> list[Block]:
    """The blocks that begin within a day (its first instant, epoch seconds), the earliest first."""
    blocks = []
    for file in folder.glob("*/meta.json"):
        meta = json.loads(file.read_text(encoding="utf-8"))
        if day * 1000 <= meta["minTime"] < (day + DAY) * 1000:
            stats = meta["stats"]
            blocks.append(Block(file.parent, meta["minTime"], meta["maxTime"], stats["numSamples"], stats["numSeries"]))
    return sorted(blocks, key=lambda block: block.first)


def are_whole(blocks: Sequence[Block], day: int, written: Size) -> bool:
    """Whether a day's blocks have all samples that were written for it, in its series, and none of another day.

    Increases are sparse: not every series has a sample in each block.
    """
    if not blocks or blocks[-1].last > (day + DAY) * 1000:
        return False
    samples = sum(block.samples for block in blocks)
    return samples == written.samples and max(block.series for block in blocks) <= written.series


def check_last_values(promtool: str, blocks: Path, history: History, totals: Totals) -> None:
    """Reads back the last sample of every series, and compares it with the ledger. Raises BlocksError."""
    instant = str(history.end * 1000)
    command = [promtool, "tsdb", "dump", f"--min-time={instant}", f"--max-time={instant}", str(blocks)]
    dump = _run(command)
    shutil.rmtree(blocks / _HEAD, ignore_errors=True)
    if dump.returncode:
        raise BlocksError(f"promtool cannot read {blocks}: {dump.stderr.strip()}")
    dumped: defaultdict[str, list[float]] = defaultdict(list)
    for line in dump.stdout.splitlines():
        if match := _DUMPED.match(line):
            dumped[match["name"]].append(float(match["value"]))
    expected = _last_values(history, totals)
    differing = [name for name, values in expected.items() if sorted(dumped[name]) != sorted(values)]
    if differing:
        raise BlocksError(
            f"The last values in {blocks} are not those of the ledger, for {', '.join(sorted(differing))}: do not use"
            " them. Runs that changed meanwhile can be the reason: run it again with another --output"
        )


def _last_values(history: History, totals: Totals) -> Mapping[str, list[float]]:
    """Of levels and last levels; what a series grew by in its last step, the totals do not tell."""
    values: defaultdict[str, list[float]] = defaultdict(list)
    for family, family_series in history.series:
        for series in family_series:
            if family.part != "increase" and history.first_slot(family, series) <= history.end:
                totals_of = (totals.get(key, Total()) for key in series.keys)
                values[family.name].append(float(sum(getattr(total, family.measure) for total in totals_of)))
    return values
