"""CloudWatch's own alarms and dashboard, compiled from the pipelines file."""
