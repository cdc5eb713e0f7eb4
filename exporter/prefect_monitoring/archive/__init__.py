"""The archive: finished runs with their task runs, states and log lines as Parquet, on S3 or on a disk."""
