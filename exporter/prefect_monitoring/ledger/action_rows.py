"""Rows of actions, and whether actions are allowed, within the caller's transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import sqlalchemy as sa

from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.sql import batches, pack, read_meta, unpack, upsert, write_meta
from prefect_monitoring.model.actions import (
    OPEN_RESULTS,
    RETRY_TO_COME,
    SPENDING,
    Acting,
    Action,
    ActionResult,
    Hold,
    Kind,
)
from prefect_monitoring.model.records import Pipeline

_TABLE: Final = schema.actions
_IN_FORCE: Final = (Hold.HELD, Hold.BY_HAND)


def read_acting(connection: sa.Connection) -> Acting:
    return Acting(**(read_meta(connection).get("acting") or {}))


def change_acting(connection: sa.Connection, change: Callable[[Acting], Acting]) -> Acting:
    """Applies `change`, and writes what it changes."""
    before = read_acting(connection)
    after = change(before)
    if after != before:
        write_meta(connection, acting=asdict(after))
    return after


def write_actions(connection: sa.Connection, actions: Sequence[Action]) -> None:
    upsert(connection, _TABLE, [_row(action) for action in actions])


def without_known(connection: sa.Connection, actions: Sequence[Action]) -> list[Action]:
    """Those of `actions` that the ledger does not have yet, each once."""
    wanted = {action.id: action for action in actions}
    for batch in batches(list(wanted)):
        for identifier in connection.scalars(sa.select(_TABLE.c.id).where(_TABLE.c.id.in_(batch))):
            del wanted[identifier]
    return list(wanted.values())


def newly_ended(connection: sa.Connection, actions: Sequence[Action]) -> list[Action]:
    """Those of `actions` that have a final result, and had none before."""
    ended = {action.id: action for action in actions if action.result.is_final}
    for batch in batches(list(ended)):
        before = _TABLE.c.id.in_(batch) & _TABLE.c.result.not_in(OPEN_RESULTS)
        for identifier in connection.scalars(sa.select(_TABLE.c.id).where(before)):
            del ended[identifier]
    return list(ended.values())


def queue_events(connection: sa.Connection, ended: Sequence[Action]) -> None:
    """Queues the events about actions that `ended`; a dry run sends none."""
    added = [action.id for action in ended if action.result is not ActionResult.DRY_RUN]
    if added:
        write_meta(connection, events_due=[*_queued(connection), *added])


def events_due(connection: sa.Connection, count: int) -> list[Action]:
    """Up to `count` of the actions whose event is to be sent, in the order in which they ended."""
    due = _queued(connection)[:count]
    return _select(connection, _TABLE.c.id.in_(due)) if due else []


def drop_events(connection: sa.Connection, action_ids: Collection[str]) -> None:
    """Removes these actions from the queue."""
    write_meta(connection, events_due=[queued for queued in _queued(connection) if queued not in action_ids])


def _queued(connection: sa.Connection) -> list[str]:
    return read_meta(connection).get("events_due") or []


def open_actions(connection: sa.Connection) -> list[Action]:
    """Actions without a final result, the oldest first."""
    return _select(connection, _TABLE.c.result.in_(OPEN_RESULTS))


def holds(connection: sa.Connection) -> list[Action]:
    """Pauses and raised limits in force, and those that a user changed, the oldest first."""
    return _select(connection, _TABLE.c.hold.in_(_IN_FORCE))


def actions_since(connection: sa.Connection, since: float) -> list[Action]:
    """Actions decided since then, the oldest first."""
    return _select(connection, _TABLE.c.decided_at >= since)


def latest_actions(connection: sa.Connection, count: int) -> list[Action]:
    """The newest `count` actions, the newest first."""
    newest = sa.select(_TABLE).order_by(_TABLE.c.decided_at.desc(), _TABLE.c.id).limit(count)
    return [_action(row) for row in connection.execute(newest)]


def actions_about(connection: sa.Connection, run_ids: Collection[str]) -> dict[str, list[Action]]:
    """Actions by run, for those of `run_ids` that have any."""
    found: defaultdict[str, list[Action]] = defaultdict(list)
    for batch in batches([pack(run_id) for run_id in run_ids]):
        for action in _select(connection, _TABLE.c.run_id.in_(batch)):
            found[action.run_id].append(action)
    return dict(found)


def spent_since(connection: sa.Connection, since: float) -> dict[str, int]:
    """How many actions, by cause, were decided since then and reached Prefect or were about to."""
    spending = (_TABLE.c.decided_at >= since) & _TABLE.c.result.in_(SPENDING)
    query = sa.select(_TABLE.c.cause, sa.func.count()).where(spending).group_by(_TABLE.c.cause)
    return {row[0]: row[1] for row in connection.execute(query)}


def last_withheld_at(connection: sa.Connection) -> float:
    """When the fuse last withheld an action; 0 before the first time."""
    withheld = sa.select(sa.func.max(_TABLE.c.decided_at)).where(_TABLE.c.result == ActionResult.FUSE)
    return float(connection.scalar(withheld) or 0.0)


def forget_actions(connection: sa.Connection, before: float) -> None:
    """Deletes actions decided before that instant, unless still in force."""
    connection.execute(sa.delete(_TABLE).where(_TABLE.c.decided_at < before, _TABLE.c.hold.not_in(_IN_FORCE)))


def has_retry_to_come(runs: sa.FromClause) -> sa.ColumnElement[bool]:
    """Whether a row of `runs` is a failure that the exporter retries: it intends to, or Prefect has accepted it."""
    retry = (_TABLE.c.kind == Kind.RETRY) & _TABLE.c.result.in_(RETRY_TO_COME)
    same = (_TABLE.c.run_id == runs.c.run_id) & (_TABLE.c.state_id == runs.c.state_id)
    return sa.select(_TABLE.c.id).where(same, retry).correlate(runs).exists()


def retries_to_come(connection: sa.Connection, numbers: Collection[int], since: float) -> dict[int, int]:
    """How many failed runs of each of these pipelines have a retry to come that was decided since then."""
    runs = schema.flow_runs
    retry = (_TABLE.c.kind == Kind.RETRY) & _TABLE.c.result.in_(RETRY_TO_COME) & (_TABLE.c.decided_at >= since)
    same = (runs.c.run_id == _TABLE.c.run_id) & (runs.c.state_id == _TABLE.c.state_id)
    query = sa.select(runs.c.pipeline_id, sa.func.count()).join_from(_TABLE, runs, same)
    found = connection.execute(query.where(retry, runs.c.pipeline_id.in_(numbers)).group_by(runs.c.pipeline_id))
    return {row[0]: row[1] for row in found}


def retries_of(connection: sa.Connection, run_ids: Sequence[bytes]) -> Mapping[bytes, int]:
    """How often the exporter retried each of these runs, by its packed id."""
    found: defaultdict[bytes, int] = defaultdict(int)
    done = (_TABLE.c.kind == Kind.RETRY) & (_TABLE.c.result == ActionResult.DONE)
    for batch in batches(run_ids):
        query = sa.select(_TABLE.c.run_id, sa.func.count()).where(_TABLE.c.run_id.in_(batch), done)
        found.update((row[0], row[1]) for row in connection.execute(query.group_by(_TABLE.c.run_id)))
    return found


def _select(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> list[Action]:
    query = sa.select(_TABLE).where(condition).order_by(_TABLE.c.decided_at, _TABLE.c.id)
    return [_action(row) for row in connection.execute(query)]


def _row(action: Action) -> dict[str, Any]:
    row = asdict(action)
    del row["pipeline"]
    return {
        **row,
        "flow": action.pipeline.flow,
        "deployment": action.pipeline.deployment,
        "run_id": pack(action.run_id) if action.run_id else None,
        "state_id": pack(action.state_id) if action.state_id else None,
    }


def _action(row: sa.Row[Any]) -> Action:
    fields = dict(row._mapping)  # noqa: SLF001 the public way to a row's columns by name
    pipeline = Pipeline(fields.pop("flow"), fields.pop("deployment"))
    return Action(
        **{
            **fields,
            "pipeline": pipeline,
            "kind": Kind(row.kind),
            "result": ActionResult(row.result),
            "hold": Hold(row.hold),
            "run_id": unpack(row.run_id) if row.run_id is not None else "",
            "state_id": unpack(row.state_id) if row.state_id is not None else "",
        }
    )
