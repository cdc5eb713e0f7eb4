"""A command that is measured from its start to its end."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from support.memory import rss

_BETWEEN_READINGS: Final = 0.02
"""Seconds: what a command allocates in its last 20 ms may be missed."""


def run_measured(command: Sequence[str], env: Mapping[str, str], folder: Path) -> tuple[float, str]:
    """Its peak RSS in MiB, and its output. RuntimeError when it fails."""
    log, peak = folder / "output.log", 0.0
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=env, cwd=folder, stdout=output, stderr=subprocess.STDOUT)  # noqa: S603 # our own command
        while process.poll() is None:
            with suppress(ValueError, ProcessLookupError):  # it has just ended, and holds no memory any more
                peak = max(peak, rss(process.pid, "VmHWM"))
            time.sleep(_BETWEEN_READINGS)
    said = log.read_text(encoding="utf-8")
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{said}")
    return peak, said
