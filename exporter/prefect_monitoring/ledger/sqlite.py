"""How a ledger file is locked, opened, refused or migrated, and what its errors mean."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Final

import orjson
import sqlalchemy as sa
from filelock import FileLock, Timeout
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from prefect_monitoring.ledger.errors import LedgerError, LedgerInUseError
from prefect_monitoring.ledger.migrations import SCHEMA_VERSION, migrate
from prefect_monitoring.ledger.sql import read_meta

BUSY_TIMEOUT_SECONDS: Final = 5


def sqlite_path(url: str) -> Path:
    """The file behind a ledger URL. LedgerError for anything but a SQLite file."""
    try:
        parsed: URL = make_url(url)
    except ArgumentError:
        raise LedgerError("ledger_url is not a URL: give sqlite:////absolute/path/ledger.db") from None
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise LedgerError(
            f"ledger_url names a {parsed.get_backend_name()} database, but a ledger is a SQLite file:"
            " give sqlite:////absolute/path/ledger.db"
        )
    return Path(parsed.database)


def connect(path: Path) -> sa.Engine:
    """An engine on an existing or new ledger of our version. LedgerError says what is wrong and how to mend it."""
    engine = _new_engine(path)
    try:
        with engine.begin() as connection:
            migrate(connection, _check(connection, path))
    except BaseException as error:
        engine.dispose()
        if isinstance(error, DatabaseError):
            raise explain(error, path) from error
        raise
    return engine


def inspect(path: Path) -> dict[str, Any]:
    """What an existing ledger says of itself; it is left as it was. LedgerError where `connect` would raise one."""
    engine = _new_engine(path)
    try:
        with engine.connect() as connection, connection.begin() as transaction:
            stored = read_meta(connection) if _check(connection, path) else {}
            transaction.rollback()
            return stored
    except DatabaseError as error:
        raise explain(error, path) from error
    finally:
        engine.dispose()


def _new_engine(path: Path) -> sa.Engine:
    engine = sa.create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        poolclass=sa.StaticPool,
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
    )
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
    # The driver's own transaction handling would not cover DDL; ours begins with _begin_immediate.
    connection.isolation_level = None
    if not _is_foreign(connection):  # which is refused below, as it was found
        connection.execute("PRAGMA journal_mode=WAL")
    # A power cut must not take back what a scrape has already shown.
    connection.execute("PRAGMA synchronous=FULL")


def _is_foreign(connection: sqlite3.Connection) -> bool:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(version == 0 and tables > 0)


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _check(connection: sa.Connection, path: Path) -> int:
    """The version of an intact ledger, 0 for an empty file. LedgerError for anything else."""
    verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if verdict != "ok":
        raise LedgerError(_damaged(path, " ".join(str(verdict).split())))
    version: int = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if version > SCHEMA_VERSION:
        raise LedgerError(
            f"The ledger {path} is of version {version}, written by a newer prefect-monitoring; this one knows version"
            f" {SCHEMA_VERSION}. Run the newer release, or point ledger_url at another file (counters start anew)."
        )
    if version == 0 and sa.inspect(connection).get_table_names():
        raise LedgerError(f"{path} is a SQLite database, but not a ledger: point ledger_url at a file of its own.")
    return version


_PERMISSIONS: Final = (
    "give the user that runs prefect-monitoring the right to write there, or set ledger_url elsewhere."
)


def _damaged(path: Path, detail: str) -> str:
    return (
        f"The ledger {path} is damaged ({detail}). Restore it from a backup, or move it away and start again: a new"
        " ledger loads the lookback as its starting level and counts on from there."
    )


def explain(error: DatabaseError, path: Path) -> LedgerError:
    """A database error as a message that says what to do."""
    name = getattr(error.orig, "sqlite_errorname", "") or ""
    detail = str(error.orig)
    table: dict[str, str] = {
        "SQLITE_BUSY": f"The ledger {path} is locked by another program (a backup, a shell): end it; nothing is lost.",
        "SQLITE_READONLY": f"The ledger {path} is read-only: {_PERMISSIONS}",
        "SQLITE_CANTOPEN": f"The ledger {path} cannot be opened: {_PERMISSIONS}",
        "SQLITE_FULL": f"No room is left for the ledger {path}: free disk space; counting goes on where it stopped.",
        "SQLITE_IOERR": f"Reading or writing the ledger {path} failed ({detail}): check the disk and its free space.",
        "SQLITE_NOTADB": _damaged(path, detail),
        "SQLITE_CORRUPT": _damaged(path, detail),
    }
    for prefix, message in table.items():
        if name.startswith(prefix):
            return LedgerError(message)
    kind = "unavailable" if isinstance(error, OperationalError) else "unusable"
    return LedgerError(f"The ledger {path} is {kind} ({name or type(error.orig).__name__}: {detail}).")


def take_lock(path: Path) -> FileLock:
    """The right to write, held by one process. LedgerInUseError when another has it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not of one thread: who opens the ledger need not be who closes it.
        lock = FileLock(path.with_name(path.name + ".lock"), thread_local=False)
        lock.acquire(timeout=0)
    except Timeout:
        raise LedgerInUseError(
            f"The ledger {path} is in use by another prefect-monitoring: one process counts, so stop that one,"
            " or give this one a ledger_url of its own."
        ) from None
    except OSError as error:
        raise LedgerError(
            f"The ledger's lock beside {path} cannot be taken ({error.strerror}): {_PERMISSIONS}"
        ) from error
    return lock
