"""Thousands of runs and log lines, which the API cannot create quickly; and changes that the API cannot make at all.

They are written directly into the server's database. No events are created.
"""

import hashlib
import json
import random
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

from support.database import Row, insert, update
from support.prefect_server import PrefectServer
from support.seeder import type_of

_FLOW_RUN_POLICY = json.dumps({"max_retries": 0, "retry_delay_seconds": 0.0, "pause_keys": [], "resuming": False})
_TASK_RUN_POLICY = json.dumps({"max_retries": 0, "retry_delay_seconds": 0.0, "retries": 0, "retry_delay": 0})
_TERMINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
_BEFORE_START = timedelta(milliseconds=20)
_BEFORE_RETRY = timedelta(milliseconds=100)

Batch = defaultdict[str, list[Row]]  # rows by table, for database.insert


class Entered(NamedTuple):
    """A state of a run: its name in Prefect, when it was entered, and its message."""

    name: str
    at: datetime
    message: str | None = None


def bulk_finished_runs(
    server: PrefectServer,
    flow_id: str,
    end_times: Iterable[datetime],
    *,
    deployment_id: str | None = None,
    state: str = "Completed",
    duration: timedelta = timedelta(seconds=1),
    started: bool = True,
    message: str | None = None,
    tags: Sequence[str] = (),
) -> list[str]:
    """One finished run for each end time, with its Pending, Running and terminal states; returns the run ids.

    In one transaction, about 9,000 runs a second. `started=False`: they ended without ever running.
    """
    batch: Batch = defaultdict(list)
    ids = []
    for end in end_times:
        running = [Entered("Running", end - duration)] if started else []
        history = [Entered("Pending", end - duration - _BEFORE_START), *running, Entered(state, end, message)]
        ids.append(add_flow_run(batch, flow_id, history, deployment_id=deployment_id, tags=tags))
    insert(server, batch)
    return ids


def bulk_task_runs(
    server: PrefectServer,
    task: str,
    runs: Iterable[tuple[str | None, datetime]],
    *,
    state: str = "Completed",
    duration: timedelta = timedelta(seconds=1),
    attempts: int = 1,
    flow_run_attempt: int = 1,
    message: str | None = None,
    tags: Sequence[str] = (),
) -> list[str]:
    """One finished run of `task` for each (flow run id or None, end time), with its states; returns the task run ids.

    `duration` is the time in Running, of all `attempts` together; `flow_run_attempt` is the attempt of the flow run.
    """
    batch: Batch = defaultdict(list)
    ids = []
    for flow_run_id, end in runs:
        history = task_history(end, state, duration=duration, attempts=attempts, message=message)
        run_id = add_task_run(batch, task, flow_run_id, history, flow_run_attempt=flow_run_attempt, tags=tags)
        ids.append(run_id)
    insert(server, batch)
    return ids


def bulk_logs(
    server: PrefectServer,
    lines: Iterable[tuple[datetime, str]],
    *,
    flow_run_id: str | None = None,
    task_run_id: str | None = None,
    level: int = 20,
    logger: str = "prefect.task_runs",
) -> list[str]:
    """One log line for each (time, message); returns their ids."""
    batch: Batch = defaultdict(list)
    about = {"flow_run_id": flow_run_id, "task_run_id": task_run_id}
    ids = [add_log(batch, at, message, **about, level=level, logger=logger) for at, message in lines]
    insert(server, batch)
    return ids


def rename_flow_in_database(server: PrefectServer, flow_id: str, name: str) -> None:
    """The API cannot rename a flow (PATCH takes tags only)."""
    update(server, "flow", flow_id, "name", name)


# --- rows, for callers that write their own batches -----------------------------------------------------------------


def add_flow_run(
    batch: Batch,
    flow_id: str,
    history: Sequence[Entered],
    *,
    deployment_id: str | None = None,
    work_queue_id: str | None = None,
    tags: Sequence[str] = (),
) -> str:
    """A flow run that went through `history` (oldest first, no two at the same instant); returns its id."""
    run_id = str(uuid4())
    labels = {"prefect.flow.id": flow_id} | ({"prefect.deployment.id": deployment_id} if deployment_id else {})
    last = _add_states(batch, "flow_run", run_id, history)
    row = {"id": run_id, "name": f"bulk-{run_id[:8]}", **_timing(history), **last}
    row |= {"flow_id": flow_id, "deployment_id": deployment_id, "work_queue_id": work_queue_id}
    row |= {"empirical_policy": _FLOW_RUN_POLICY, "tags": json.dumps(list(tags)), "labels": json.dumps(labels)}
    batch["flow_run"].append(row)
    return run_id


