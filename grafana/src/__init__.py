"""What grafana/dashboards/*.json is generated from: one file a dashboard, and what they share. `make dashboards`."""
