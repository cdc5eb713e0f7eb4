"""One flow run as a JSON document for people: the run, its states, task runs and log lines, redacted. Pure.

The input is JSON from Prefect's API, of which the fields named here are kept. No field is removed or changed in meaning
without a new `SCHEMA_VERSION`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prefect_monitoring.analysis.redaction import redact, redact_value

SCHEMA_VERSION: Final = 1
Json = Mapping[str, Any]

_FLOW_RUN: Final = (
    *("id", "name", "flow_id", "flow_version", "deployment_id", "deployment_version", "parent_task_run_id"),
    *("work_pool_name", "work_queue_name", "tags", "run_count", "created", "expected_start_time", "start_time"),
    *("end_time", "total_run_time"),
)
_TASK_RUN: Final = (
    *("id", "name", "task_key", "dynamic_key", "tags", "run_count", "flow_run_run_count", "expected_start_time"),
    *("start_time", "end_time", "total_run_time"),
)
_STATE: Final = ("id", "type", "name", "timestamp")
_LOG: Final = ("timestamp", "level", "name", "task_run_id")


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A flow run with its states and task runs; `deployment` is "" for a run without one."""

    run: Json
    flow: str
    deployment: str
    states: Sequence[Json]
    task_runs: Sequence[Json]


def document_key(run_id: str) -> str:
    """The path of a run's document below the archive's address."""
    return f"flow-runs/{run_id}.json.gz"


def document(
    record: RunRecord,
    logs: Iterable[Json],
    *,
    archived_at: str,
    with_parameters: bool,
    is_complete: Callable[[], bool] = lambda: True,
) -> Iterator[bytes]:
    """The document in pieces, a log line each, so that a run with millions of them fits into memory.

    `record` and `logs` are as the API returns them. `is_complete` is called after the last log line, and says whether
    `logs` had all of them.
    """
    picked = RunRecord(
        flow_run(record.run, with_parameters=with_parameters),
        record.flow,
        record.deployment,
        [state_of(state) or {} for state in record.states],
        [task_run(run) for run in record.task_runs],
    )
    return picked_document(picked, map(log_line, logs), archived_at=archived_at, is_complete=is_complete)


def picked_document(
    record: RunRecord, logs: Iterable[Json], *, archived_at: str, is_complete: Callable[[], bool] = lambda: True
) -> Iterator[bytes]:
    """As `document`, from the results of `flow_run`, `state_of`, `task_run` and `log_line`."""
    head = {
        "schema_version": SCHEMA_VERSION,
        "archived_at": archived_at,
        "flow": record.flow,
        "deployment": record.deployment or None,
        "flow_run": record.run,
        "states": record.states,
        "task_runs": record.task_runs,
    }
    yield _encode(head)[:-1] + b',"logs":['
    separator = b"\n"
    for line in logs:
        yield separator + _encode(line)
        separator = b",\n"
    yield b"\n]," + _encode({"logs_complete": is_complete()})[1:] + b"\n"


def task_run(run: Json) -> dict[str, Any]:
    """The fields of a task run that the document keeps. Idempotent."""
    return _picked(run, _TASK_RUN) | {"state": state_of(run.get("state"))}


def flow_run(run: Json, *, with_parameters: bool) -> dict[str, Any]:
    """The fields of a flow run that the document keeps. Idempotent."""
    parameters = {"parameters": redact_value(run.get("parameters"))} if with_parameters else {}
    return _picked(run, _FLOW_RUN) | {"state": state_of(run.get("state"))} | parameters


def state_of(state: Json | None) -> dict[str, Any] | None:
    """The fields of a state that the document keeps. Idempotent."""
    if state is None:
        return None
    message = state.get("message")
    return _picked(state, _STATE) | {"message": redact(str(message)) if message is not None else None}


def log_line(line: Json) -> dict[str, Any]:
    """The fields of a log line that the document keeps. Idempotent."""
    return _picked(line, _LOG) | {"message": redact(str(line.get("message") or ""))}


def _picked(source: Json, names: Sequence[str]) -> dict[str, Any]:
    return {name: source.get(name) for name in names}


def _encode(value: object) -> bytes:
    # ensure_ascii escapes lone surrogates, which a log line may contain and UTF-8 cannot encode.
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode()
