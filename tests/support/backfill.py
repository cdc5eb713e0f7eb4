"""Runs the backfill command as users do, and moves its blocks to where Prometheus reads them."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Backfill:
    """A backfill into `output` with its ledger in `directory`; `run` can be repeated."""

    env: Mapping[str, str]
    directory: Path
    output: Path
    options: tuple[str, ...] = ()

    def command(self, *more: str) -> list[str]:
        ledger = f"sqlite:///{self.directory / 'ledger.db'}"
        command = [sys.executable, "-m", "prefect_monitoring", "backfill", "--output", str(self.output)]
        return [*command, "--ledger-url", ledger, *self.options, *more]

    def run(self, *more: str, timeout: float = 170) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*more),
            env=dict(self.env),
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def move_blocks(self, prometheus: Path) -> None:
        """Moves the blocks into the data directory of a Prometheus in `prometheus`, as the docs say."""
        data = prometheus / "data"
        data.mkdir(parents=True, exist_ok=True)
        for block in (self.output / "blocks").iterdir():
            block.rename(data / block.name)
