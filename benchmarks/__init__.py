"""What the exporter costs, measured against real servers: `make bench`."""
