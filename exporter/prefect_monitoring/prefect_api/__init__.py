"""The only package that talks to Prefect."""
