"""CloudWatch: a curated set of metrics, pushed minute by minute; a dashboard and alarms."""
