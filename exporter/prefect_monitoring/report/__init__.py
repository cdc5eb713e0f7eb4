"""The weekly report: what the ledger says of a period, for people."""
