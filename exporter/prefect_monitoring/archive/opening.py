"""Opening the store that the settings name."""

from __future__ import annotations

from pathlib import Path

from prefect_monitoring.analysis.archive_address import parse_archive_address
from prefect_monitoring.archive.disk_store import DiskStore
from prefect_monitoring.archive.s3_store import open_s3_store
from prefect_monitoring.archive.store import Store, StoreError
from prefect_monitoring.config.settings import ArchiveSettings


def open_store(settings: ArchiveSettings) -> Store:
    """The store that the settings name. Raises StoreError for an address of another kind, or without boto3."""
    try:
        address = parse_archive_address(settings.archive_to)
    except ValueError as error:
        # Not repeated: an address of another kind may hold a password.
        raise StoreError(f"The archive's address (--to, archive_to) {error}") from None
    if address.bucket:
        return open_s3_store(address.bucket, address.path, settings)
    return DiskStore(Path(address.path))
