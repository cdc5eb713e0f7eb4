"""The exporter's command line, with every request to Prefect noted: `recording_exporter.py FILE serve …`.

Patched in from here, so that the product carries no hooks for its benchmarks.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import orjson

from prefect_monitoring.cli import main
from prefect_monitoring.prefect_http import PrefectHttp


def record_into(file: Path) -> None:
    whole = PrefectHttp.request
    out = file.open("ab", buffering=0)

    async def request(http: PrefectHttp, endpoint: str, **kwargs: Any) -> Any:
        begun, cpu_begun = time.monotonic(), time.process_time()
        answer, failed = None, True
        try:
            answer = await whole(http, endpoint, **kwargs)
            failed = False
        finally:
            call = {
                "endpoint": endpoint,
                "kwargs": kwargs,
                "failed": failed,
                "rows": len(answer) if isinstance(answer, list) else None,
                "begun": begun,
                "ended": time.monotonic(),
                "cpu_begun": cpu_begun,
                "cpu_ended": time.process_time(),
            }
            out.write(orjson.dumps(call) + b"\n")
        return answer

    PrefectHttp.request = request  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    record_into(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
