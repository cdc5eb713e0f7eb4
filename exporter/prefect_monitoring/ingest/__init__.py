"""Reading each source into the ledger."""
