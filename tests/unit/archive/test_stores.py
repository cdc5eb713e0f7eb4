"""Stores on disk and S3 (boto3 over HTTP): files are complete or missing, and errors have hints."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from prefect_monitoring.archive import s3_store
from prefect_monitoring.archive.disk_store import DiskStore
from prefect_monitoring.archive.opening import open_store
from prefect_monitoring.archive.store import Store, StoreError
from prefect_monitoring.config.settings import ArchiveSettings
from support.aws import StandIn, aws_stand_in

pytestmark = pytest.mark.slow

MakeStore = Callable[..., Store]
SECRET = "Sesam-0451"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with aws_stand_in() as aws:
        for name, value in (aws.environment() | {"AWS_SECRET_ACCESS_KEY": SECRET}).items():
            monkeypatch.setenv(name, value)
        yield aws


@pytest.fixture
def bucket(aws: StandIn) -> Any:
    return aws.bucket("archive")


def s3(**options: Any) -> Store:
    return open_store(ArchiveSettings(archive_to="s3://archive/team/prefect", **options))


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "disk":
        return open_store(ArchiveSettings(archive_to=(tmp_path / "with space").as_uri()))
    request.getfixturevalue("bucket")
    return s3()


def listed(store: Store, prefix: str) -> list[tuple[str, int]]:
    return [(entry.key, entry.size) for entry in store.list(prefix)]


def test_files_are_read_back_unchanged(store: Store, tmp_path: Path) -> None:
    assert store.check() == []
    (tmp_path / "file").write_bytes(b"from a file")
    store.put("a/1.json", b"one")
    store.put("a/1.json", b"won")
    store.put_file("a/2.parquet", tmp_path / "file")
    store.put("ab/3", b"")
    store.put_many((f"b/{number:02}", b"x" * number) for number in range(20))
    assert listed(store, "b/") == [(f"b/{number:02}", number) for number in range(20)]
    assert listed(store, "a/") == [("a/1.json", 3), ("a/2.parquet", 11)]
    assert all(abs(entry.written_at - time.time()) < 60 for entry in store.list("a/"))
    assert (store.get("a/1.json"), store.get("a/none")) == (b"won", None)
    store.download("a/2.parquet", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"from a file"
    store.delete(["a/1.json", "a/none"])
    assert listed(store, "a/") == [("a/2.parquet", 11)]
    assert listed(store, "none/") == []


@pytest.mark.parametrize("to", ["", "/var/archive", "s3://", f"https://u:{SECRET}@x/y", f"s3://u:{SECRET}@bucket/x"])
def test_unsupported_address_is_refused_without_quoting_it(to: str) -> None:
    with pytest.raises(StoreError, match="neither s3://bucket/prefix nor file:///folder") as caught:
        open_store(ArchiveSettings.model_construct(archive_to=to))
    assert SECRET not in str(caught.value)


# On a disk


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_full_disk_leaves_the_file_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: int) -> None:
    store = DiskStore(tmp_path)
    store.put("runs/a", b"before")

    def fsync(_: int) -> None:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StoreError, match=os.strerror(fault)):
        store.put("runs/a", b"after")
    with pytest.raises(StoreError, match=os.strerror(fault)):
        store.put_many([("runs/a", b"after"), ("runs/b", b"new")])
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["a"]
    assert (tmp_path / "runs/a").read_bytes() == b"before"


def test_partial_files_are_never_listed_and_removed_after_a_day(tmp_path: Path) -> None:
    """Until then another process may still be writing it."""
    store = DiskStore(tmp_path)
    store.put("runs/a", b"a")
    left = tmp_path / "runs/.b.123.unfinished"
    left.write_bytes(b"half")
    assert [entry.key for entry in store.list("runs/")] == ["runs/a"]
    store.check()
    assert left.exists()
    os.utime(left, (0, 0))
    store.check()
    assert not left.exists()


def test_folder_that_cannot_be_created_is_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"Not a directory|File exists"):
        DiskStore(tmp_path / "file/archive").check()


# On S3


def test_large_file_is_sent_in_parts(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_store, "PART_BYTES", 5 * 2**20)
    content = os.urandom(11 * 2**20)
    (tmp_path / "large").write_bytes(content)
    s3().put_file("large", tmp_path / "large")
    stored = bucket.Object("team/prefect/large")
    assert stored.e_tag.endswith('-3"'), "of three parts"
    assert stored.get()["Body"].read() == content


@pytest.mark.parametrize(
    ("options", "encryption", "key"),
    [
        ({"archive_encryption": "sse-s3"}, "AES256", None),
        ({"archive_encryption": "sse-kms", "archive_kms_key": "alias/archive"}, "aws:kms", "alias/archive"),
    ],
)
def test_encryption_is_requested_for_every_file(
    bucket: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, str],
    encryption: str,
    key: str | None,
) -> None:
    monkeypatch.setattr(s3_store, "PART_BYTES", 5 * 2**20)
    (tmp_path / "large").write_bytes(bytes(6 * 2**20))
    store = s3(**options)
    store.put("small", b"")
    store.put_file("large", tmp_path / "large")
    for name in ("small", "large"):
        stored = bucket.Object(f"team/prefect/{name}")
        assert (stored.server_side_encryption, stored.ssekms_key_id) == (encryption, key)


def test_public_bucket_logs_a_warning(bucket: Any) -> None:
    bucket.Acl().put(ACL="public-read")
    (warning,) = s3().check()
    assert "can be read by everybody" in warning


def test_missing_bucket_is_a_one_line_error(aws: StandIn) -> None:
    with pytest.raises(StoreError, match="the bucket does not exist: create it"):
        s3().check()
    with pytest.raises(StoreError, match=r"NoSuchBucket.*the bucket does not exist"):
        s3().put("a", b"")


def test_unreachable_endpoint_is_a_one_line_error(aws: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_store, "ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="the endpoint does not answer") as caught:
        s3().check()
    assert SECRET not in str(caught.value)


@pytest.fixture
def refusing(aws: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, str]]]:
    """An endpoint that answers with these statuses and codes in turn, then with 200."""
    answers: list[tuple[int, str]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, code = answers.pop(0) if answers else (200, "")
            body = f"<Error><Code>{code}</Code><Message>{SECRET}</Message></Error>".encode() if code else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    yield answers
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (403, "InvalidAccessKeyId", "AWS does not know the access key"),
        (403, "SignatureDoesNotMatch", "the secret key is wrong"),
        (403, "AccessDenied", "lack a right"),
        (403, "RequestTimeTooSkewed", "clock is wrong"),
        (400, "ExpiredToken", "the session has expired"),
        (301, "PermanentRedirect", "another region"),
    ],
)
def test_refusal_has_a_hint_and_no_secret(refusing: list[tuple[int, str]], status: int, code: str, advice: str) -> None:
    refusing[:] = [(status, code)] * 9
    with pytest.raises(StoreError, match=advice) as caught:
        s3().put("a", b"content")
    assert code in str(caught.value)
    assert SECRET not in str(caught.value)


def test_throttled_request_is_retried(refusing: list[tuple[int, str]]) -> None:
    refusing[:] = [(503, "SlowDown"), (503, "SlowDown")]
    s3().put("a", b"content")
    assert refusing == []
