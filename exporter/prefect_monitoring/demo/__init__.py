"""`prefect-monitoring demo`: the whole stack on one machine, from a Prefect server to the notifications."""
