"""A run with very many log lines is archived within 250 MiB of memory. ARCHIVE_LINES is their number."""

import os
import subprocess
import sys
from pathlib import Path

import duckdb

ROOT = Path(__file__).parents[2]
LINES = int(os.environ.get("ARCHIVE_LINES", "200000"))
MAX_MIB = 250


def test_run_with_a_long_log_is_archived_in_little_memory(tmp_path: Path) -> None:
    paths = os.pathsep.join([str(ROOT / "tests"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/long/long_log.py"), str(tmp_path), str(LINES)],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    peak = int(done.stdout)
    sizes = [path.stat().st_size / 2**20 for path in tmp_path.rglob("logs/**/*.parquet")]
    sys.stdout.write(f"{LINES:,} lines: {peak} MiB at most, {sum(sizes):.1f} MiB of Parquet\n")
    found = duckdb.sql(f"select count(*), count(distinct line) from '{tmp_path}/logs/dt=*/*.parquet'").fetchall()
    assert found == [(LINES, LINES)]
    assert peak < MAX_MIB
