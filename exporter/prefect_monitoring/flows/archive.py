"""A hook that archives its run as one JSON document, on S3 or on a disk.

The archive never fails a run: errors are warnings in the run's log.
"""

from __future__ import annotations

import gzip
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast

from prefect_monitoring.analysis.archive_address import parse_archive_address
from prefect_monitoring.analysis.run_document import RunRecord, document, document_key, task_run
from prefect_monitoring.flows.aws import AWS_EXTRA, cause, make_client
from prefect_monitoring.flows.run_context import PLAIN_LOGGER, hook_logger, is_task_run

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

Hook = Callable[[Any, Any, Any], None]

MAX_SECONDS: Final = 30.0
_READING_SHARE: Final = 0.7
"""The share of the time that reading may take; the rest is for sending."""
_SETTLING_SHARE: Final = 0.15
"""The share of the time to wait for the last states of task runs: the server records them late."""
_PAUSE_SECONDS: Final = 0.5
_SPOOL_BYTES: Final = 4_000_000
_FINAL: Final = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})


def archive_logs(to: str, *, parameters: bool = False, max_seconds: float = MAX_SECONDS) -> Hook:
    """A hook for `on_completion=`, `on_failure=`, `on_crashed=` and `on_cancellation=` of flows.

    Writes `flow-runs/<id>.json.gz` below `to`, `s3://bucket/prefix` or `file:///folder`: the run, its states, task runs
    and log lines, redacted; `parameters` only when asked for. Takes at most `max_seconds`: what has not been read after
    two thirds of it is left out, and `logs_complete` in the document is false.

    Raises ValueError for another address. Without boto3, `s3://` is a warning in each run's log.
    """
    write = _writer(to)
    if not max_seconds > 0:
        raise ValueError("archive_logs(): max_seconds must be above 0")
    if not _can_write(to):
        PLAIN_LOGGER.warning("%s", _missing(to))

    # The parameters' names are Prefect's: a runner that calls hooks for a dead process passes keywords.
    def archive_logs(flow: Any, flow_run: Any, state: Any) -> None:  # noqa: ARG001
        logger = hook_logger(flow, flow_run)
        if is_task_run(flow_run):
            logger.warning("Not archived: archive_logs is a hook for flows, not for tasks")
            return
        if not _can_write(to):
            logger.warning("%s", _missing(to))
            return
        outcome: list[str] = []
        job = _Job(str(flow_run.id), write, parameters, time.monotonic(), max_seconds)
        thread = threading.Thread(target=copy_context().run, args=(job.run, outcome), name="archive", daemon=True)
        thread.start()
        thread.join(max_seconds)
        fault = outcome[0] if outcome else f"not done within {max_seconds:g} s"
        if fault:
            logger.warning("The run was not archived: %s", fault)

    return archive_logs


@dataclass(frozen=True, slots=True)
class _Job:
    """One run to archive; `begun` is of the monotonic clock."""

    run_id: str
    write: Callable[[str, IO[bytes]], None]
    with_parameters: bool
    begun: float
    seconds: float

    def run(self, outcome: list[str]) -> None:
        """Appends "" when the document is written, else why not."""
        try:
            with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as spool:
                self._compose(cast("IO[bytes]", spool))
                spool.seek(0)
                self.write(document_key(self.run_id), cast("IO[bytes]", spool))
        except Exception as error:  # noqa: BLE001 any error of a server, a disk or AWS
            outcome.append(cause(error))
        else:
            outcome.append("")

    def _compose(self, spool: IO[bytes]) -> None:
        from prefect.client.orchestration import get_client
        from prefect.logging.handlers import APILogHandler

        APILogHandler().flush()  # what this process has logged but not yet sent
        reading_until = self.begun + self.seconds * _READING_SHARE
        with get_client(sync_client=True) as client, gzip.GzipFile(fileobj=spool, mode="wb", mtime=0) as file:
            record = self._record(client)
            logs = _Logs(client, self.run_id, reading_until)
            now = datetime.now(UTC).isoformat()
            for piece in document(
                record,
                logs.read(),
                archived_at=now,
                with_parameters=self.with_parameters,
                is_complete=lambda: logs.is_complete,
            ):
                file.write(piece)

    def _record(self, client: SyncPrefectClient) -> RunRecord:
        settled_by = self.begun + self.seconds * _SETTLING_SHARE
        while True:
            task_runs = list(_task_runs(client, self.run_id))
            is_settled = all((run["state"] or {}).get("type") in _FINAL for run in task_runs)
            if is_settled or time.monotonic() > settled_by:
                break
            time.sleep(_PAUSE_SECONDS)
        run = _get(client, f"/flow_runs/{self.run_id}")
        return RunRecord(
            run,
            flow=_name(client, "flows", run["flow_id"]),
            deployment=_name(client, "deployments", run.get("deployment_id")),
            states=_get(client, "/flow_run_states/", flow_run_id=self.run_id),
            task_runs=task_runs,
        )


