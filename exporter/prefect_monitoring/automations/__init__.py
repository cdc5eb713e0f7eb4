"""Actions on Prefect."""
