"""Archives a run with very many log lines, and prints its peak RSS in MiB: `long_log.py FOLDER LINES`."""

import asyncio
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import prefect.client.orchestration  # noqa: F401 what the real process has in memory, too

from support.memory import rss
from unit.archive.fake_runs import NOON, FakeRuns, at
from unit.archive.site import Site

STEP = 0.001


class LongLog(FakeRuns):
    """A run whose log lines are generated on request."""

    count = 0

    async def request(
        self, endpoint: str, *, json: Any = None, params: Mapping[str, str] | None = None, names: object = None
    ) -> Any:
        if endpoint != "/logs/filter":
            return await super().request(endpoint, json=json, params=params, names=names)
        after = json["logs"].get("timestamp", {}).get("after_")
        begin = round((datetime.fromisoformat(after).astimezone(UTC).timestamp() - NOON) / STEP) if after else 0
        begin += json["offset"]
        return [self._line(number) for number in range(begin, min(begin + json["limit"], self.count))]

    def _line(self, number: int) -> dict[str, Any]:
        message = f"Row group {number:,} of table orders loaded: {number * 7919 % 1000} rows in {number % 97 / 10} s"
        about = {"flow_run_id": "run-000001", "task_run_id": None, "name": "prefect.flow_runs", "level": 20}
        return {"id": f"line-{number}", "timestamp": at(NOON + number * STEP), "message": message, **about}


def main() -> None:
    folder, lines = Path(sys.argv[1]), int(sys.argv[2])
    fake = LongLog()
    fake.count = lines
    fake.add(1, NOON)
    assert asyncio.run(Site(folder, fake).archive(NOON, NOON)) == 1
    sys.stdout.write(f"{rss(os.getpid(), 'VmHWM'):.0f}\n")


if __name__ == "__main__":
    main()
