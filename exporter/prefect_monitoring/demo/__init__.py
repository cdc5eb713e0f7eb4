"""`prefect-monitoring demo`: the whole of it on one machine, from a Prefect server to the messages."""
