"""Records which metrics had a value other than zero in any test; the others are not tested.

Every process of the tests writes a file to METRICS_SEEN; `python tests/support/metrics_seen.py` compares
their union with the catalogue.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from prefect_monitoring.metrics import CATALOGUE

DIRECTORY = Path(os.environ.get("METRICS_SEEN", ".metrics_seen"))
_seen: set[str] = set()


def note(samples: Mapping[tuple[str, frozenset[tuple[str, str]]], float]) -> None:
    _seen.update(name for (name, _), value in samples.items() if value)


def write() -> None:
    if "METRICS_SEEN" in os.environ and _seen:
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        (DIRECTORY / f"{os.getpid()}.txt").write_text("\n".join(sorted(_seen)), encoding="utf-8")


def never_seen() -> list[str]:
    seen = {name for file in DIRECTORY.glob("*.txt") for name in file.read_text(encoding="utf-8").splitlines()}
    return [metric.name for metric in CATALOGUE if not {metric.name, f"{metric.name}_count"} & seen]


if __name__ == "__main__":
    if missing := never_seen():
        sys.exit(f"never had a value other than zero in a test: {', '.join(missing)}")
