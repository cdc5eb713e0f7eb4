"""Prometheus metrics you can trust for Prefect 3."""

__version__ = "0.1.0"
