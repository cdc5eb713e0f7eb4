"""The weekly report: what the ledger knows about a period, for people."""
