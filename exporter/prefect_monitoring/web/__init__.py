"""HTTP: the metrics, the probes and the status page."""
