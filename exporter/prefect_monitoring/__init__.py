"""Prometheus metrics, alerts and dashboards for Prefect 3."""

__version__ = "0.1.0"
