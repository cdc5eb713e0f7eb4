"""What is counted: pure functions from records and what the ledger knows to changes."""
