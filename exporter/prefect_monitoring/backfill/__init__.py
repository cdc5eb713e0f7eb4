"""`prefect-monitoring backfill`: writes the history in Prefect as samples, and the ledger that continues from it."""
