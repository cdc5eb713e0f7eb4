"""A new ledger's tables by copying a file: to migrate costs 50 ms of CPU time, and a thousand tests begin with it."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import sqlalchemy as sa

from prefect_monitoring.ledger.migrations import migrate

SQLITE = "sqlite:///"


def create_tables(url: str) -> str:
    """The same URL; where it is a SQLite file that does not exist yet, the tables are there, and nothing in them."""
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
