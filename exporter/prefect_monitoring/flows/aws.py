"""AWS clients with bounded waits, and short descriptions of their errors."""

from __future__ import annotations

import os
from typing import Any, Final

AWS_EXTRA: Final = "pip install 'prefect-monitoring[aws]'"
_HINTS: Final = {"NoRegionError": "; set AWS_REGION", "ModuleNotFoundError": f"; {AWS_EXTRA}"}
_CONNECT_SECONDS: Final = 3
_READ_SECONDS: Final = 5
_ATTEMPTS: Final = 3


def make_client(service: str, *, read_seconds: float = _READ_SECONDS, attempts: int = _ATTEMPTS) -> Any:
    """A boto3 client with AWS's own settings for region, credentials and endpoint. Raises what boto3 raises."""
    import boto3
    from botocore.config import Config

    session = boto3.session.Session()
    options = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=read_seconds,
        retries={"mode": "standard", "total_max_attempts": attempts},
        disable_request_compression=False,  # the size limits of CloudWatch's requests rely on it
    )
    # boto3 reads AWS_DEFAULT_REGION, but AWS's containers and functions have AWS_REGION.
    return session.client(service, region_name=session.region_name or os.environ.get("AWS_REGION"), config=options)


def cause(error: Exception) -> str:
    """The kind of an error, and AWS's code or HTTP's status: messages may hold account ids and addresses."""
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""
    code = code or getattr(response, "status_code", "")
    kind = type(error).__name__
    return f"{kind}{f' ({code})' if code else ''}{_HINTS.get(kind, '')}"