class _Logs:
    """A run's log lines, oldest first, a page in memory at a time; `is_complete` is true after the last one."""

    def __init__(self, client: SyncPrefectClient, run_id: str, until: float) -> None:
        self._client = client
        self._run_id = run_id
        self._until = until
        self.is_complete = False

    def read(self) -> Iterator[dict[str, Any]]:
        """Reads pages from the last timestamp on, since large offsets are expensive."""
        last, seen, offset = "", set[str](), 0
        while time.monotonic() < self._until:
            page = self._page(last, offset)
            fresh = [line for line in page if line["id"] not in seen]
            yield from fresh
            if not page:
                self.is_complete = True
                return
            if page[-1]["timestamp"] == last:  # the whole page has one timestamp: continue after it
                offset += len(page)
                seen |= {line["id"] for line in fresh}
                continue
            last, offset = page[-1]["timestamp"], 0
            seen = {line["id"] for line in page if line["timestamp"] == last}

    def _page(self, after: str, offset: int) -> list[dict[str, Any]]:
        criteria: dict[str, Any] = {"flow_run_id": {"any_": [self._run_id]}}
        if after:
            criteria["timestamp"] = {"after_": after}
        return _post(self._client, "/logs/filter", {"logs": criteria, "sort": "TIMESTAMP_ASC", "offset": offset})


def _task_runs(client: SyncPrefectClient, run_id: str) -> Iterator[dict[str, Any]]:
    criteria = {"flow_runs": {"id": {"any_": [run_id]}}, "sort": "ID_DESC"}
    offset = 0
    # Without a limit in the request: an operator may have lowered the maximum.
    while page := _post(client, "/task_runs/filter", criteria | {"offset": offset}):
        yield from map(task_run, page)
        offset += len(page)


def _name(client: SyncPrefectClient, kind: str, identifier: str | None) -> str:
    """The name, or "" for what no longer exists: a deployment may be deleted while its run goes on."""
    if not identifier:
        return ""
    rows = _post(client, f"/{kind}/filter", {kind: {"id": {"any_": [identifier]}}})
    return str(rows[0]["name"]) if rows else ""


def _post(client: SyncPrefectClient, path: str, body: object) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = client.request("POST", cast("Any", path), json=body).json()
    return rows


def _get(client: SyncPrefectClient, path: str, **query: str) -> Any:
    return client.request("GET", cast("Any", path), params=query).json()


def _writer(to: str) -> Callable[[str, IO[bytes]], None]:
    """A function that writes a file below `to`. Raises ValueError for an address of another kind."""
    try:
        address = parse_archive_address(to)
    except ValueError as error:
        raise ValueError(f"archive_logs(): {to!r} {error}") from None
    if address.bucket:
        return lambda key, file: _to_s3(address.bucket, f"{address.path}/{key}".lstrip("/"), file)
    return lambda key, file: _to_disk(Path(address.path) / key, file)


def _can_write(to: str) -> bool:
    return not to.startswith("s3:") or find_spec("boto3") is not None


def _missing(to: str) -> str:
    return f"Runs are not archived to {to}: boto3 is not installed. {AWS_EXTRA}"


def _to_s3(bucket: str, key: str, file: IO[bytes]) -> None:
    make_client("s3").put_object(Bucket=bucket, Key=key, Body=file, ContentType="application/gzip")


def _to_disk(path: Path, file: IO[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as target:
        unfinished = Path(target.name)
        try:
            while piece := file.read(1 << 20):
                target.write(piece)
            target.close()
            unfinished.replace(path)  # readers see a whole document or none
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
