"""Migrations: the newest revision is required or reached, and a crash during a migration changes nothing."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from prefect_monitoring.ledger import migrations, schema
from prefect_monitoring.ledger.errors import LedgerError
from prefect_monitoring.ledger.migrations import VERSION_TABLE, migrate, revisions
from prefect_monitoring.ledger.opening import inspect_ledger
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import OUTCOMES
from unit.ledger_values import NOW, PIPELINE, baseline_cursor, outcome
from unit.rig import API, OpenLedger

NEWEST = revisions()[-1]
NEXT = f"{int(NEWEST) + 1:04}"
STEP = """
import sqlalchemy as sa
from alembic import op

revision = "{next}"
down_revision = "{newest}"


def upgrade() -> None:
    op.create_table("prefect_monitoring_notes", sa.Column("id", sa.Integer, primary_key=True))
    op.add_column("prefect_monitoring_flows", sa.Column("note", sa.Text))
    op.execute("UPDATE prefect_monitoring_flows SET note = name")
    op.execute("INSERT INTO prefect_monitoring_notes VALUES (1)")
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def newer_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The next release, with one more revision."""
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    for path in (migrations.FOLDER / "env.py", *(migrations.FOLDER / "versions").glob("[0-9]*.py")):
        (folder / path.relative_to(migrations.FOLDER)).write_text(path.read_text())
    step = STEP.replace("{newest}", NEWEST).replace("{next}", NEXT)
    (folder / "versions" / f"{NEXT}_notes.py").write_text(step)
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "FOLDER", folder)
        yield


def content_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def revision_of(path: Path) -> str | None:
    with closing(sqlite3.connect(path)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (VERSION_TABLE,)).fetchone():
            return None
        return connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()[0]


def layout_of(engine: sa.Engine) -> dict[str, str]:
    """Every table and index by its definition, ignoring white space and the order of its parts."""
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {name: "".join(sql.replace('"', "").split()) for name, sql in rows if name != VERSION_TABLE}


# The baseline


def test_first_revision_creates_the_tables_of_the_metadata() -> None:
    migrated, created = sa.create_engine("sqlite://"), sa.create_engine("sqlite://")
    with migrated.begin() as connection:
        migrate(connection)
        options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), schema.tables) == []
    schema.tables.create_all(created)
    assert layout_of(migrated) == layout_of(created), "including WITHOUT ROWID, which schema comparison ignores"


def test_table_and_index_names_have_the_prefix() -> None:
    """Without it, names could collide with those of others in the database."""
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        migrate(connection)
    assert {VERSION_TABLE, *layout_of(engine)} > set(schema.tables.tables)
    assert all(name.startswith("prefect_monitoring_") for name in layout_of(engine))
    assert VERSION_TABLE == "prefect_monitoring_version"


def test_migration_files_are_named_by_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations.FOLDER))
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    assert [script.revision for script in reversed(scripts)] == revisions()
    assert all(Path(script.path).name.startswith(f"{script.revision}_") for script in scripts)


def test_tables_of_others_in_the_database_are_left_alone() -> None:
    """In Prefect's database, `alembic_version` belongs to Prefect."""
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num TEXT)")
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('prefect')")
        migrate(connection)
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one() == "prefect"
        assert migrations.current_revision(connection) == revisions()[-1]


# Opening


def test_current_ledger_is_not_migrated(file: Path, open_it: OpenLedger) -> None:
    open_it().close()
    before = content_of(file)
    open_it().close()
    assert content_of(file) == before


def test_current_ledger_is_opened_without_importing_alembic(file: Path, open_it: OpenLedger) -> None:
    """Its import takes a tenth of a second, which would delay each start and each `check`."""
    open_it().close()
    script = (
        "import sys\n"
        "from prefect_monitoring.ledger.opening import open_ledger\n"
        f"open_ledger('sqlite:///{file}', '{API}', bounds={{}}, lookbacks={{}}, now=1.0).close()\n"
        "sys.exit('alembic' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_ledger_of_an_older_revision_is_migrated(
    file: Path, open_it: OpenLedger, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = open_it()
    ledger.commit(outcome(1), baseline_cursor(ledger), NOW)
    ledger.close()
    request.getfixturevalue("newer_release")
    inspect_ledger(f"sqlite:///{file}", API)
    assert revision_of(file) == NEWEST, "`check` only reads"
    with caplog.at_level(logging.INFO):
        ledger = open_it()
    assert revision_of(file) == NEXT
    assert ledger.series[SeriesKey(OUTCOMES, PIPELINE, "completed")].value == 1


@pytest.mark.usefixtures("newer_release")
def test_ledger_of_a_newer_release_is_refused(file: Path, open_it: OpenLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    open_it().close()
    before = content_of(file)
    (migrations.FOLDER / "versions" / f"{NEXT}_notes.py").unlink()
    for attempt in (open_it, lambda: inspect_ledger(f"sqlite:///{file}", API)):
        with pytest.raises(
            LedgerError, match=rf"revision {NEXT}, written by a newer .* knows revision {NEWEST}\. Run the"
        ):
            attempt()
    assert content_of(file) == before


def test_ledger_from_before_the_first_release_is_refused(file: Path, open_it: OpenLedger) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript("CREATE TABLE meta (key TEXT, value TEXT); PRAGMA user_version = 5;")
    before = file.read_bytes()
    for attempt in (open_it, lambda: inspect_ledger(f"sqlite:///{file}", API)):
        with pytest.raises(LedgerError, match=r"before the first release .* point ledger_url at a new file"):
            attempt()
    assert file.read_bytes() == before


# Crashes


class SimulatedCrash(BaseException):
    """The process dies here."""


@contextmanager
def dying_after(statements: int) -> Iterator[None]:
    left = statements

    def die(*_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise SimulatedCrash

    sa.event.listen(sa.Engine, "before_cursor_execute", die)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", die)


def die_at_each_statement(file: Path, open_it: OpenLedger, revision: str) -> int:
    """Dies at each statement of opening the ledger in turn; returns how many `revision` takes."""
    before = content_of(file) if file.exists() else []
    for statements in count():
        with dying_after(statements), pytest.raises(SimulatedCrash):
            open_it()
        if revision_of(file) == revision:
            return statements
        assert content_of(file) == before or not before
    raise AssertionError


def test_crash_at_any_statement_of_the_first_opening_leaves_an_empty_file(file: Path, open_it: OpenLedger) -> None:
    file.touch()  # an existing file gets no tables from the tests' template
    assert die_at_each_statement(file, open_it, revisions()[-1]) > 20, "each table takes at least one statement"
    ledger = open_it()
    ledger.commit(outcome(1), baseline_cursor(ledger), NOW)
    assert set(sa.inspect(ledger._database.engine).get_table_names()) == {VERSION_TABLE, *schema.tables.tables}


def test_crash_at_any_statement_of_a_migration_leaves_the_older_ledger(
    file: Path, open_it: OpenLedger, request: pytest.FixtureRequest
) -> None:
    ledger = open_it()
    ledger.commit(outcome(1), baseline_cursor(ledger), NOW)
    ledger.close()
    request.getfixturevalue("newer_release")
    assert die_at_each_statement(file, open_it, NEXT) > 4
    ledger = open_it()
    assert ledger.series[SeriesKey(OUTCOMES, PIPELINE, "completed")].value == 1
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM prefect_monitoring_notes").fetchone() == (1,)
