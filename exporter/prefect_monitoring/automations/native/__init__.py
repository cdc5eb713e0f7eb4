"""Prefect's own automations, compiled from the pipelines file."""
