"""Why a ledger cannot be used."""

from __future__ import annotations


class LedgerError(Exception):
    """The ledger cannot be used; the message says what to do about it."""


class LedgerInUseError(LedgerError):
    """Another process has the ledger."""
