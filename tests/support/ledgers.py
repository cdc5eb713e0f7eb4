"""Creates the tables of a new ledger by copying a file: migrating takes 50 ms of CPU time, in a thousand tests."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import sqlalchemy as sa

from prefect_monitoring.ledger.migrations import migrate

SQLITE = "sqlite:///"


def create_tables(url: str) -> str:
    """Returns the same URL; if it is a SQLite file that does not exist yet, creates it with empty tables."""
    file = Path(url.removeprefix(SQLITE))
    if url.startswith(SQLITE) and file.parent.is_dir() and not file.exists():
        shutil.copyfile(_template(), file)
    return url


@cache
def _template() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="ledger-template-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    file = directory / "ledger.db"
    engine = sa.create_engine(f"{SQLITE}{file}")
    with engine.begin() as connection:
        migrate(connection)
    engine.dispose()
    return file
