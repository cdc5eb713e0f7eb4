"""Readers of each source into the ledger."""
