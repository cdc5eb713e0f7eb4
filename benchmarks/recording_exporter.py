"""The exporter's command line, with all requests and all counting noted: `recording_exporter.py FILE serve …`.

Patched in from here, so that the product carries no hooks for its benchmarks.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

from prefect_monitoring.cli import main
from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.ingest.task_runs import TaskReader
from prefect_monitoring.model.cursor import FLOW_RUNS, TASK_RUNS
from prefect_monitoring.prefect_api.client import PrefectHttp


def record_into(file: Path) -> None:
    whole = PrefectHttp.sized
    out = file.open("ab", buffering=0)

    async def request(http: PrefectHttp, endpoint: str, **kwargs: Any) -> tuple[Any, int]:
        begun = time.monotonic()
        answer, failed = None, True
        try:
            answer, size = await whole(http, endpoint, **kwargs)
            failed = False
        finally:
            call = {
                "endpoint": endpoint,
                "kwargs": kwargs,
                "failed": failed,
                "rows": len(answer) if isinstance(answer, list) else None,
                "begun": begun,
                "ended": time.monotonic(),
            }
            out.write(orjson.dumps(call) + b"\n")
        return answer, size

    PrefectHttp.sized = request  # type: ignore[assignment, method-assign]


def record_counting_into(file: Path) -> None:
    """Notes what fold and commit take on the ledger's thread: how many records, and the CPU seconds of that thread."""
    out = file.open("ab", buffering=0)

    def recorded(source: str, whole: Callable[..., Any]) -> Callable[..., Any]:
        def count(reader: Any, records: Sequence[Any], *rest: Any) -> Any:
            begun = time.thread_time()
            try:
                return whole(reader, records, *rest)
            finally:
                line = {"source": source, "records": len(records), "cpu": time.thread_time() - begun}
                out.write(orjson.dumps(line) + b"\n")

        return count

    Reader._count = recorded(FLOW_RUNS, Reader._count)  # type: ignore[method-assign] # noqa: SLF001
    TaskReader._count = recorded(TASK_RUNS, TaskReader._count)  # type: ignore[method-assign] # noqa: SLF001


if __name__ == "__main__":
    record_into(Path(sys.argv[1]))
    record_counting_into(Path(sys.argv[1]).with_suffix(".counted"))
    sys.exit(main(sys.argv[2:]))
