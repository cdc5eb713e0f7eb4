"""The databases that a ledger can be in, by the names that SQLAlchemy has for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from prefect_monitoring.ledger.dialect import Database, Dialect
from prefect_monitoring.ledger.sqlite import SQLITE

DIALECTS: Final[Mapping[str, Dialect]] = {"sqlite": SQLITE}


def claim(url: str) -> Database:
    """The database behind a ledger URL, for this process. LedgerError; LedgerInUseError when another has it."""
    return _dialect_of(url).claim(url)


def join(url: str) -> Database:
    """The database beside the process that has claimed it. LedgerError when it does not exist."""
    return _dialect_of(url).join(url)


def read(url: str) -> Database:
    """The database, or a copy of it, for reading only. LedgerError when it does not exist."""
    return _dialect_of(url).read(url)


def _dialect_of(url: str) -> Dialect:
    try:
        name = make_url(url).get_backend_name()
    except ArgumentError:
        name = ""
    return DIALECTS.get(name, SQLITE)  # its errors say what a URL must look like
