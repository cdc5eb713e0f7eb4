"""Spark and DuckDB give the same answers from the same archive: with late versions, small batches and a compacted day.

PySpark has a separate environment, created from requirements-spark.lock by `make test-soak`.
"""

import asyncio
import json
import os
import re
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from prefect_monitoring.archive import archiver
from prefect_monitoring.archive.compaction import compact
from prefect_monitoring.archive.manifest import day_of
from scripts.archive_page import SUCCESS, VIEWS, spark_tables
from unit.archive.fake_runs import NOON, FakeRuns, at
from unit.archive.site import Site

ROOT = Path(__file__).parents[2]
SPARK = Path(os.environ.get("SPARK_PYTHON", ROOT / ".venv-spark/bin/python"))
DAY = 86400.0
NOW = NOON + 2 * DAY
QUERIES = {
    "runs": "SELECT id, state_type, cast(size(states) AS int), cast(dt AS string) FROM latest_runs ORDER BY id",
    "tags": "SELECT id, tags[0] FROM latest_runs ORDER BY id",
    "task_runs": "SELECT flow_run_id, task, total_run_time FROM latest_task_runs ORDER BY id",
    "logs": "SELECT flow_run_id, line, level, message FROM latest_logs ORDER BY flow_run_id, line",
    "a day": "SELECT count(*) FROM latest_logs WHERE dt = '2026-11-29'",
    "success": SUCCESS.rstrip(";\n").replace("current_timestamp", f"TIMESTAMP '{at(NOW)}'"),
}
DUCKDB = {"TIMESTAMP '": "TIMESTAMPTZ '", "size(": "len(", "tags[0]": "tags[1]", "AS string": "AS varchar"}


async def make_archive(site: Site) -> None:
    fake = site.fake
    for number in range(30):
        run_id = fake.add(number, NOON + (number % 3 - 1) * DAY + number, "FAILED" if number % 4 == 0 else "COMPLETED")
        fake.add_task(run_id, "load", NOON)
        for line in range(3):
            fake.log(run_id, NOON, f"line {line} of {run_id}, ü")
    await site.archive(NOON - 2 * DAY, NOW)
    fake.end_again("run-000000", "COMPLETED", NOON + 3600)
    fake.end_again("run-000004", "COMPLETED", NOON + DAY + 7200, end=NOON + DAY + 7200)
    await site.archive(NOON - 2 * DAY, NOW)
    compact(site.store, day_of(NOON))


def for_duckdb(query: str) -> str:
    for spark, duckdb in DUCKDB.items():
        query = query.replace(spark, duckdb)
    return query


def comparable(rows: list[Any]) -> list[list[str]]:
    """Numbers as text, rounded, because engines keep different numbers of digits."""
    return [[f"{float(one):.6f}" if isinstance(one, float | Decimal) else str(one) for one in row] for row in rows]


def test_spark_and_duckdb_give_the_same_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SPARK.exists(), "make test-soak installs PySpark from requirements-spark.lock"
    monkeypatch.setattr(archiver, "BATCH_RUNS", 4)
    site = Site(tmp_path / "archive", FakeRuns())
    asyncio.run(make_archive(site))
    statements = [one for one in re.split(r";\n", spark_tables(str(site.folder)) + VIEWS) if one.strip()]
    # A view on temporary views must be temporary.
    statements = [one.strip().replace("CREATE VIEW", "CREATE TEMPORARY VIEW") for one in statements]
    plan, found = tmp_path / "plan.json", tmp_path / "answers.json"
    plan.write_text(json.dumps({"statements": statements, "queries": QUERIES}), encoding="utf-8")
    command = [str(SPARK), str(ROOT / "tests/soak/spark_answers.py"), str(plan), str(found)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    answers = json.loads(found.read_text(encoding="utf-8"))
    for name, query in QUERIES.items():
        assert comparable(answers[name]) == comparable(site.view(for_duckdb(query), "SET TimeZone = 'UTC'")), name
    assert len(answers["runs"]) == 30
