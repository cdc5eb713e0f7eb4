"""Sinks: where metrics are pushed, besides `/metrics`."""
