"""The tables of the archive: their columns, types and meanings. Files and the tables in the docs are made from them.

A column is never removed or changed in meaning without a new `SCHEMA_VERSION`; new ones may be added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

SCHEMA_VERSION: Final = 1
VERSION_KEY: Final = "prefect_monitoring.schema_version"
"""In the metadata of each Parquet file."""

TEXT: Final = pa.string()
INSTANT: Final = pa.timestamp("us", tz="UTC")
SECONDS: Final = pa.float64()
COUNT: Final = pa.int32()
LIST: Final = pa.list_(pa.field("element", TEXT))
STATES: Final = pa.list_(
    pa.field(
        "element",
        pa.struct([("id", TEXT), ("type", TEXT), ("name", TEXT), ("timestamp", INSTANT), ("message", TEXT)]),
    )
)

RUNS, TASK_RUNS, LOGS = "runs", "task_runs", "logs"


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: pa.DataType
    meaning: str


_BATCH: Final = Column("batch", TEXT, "Join task_runs and logs by it")
_STATE: Final = (
    Column("state_id", TEXT, "The last state"),
    Column("state_type", TEXT, "Its type: COMPLETED, FAILED, CRASHED or CANCELLED, for task runs any"),
    Column("state_name", TEXT, "Its name, such as TimedOut"),
    Column("state_timestamp", INSTANT, "When it was entered"),
    Column("state_message", TEXT, "Its message, redacted"),
)
_TIMES: Final = (
    Column("expected_start_time", INSTANT, "When it was to start"),
    Column("start_time", INSTANT, "When it started first"),
    Column("end_time", INSTANT, "When it ended"),
    Column("total_run_time", SECONDS, "Seconds in Running, all attempts together"),
)
TABLES: Final[Mapping[str, tuple[Column, ...]]] = {
    RUNS: (
        Column("id", TEXT, "Flow run id"),
        Column("version", pa.int64(), "Instant of the last state in microseconds; grows with each change"),
        _BATCH,
        Column("archived_at", INSTANT, ""),
        Column("schema_version", COUNT, ""),
        Column("name", TEXT, ""),
        Column("flow", TEXT, "Name of the flow; empty if it is deleted"),
        Column("flow_id", TEXT, ""),
        Column("flow_version", TEXT, ""),
        Column("deployment", TEXT, "Name of the deployment; null without one, empty if it is deleted"),
        Column("deployment_id", TEXT, ""),
        Column("deployment_version", TEXT, ""),
        Column("parent_task_run_id", TEXT, "Set for subflow runs"),
        Column("work_pool", TEXT, ""),
        Column("work_queue", TEXT, ""),
        Column("tags", LIST, ""),
        Column("run_count", COUNT, "Attempts"),
        *_STATE,
        Column("created", INSTANT, ""),
        *_TIMES,
        Column("parameters", TEXT, "JSON, redacted; only with archive_parameters"),
        Column("states", STATES, "All states, oldest first, messages redacted"),
        Column("states_complete", pa.bool_(), "False if Prefect could not return them: only the last state"),
    ),
    TASK_RUNS: (
        Column("id", TEXT, "Task run id"),
        Column("flow_run_id", TEXT, ""),
        _BATCH,
        Column("task", TEXT, ""),
        Column("name", TEXT, ""),
        Column("task_key", TEXT, ""),
        Column("dynamic_key", TEXT, ""),
        Column("child_flow_run_id", TEXT, "Set for subflow runs"),
        Column("tags", LIST, ""),
        Column("run_count", COUNT, "Attempts"),
        Column("flow_run_run_count", COUNT, "Attempt of the flow run"),
        *_STATE,
        *_TIMES,
    ),
    LOGS: (
        Column("flow_run_id", TEXT, ""),
        _BATCH,
        Column("task_run_id", TEXT, "Null for lines of the flow itself"),
        Column("line", pa.int64(), "Line number within the run, from 0"),
        Column("timestamp", INSTANT, ""),
        Column("level", COUNT, "10 debug, 20 info, 30 warning, 40 error, 50 critical"),
        Column("logger", TEXT, ""),
        Column("message", TEXT, "Redacted"),
    ),
}


def arrow_schema(table: str) -> pa.Schema:
    """Columns of a table's files; the partition `dt` is only in their path."""
    fields = [pa.field(column.name, column.type) for column in TABLES[table]]
    return pa.schema(fields, metadata={VERSION_KEY: str(SCHEMA_VERSION)})
