"""`python -m benchmarks.imports`: CPU time of importing the helpers for flows, beside Prefect's own import."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from typing import Final

AIM_MILLISECONDS: Final = 50
_TIMED: Final = """
import time
begun = time.process_time()
import prefect, prefect.flows, prefect.tasks
between = time.process_time()
import prefect_monitoring.flows
print(between - begun, time.process_time() - between)
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imports", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = [_import() for _ in range(parser.parse_args().rounds + 1)][1:]  # the first one fills the file cache
    prefect, helpers = (statistics.median(part) * 1000 for part in zip(*rounds, strict=True))
    ratio = 100 * helpers / prefect
    print(f"prefect {prefect:.0f} ms, prefect_monitoring.flows {helpers:.1f} ms on top ({ratio:.1f} %) of CPU time")
    return int(helpers > AIM_MILLISECONDS)


def _import() -> tuple[float, float]:
    command = [sys.executable, "-c", _TIMED]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 our own code
    prefect, helpers = map(float, shown.split())
    return prefect, helpers


if __name__ == "__main__":
    sys.exit(main())
