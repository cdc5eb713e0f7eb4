"""The only code that talks to Prefect."""
