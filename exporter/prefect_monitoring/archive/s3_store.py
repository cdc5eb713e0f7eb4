"""An archive on S3 or a compatible service; region, credentials and endpoint are AWS's own settings."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from prefect_monitoring.archive.store import WRITES_AT_ONCE, Entry, StoreError
from prefect_monitoring.config.settings import ArchiveSettings
from prefect_monitoring.flows.aws import cause, make_client

log = logging.getLogger(__name__)

READ_SECONDS: Final = 30
ATTEMPTS: Final = 6
"""Attempts of one request, with growing pauses: S3 throttles a prefix until it has scaled up."""
PART_BYTES: Final = 16 * 2**20
"""Larger files are uploaded in parts of this size, two at a time, which bounds the memory."""
_PARTS_AT_ONCE: Final = 2
_KEYS_A_DELETE: Final = 1000
_NOT_THERE: Final = frozenset({"404", "NoSuchKey"})
_PUBLIC_GROUPS: Final = ("/global/AllUsers", "/global/AuthenticatedUsers")
_HINTS: Final[Mapping[str, str]] = {
    "NoSuchBucket": "the bucket does not exist: create it, or correct --to",
    "404": "the bucket does not exist: create it, or correct --to",
    "AccessDenied": "the credentials lack a right (docs/archive.md lists those that are needed)",
    "403": "the credentials are refused or lack a right (docs/archive.md lists those that are needed)",
    "InvalidAccessKeyId": "AWS does not know the access key: check AWS_ACCESS_KEY_ID or the profile",
    "SignatureDoesNotMatch": "the secret key is wrong: check AWS_SECRET_ACCESS_KEY or the profile",
    "ExpiredToken": "the session has expired: log in again, or use a role",
    "RequestTimeTooSkewed": "this machine's clock is wrong: synchronise it",
    "PermanentRedirect": "the bucket is in another region: set AWS_REGION",
    "301": "the bucket is in another region: set AWS_REGION",
    "SlowDown": "S3 throttles: it is tried again",
    "NoCredentialsError": "no AWS credentials: give a role, a profile or AWS_ACCESS_KEY_ID",
    "NoRegionError": "set AWS_REGION",
    "EndpointConnectionError": "the endpoint does not answer: check AWS_ENDPOINT_URL_S3 and the network",
    "ConnectTimeoutError": "the endpoint does not answer: check AWS_ENDPOINT_URL_S3 and the network",
}


class S3Store:
    """`encryption`: the parameters that request it, sent with every file."""

    def __init__(self, client: Any, bucket: str, prefix: str, encryption: Mapping[str, str]) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._encryption = encryption

    def check(self) -> list[str]:
        with self._faults():
            self._client.head_bucket(Bucket=self._bucket)
        self.put("_check", b"")
        self.delete(["_check"])
        if not self._is_public():
            return []
        return [f"The bucket {self._bucket} can be read by everybody: block public access, since logs are in it"]

    def put(self, key: str, content: bytes) -> None:
        with self._faults():
            self._client.put_object(
                Bucket=self._bucket, Key=self._prefix + key, Body=content, **_content_type(key), **self._encryption
            )

    def put_many(self, files: Iterable[tuple[str, bytes]]) -> None:
        with ThreadPoolExecutor(WRITES_AT_ONCE) as pool:
            for _ in pool.map(lambda file: self.put(*file), files):
                pass  # raises the errors of `put`

    def put_file(self, key: str, path: Path) -> None:
        if path.stat().st_size <= PART_BYTES:
            self.put(key, path.read_bytes())
            return
        from boto3.s3.transfer import TransferConfig

        parts = TransferConfig(
            multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=_PARTS_AT_ONCE
        )
        with self._faults(), path.open("rb") as file:
            self._client.upload_fileobj(
                file,
                self._bucket,
                self._prefix + key,
                ExtraArgs={**_content_type(key), **self._encryption},
                Config=parts,
            )

    def get(self, key: str) -> bytes | None:
        from botocore.exceptions import ClientError

        with self._faults():
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            except ClientError as error:
                if error.response["Error"]["Code"] in _NOT_THERE:
                    return None
                raise
            return bytes(answer["Body"].read())

    def download(self, key: str, path: Path) -> None:
        with self._faults(), path.open("wb") as file:
            body = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)["Body"]
            for piece in body.iter_chunks(1 << 20):
                file.write(piece)

    def list(self, prefix: str) -> Iterator[Entry]:
        with self._faults():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            for page in pages:
                for found in page.get("Contents", ()):
                    written_at = found["LastModified"].timestamp()
                    yield Entry(found["Key"].removeprefix(self._prefix), found["Size"], written_at)

    def delete(self, keys: Iterable[str]) -> None:
        wanted = [{"Key": self._prefix + key} for key in keys]
        for start in range(0, len(wanted), _KEYS_A_DELETE):
            chosen = {"Objects": wanted[start : start + _KEYS_A_DELETE], "Quiet": True}
            with self._faults():
                answer = self._client.delete_objects(Bucket=self._bucket, Delete=chosen)
            if faults := answer.get("Errors"):
                code = faults[0].get("Code", "")
                raise StoreError(f"{self._name}: {len(faults)} files were not deleted ({code}){_hint(code)}")

    def _is_public(self) -> bool:
        """False also if the credentials do not allow the requests."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            grants = self._client.get_bucket_acl(Bucket=self._bucket)["Grants"]
            if any(grant["Grantee"].get("URI", "").endswith(_PUBLIC_GROUPS) for grant in grants):
                return True
            status = self._client.get_bucket_policy_status(Bucket=self._bucket)
            return bool(status["PolicyStatus"]["IsPublic"])
        except (ClientError, BotoCoreError) as error:
            log.debug("Whether everybody can read the bucket is not known: %s", cause(error))
            return False

    @property
    def _name(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}"

    @contextmanager
    def _faults(self) -> Iterator[None]:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (ClientError, BotoCoreError, Boto3Error) as error:
            # S3UploadFailedError wraps what happened to one part.
            first = error.__context__ if isinstance(error, Boto3Error) and error.__context__ else error
            code = first.response["Error"]["Code"] if isinstance(first, ClientError) else type(first).__name__
            raise StoreError(f"{self._name}: {cause(first)}{_hint(code)}") from None
        except OSError as error:
            raise StoreError(f"{self._name}: {error.strerror or type(error).__name__}") from error


