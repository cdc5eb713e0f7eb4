"""`prefect-monitoring backfill`: what Prefect still holds, as samples, and the ledger that goes on from there."""
