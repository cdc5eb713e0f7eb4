"""Shared by the archive's tests: an archive of a model server on disk, and queries as its users run them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from prefect_monitoring.archive.archiver import Archiver, stretches
from prefect_monitoring.archive.disk_store import DiskStore
from prefect_monitoring.archive.metrics import ArchiveStatus
from prefect_monitoring.archive.store import Store
from prefect_monitoring.config.settings import ArchiveSettings
from prefect_monitoring.prefect_api.client import Traffic
from prefect_monitoring.prefect_api.pagination import Paginator
from prefect_monitoring.prefect_api.raw_runs import RawRunsApi
from scripts.archive_page import VIEWS, duckdb_tables
from unit.archive.fake_runs import FakeRuns


@dataclass
class Site:
    folder: Path
    fake: FakeRuns

    @property
    def store(self) -> DiskStore:
        return DiskStore(self.folder)

    def archiver(self, store: Store | None = None, **options: Any) -> Archiver:
        """The archiver of a new process, which knows only what the archive holds."""
        return Archiver(store or self.store, self.api, ArchiveSettings(**options))

    @property
    def api(self) -> RawRunsApi:
        return RawRunsApi(Paginator(self.fake))  # type: ignore[arg-type]

    async def archive(self, after: float, before: float, **options: Any) -> int:
        archiver = self.archiver(**options)
        return sum([await archiver.archive(stretch) for stretch in stretches(after, before)])

    def files(self, table: str = "") -> list[str]:
        return [entry.key for entry in self.store.list(f"{table}/" if table else "")]

    def read(self, table: str, columns: str = "*") -> list[tuple[Any, ...]]:
        """All rows of a table's files, without a view."""
        if not self.files(table):
            return []
        return duckdb.sql(f"select {columns} from '{self.folder}/{table}/dt=*/*.parquet' order by all").fetchall()

    def view(self, query: str, *before: str) -> list[tuple[Any, ...]]:
        """The answer to a query on the views of the docs."""
        with duckdb.connect() as connection:
            for table in ("runs", "task_runs", "logs"):
                if not self.files(table):
                    connection.execute(f"create table {table} ({EMPTY[table]})")
            for statement in duckdb_tables(str(self.folder)).split(";\n"):
                if statement and self.files(statement.split()[2]):
                    connection.execute(statement)
            for statement in (VIEWS, *before):
                connection.execute(statement)
            return connection.execute(query).fetchall()


EMPTY = {
    "runs": "id varchar, version bigint, archived_at timestamptz, batch varchar, dt date",
    "task_runs": "flow_run_id varchar, batch varchar, dt date",
    "logs": "flow_run_id varchar, batch varchar, dt date",
}


def status() -> ArchiveStatus:
    return ArchiveStatus(Traffic())
