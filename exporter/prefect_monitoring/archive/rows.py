"""Runs, task runs and log lines as rows of the archive's tables, selected and redacted as in their document. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from prefect_monitoring.analysis.run_document import Json, RunRecord
from prefect_monitoring.archive.schema import SCHEMA_VERSION
from prefect_monitoring.model.instants import parse_time
from prefect_monitoring.prefect_api.task_runs import task_name

Row = dict[str, Any]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES: Final = ("expected_start_time", "start_time", "end_time")


def run_row(record: RunRecord, batch: str, archived_at: datetime, *, parameters: bool, states_complete: bool) -> Row:
    run = record.run
    kept = (*("id", "name", "flow_id", "flow_version", "deployment_id", "deployment_version", "parent_task_run_id"),)
    return {
        **{name: run[name] for name in (*kept, "tags", "run_count", "total_run_time")},
        **_state_columns(run["state"]),
        **{name: _instant(run[name]) for name in (*_TIMES, "created")},
        "version": version_of(run),
        "batch": batch,
        "archived_at": archived_at,
        "schema_version": SCHEMA_VERSION,
        "flow": record.flow,
        "deployment": record.deployment if run["deployment_id"] else None,
        "work_pool": run["work_pool_name"],
        "work_queue": run["work_queue_name"],
        "parameters": orjson.dumps(run["parameters"]).decode() if parameters else None,
        "states": [_state(state) for state in record.states],
        "states_complete": states_complete,
    }


def task_run_row(flow_run_id: str, batch: str, run: Json, child_flow_run_id: str | None) -> Row:
    kept = ("id", "name", "task_key", "dynamic_key", "tags", "run_count", "flow_run_run_count", "total_run_time")
    return {
        **{name: run[name] for name in kept},
        **_state_columns(run["state"]),
        **{name: _instant(run[name]) for name in _TIMES},
        "flow_run_id": flow_run_id,
        "batch": batch,
        "task": task_name(run["name"] or "", run["task_key"] or "", run["dynamic_key"] or ""),
        "child_flow_run_id": child_flow_run_id,
    }


def log_row(flow_run_id: str, batch: str, number: int, line: Json) -> Row:
    return {
        "flow_run_id": flow_run_id,
        "batch": batch,
        "task_run_id": line["task_run_id"],
        "line": number,
        "timestamp": _instant(line["timestamp"]),
        "level": line["level"],
        "logger": line["name"],
        "message": _encodable(line["message"]),
    }


def version_of(run: Json) -> int:
    """The instant of the run's last state, in microseconds since the epoch: it grows with each change."""
    at = _instant((run.get("state") or {}).get("timestamp") or run.get("end_time"))
    return (at - _EPOCH) // timedelta(microseconds=1) if at else 0


def _state_columns(state: Json | None) -> Row:
    return {f"state_{name}": value for name, value in _state(state or {}).items()}


def _state(state: Json) -> Row:
    kept = {name: state.get(name) for name in ("id", "type", "name")}
    message = state.get("message")
    text = _encodable(message) if message is not None else None
    return {**kept, "timestamp": _instant(state.get("timestamp")), "message": text}


def _instant(text: str | None) -> datetime | None:
    return None if text is None else parse_time(text)


def _encodable(text: str) -> str:
    """Without lone surrogates, which UTF-8 cannot hold: they become `?`."""
    return text if text.isascii() else text.encode(errors="replace").decode()
