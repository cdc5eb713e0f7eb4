"""Straight into the server's SQLite database: what the API offers no way to do, or not quickly."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from support.prefect_server import PrefectServer
from support.seeder import type_of

_POLICY = json.dumps({"max_retries": 0, "retry_delay_seconds": 0.0, "pause_keys": [], "resuming": False})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_INSERT_RUN = """
    insert into flow_run (id, created, updated, name, state_type, state_name, state_id, state_timestamp, run_count,
        expected_start_time, start_time, end_time, total_run_time, empirical_policy, tags, flow_id, deployment_id,
        labels)
    values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_STATE = """
    insert into flow_run_state (id, created, updated, type, name, timestamp, message, state_details, flow_run_id)
    values (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


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

    In one transaction, some 9,000 runs a second. `started=False`: they ended without ever running. No events are made.
    """
    runs, states, ids = [], [], []
    labels = {"prefect.flow.id": flow_id} | ({"prefect.deployment.id": deployment_id} if deployment_id else {})
    for end in end_times:
        run_id, state_id = str(uuid4()), str(uuid4())
        start = end - duration
        expected = start - timedelta(milliseconds=20)
        history: list[tuple[str, str, str, datetime, str | None]] = [
            (str(uuid4()), "PENDING", "Pending", expected, None)
        ]
        if started:
            history.append((str(uuid4()), "RUNNING", "Running", start, None))
        history.append((state_id, type_of(state), state, end, message))
        states += [
            (id_, _text(at), _text(at), type_, name, _text(at), text, json.dumps({"flow_run_id": run_id}), run_id)
            for id_, type_, name, at, text in history
        ]
        runs.append(
            (
                run_id,
                _text(expected),
                _text(end),
                f"bulk-{run_id[:8]}",
                type_of(state),
                state,
                state_id,
                _text(end),
                int(started),
                _text(expected),
                _text(start if started else end),  # Prefect fills the start of what ended before it began
                _text(end),
                _text(_EPOCH + (duration if started else timedelta())),  # how SQLAlchemy keeps an interval in SQLite
                _POLICY,
                json.dumps(list(tags)),
                flow_id,
                deployment_id,
                json.dumps(labels),
            )
        )
        ids.append(run_id)
    with _transaction(server) as database:
        database.executemany(_INSERT_RUN, runs)
        database.executemany(_INSERT_STATE, states)
    return ids


def rename_flow_in_database(server: PrefectServer, flow_id: str, name: str) -> None:
    """The API cannot rename a flow (PATCH takes tags only)."""
    with _transaction(server) as database:
        database.execute("update flow set name = ? where id = ?", (name, flow_id))


def rename_deployment_in_database(server: PrefectServer, deployment_id: str, name: str) -> None:
    with _transaction(server) as database:
        database.execute("update deployment set name = ? where id = ?", (name, deployment_id))


@contextmanager
def _transaction(server: PrefectServer) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(server.database, timeout=30)) as database, database:
        database.execute("begin immediate")
        yield database


def _text(moment: datetime) -> str:
    """As SQLAlchemy writes it into SQLite: UTC without saying so, always with microseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