def open_s3_store(bucket: str, prefix: str, settings: ArchiveSettings) -> S3Store:
    """Raises StoreError without boto3, or if boto3's own settings are wrong."""
    try:
        client = make_client("s3", read_seconds=READ_SECONDS, attempts=ATTEMPTS)
    except ModuleNotFoundError:
        raise StoreError(
            "boto3 is not installed, which s3:// needs: pip install 'prefect-monitoring[archive]'"
        ) from None
    except Exception as error:  # noqa: BLE001 boto3 raises many kinds for its profiles and endpoints
        raise StoreError(f"s3://{bucket}: {cause(error)}{_hint(type(error).__name__)}") from None
    return S3Store(client, bucket, prefix, _encryption(settings))


def _encryption(settings: ArchiveSettings) -> dict[str, str]:
    if settings.archive_encryption == "bucket":
        return {}
    if settings.archive_encryption == "sse-s3":
        return {"ServerSideEncryption": "AES256"}
    key = {"SSEKMSKeyId": settings.archive_kms_key} if settings.archive_kms_key else {}
    return {"ServerSideEncryption": "aws:kms", **key}


def _content_type(key: str) -> dict[str, str]:
    kinds = {".gz": "application/gzip", ".json": "application/json"}
    return {"ContentType": kinds.get(Path(key).suffix, "application/octet-stream")}


def _hint(code: str) -> str:
    return f": {_HINTS[code]}" if code in _HINTS else ""
