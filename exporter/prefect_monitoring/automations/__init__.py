"""What acts on Prefect."""
