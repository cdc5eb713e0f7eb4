"""The archive for the demo, if pyarrow is installed: into the demo's own folder, so that DuckDB can read it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from prefect_monitoring.demo.processes import Child, Launcher, start

# Short, so that runs are archived soon: in the demo, nothing is as late as on a busy server.
_OPTIONS: Final = ("--archive-settle", "20s", "--archive-interval", "10s", "--archive-recheck", "1m")
_QUERY: Final = (
    "SELECT flow, state_type, count(*) AS runs FROM '{folder}/runs/dt=*/*.parquet' GROUP BY ALL ORDER BY ALL"
)


def is_installed() -> bool:
    return find_spec("pyarrow") is not None


def start_archive(launcher: Launcher, directory: Path, listen: str) -> Child:
    command = ["-m", "prefect_monitoring", "archive", "--to", _folder(directory).as_uri(), "--archive-listen", listen]
    return start(launcher, "archive", [*command, *_OPTIONS])


def hint(directory: Path, listen: str) -> str:
    """What the demo prints about it; `listen` is "" if it does not run."""
    if not listen:
        return "Archive     off: pyarrow is not installed (pip install 'prefect-monitoring[archive]')"
    folder = _folder(directory)
    command = f'python -c "import duckdb; duckdb.sql(\\"{_QUERY.format(folder=folder)}\\").show()"'
    return f"Archive     {folder}\n\nTo query it (pip install duckdb):\n\n  {command}\n"


def _folder(directory: Path) -> Path:
    return directory / "archive"