def add_task_run(
    batch: Batch,
    task: str,
    flow_run_id: str | None,
    history: Sequence[Entered],
    *,
    flow_run_attempt: int = 1,
    tags: Sequence[str] = (),
) -> str:
    """A run of `task`, with the name and key that Prefect would give it; returns its id."""
    run_id, dynamic_key = _ordered_id(), str(uuid4())
    last = _add_states(batch, "task_run", run_id, history)
    row = {"id": run_id, "name": f"{task}-{dynamic_key[:3]}", **_timing(history), **last}
    row |= {"task_key": f"{task}-{hashlib.sha256(task.encode()).hexdigest()[:8]}", "dynamic_key": dynamic_key}
    row |= {"flow_run_id": flow_run_id, "flow_run_run_count": flow_run_attempt}
    row |= {"empirical_policy": _TASK_RUN_POLICY, "tags": json.dumps(list(tags)), "labels": "{}", "task_inputs": "{}"}
    batch["task_run"].append(row)
    return run_id


def add_log(
    batch: Batch,
    at: datetime,
    message: str,
    *,
    flow_run_id: str | None = None,
    task_run_id: str | None = None,
    level: int = 20,
    logger: str = "prefect.task_runs",
) -> str:
    row = {"id": _ordered_id(), "created": at, "updated": at, "name": logger, "level": level, "timestamp": at}
    batch["log"].append(row | {"flow_run_id": flow_run_id, "task_run_id": task_run_id, "message": message})
    return str(row["id"])


def task_history(
    end: datetime,
    state: str = "Completed",
    *,
    duration: timedelta = timedelta(seconds=1),
    attempts: int = 1,
    message: str | None = None,
) -> list[Entered]:
    """Pending, Running and the terminal state at `end`; with AwaitingRetry and Retrying between `attempts` of a task.

    As in Prefect, AwaitingRetry does not have the message of the preceding failure.
    """
    attempt = duration / attempts
    start = end - duration - (attempts - 1) * _BEFORE_RETRY
    history = [Entered("Pending", start - _BEFORE_START, ""), Entered("Running", start, "")]
    for number in range(1, attempts):
        failed = start + number * attempt + (number - 1) * _BEFORE_RETRY
        history += [Entered("AwaitingRetry", failed, ""), Entered("Retrying", failed + _BEFORE_RETRY, "")]
    return [*history, Entered(state, end, message or "")]


def _timing(history: Sequence[Entered]) -> Row:
    """The columns that Prefect derives from the states of a run."""
    first, last = history[0], history[-1]
    running = [number for number, entered in enumerate(history) if type_of(entered.name) == "RUNNING"]
    end = last.at if type_of(last.name) in _TERMINAL else None
    spent = (history[number + 1].at - history[number].at for number in running if number + 1 < len(history))
    return {
        "created": first.at,
        "updated": last.at,
        "expected_start_time": first.at,
        "start_time": history[running[0]].at if running else end,  # set by Prefect even without a start
        "end_time": end,
        "total_run_time": sum(spent, timedelta()),
        "run_count": len(running),
    }


def _add_states(batch: Batch, kind: str, run_id: str, history: Sequence[Entered]) -> Row:
    """Adds the rows of the states; returns the run's columns for its current state."""
    details = json.dumps({f"{kind}_id": run_id})
    for name, at, message in history:
        row = {"id": _ordered_id(), "created": at, "updated": at, "type": type_of(name), "name": name, "timestamp": at}
        row |= {"message": message, "state_details": details, f"{kind}_id": run_id}
        batch[f"{kind}_state"].append(row)
    return {"state_id": row["id"], "state_type": row["type"], "state_name": name, "state_timestamp": at}


def _ordered_id() -> str:
    """A version 7 UUID, as Prefect gives to most rows: ordered by time, which fills a large index quickly."""
    milliseconds, noise = time.time_ns() // 1_000_000, random.getrandbits(74)
    return str(UUID(int=milliseconds << 80 | 7 << 76 | (noise >> 62) << 64 | 2 << 62 | noise & (1 << 62) - 1))
