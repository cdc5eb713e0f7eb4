"""Shared by unit tests and fixtures: constants, types, and readers of the model of the server."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from prefect_monitoring.analysis.failure_causes import cause_of
from prefect_monitoring.config.settings import Settings
from prefect_monitoring.counting.cardinality import Catalog
from prefect_monitoring.counting.custom_metrics import declarations_of
from prefect_monitoring.ingest.assets import AssetReader
from prefect_monitoring.ingest.failed_actions import FailedActionReader
from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.ingest.heartbeats import HeartbeatReader
from prefect_monitoring.ingest.inventory import InventoryReader
from prefect_monitoring.ingest.log_lines import LogReader
from prefect_monitoring.ingest.reconcile import Reconciliation
from prefect_monitoring.ingest.sources import Readers, lookbacks
from prefect_monitoring.ingest.task_runs import TaskReader
from prefect_monitoring.ingest.trend_stores import TrendStoreReader
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.cursor import ASSET_EVENTS, FLOW_RUNS, LOG_LINES, TASK_RUNS
from prefect_monitoring.model.records import ROLLED_BACK, TERMINAL_TYPES
from unit.fake_prefect import FakePrefect

API = "http://prefect.test/api"
DAY = 86400.0

# Unit tests do not test durability against power cuts, which would take most of their time.
NO_SYNC = "synchronous=OFF"

OpenLedger = Callable[..., Ledger]
MakeReaders = Callable[..., Readers]
MakeReader = Callable[..., Reader]


def readers_of(fake: FakePrefect, ledger: Ledger, settings: Settings) -> Readers:
    """Creates readers of the model of the server, otherwise like `make_readers`."""
    declared = settings.metrics.custom_metrics
    catalog = Catalog(settings.filters, settings.labels, ledger.keys, declared)
    reader = Reader(fake, ledger, catalog, cause_of, fake.clock)
    tasks = TaskReader(reader, fake.tasks, cause_of)
    inventory = InventoryReader(reader, fake.inventory, settings.filters, settings.labels)
    return Readers(
        flow_runs=reader,
        task_runs=tasks,
        log_lines=LogReader(tasks, fake.logs, cause_of, declarations_of(declared, LOG_LINES)),
        inventory=inventory,
        trend_stores=TrendStoreReader(reader, fake.trends, declared),
        assets=AssetReader(
            reader,
            fake.events,
            settings.metrics.assets,
            declarations_of(declared, ASSET_EVENTS),
            max_assets=settings.labels.max_assets,
            lookback=lookbacks(settings.history)[ASSET_EVENTS],
        ),
        metrics=settings.metrics,
        failed_actions=FailedActionReader(reader, fake.events, lambda: inventory.automation_names),
        heartbeats=HeartbeatReader(reader, fake.events, settings.poll.heartbeat_interval),
        reconciliations=(
            Reconciliation(reader, FLOW_RUNS, TERMINAL_TYPES, fake.ended_by_type, reader.finished),
            Reconciliation(
                reader=reader,
                source=TASK_RUNS,
                kinds=TERMINAL_TYPES | {ROLLED_BACK},
                count=fake.tasks.ended_by_kind,
                finished=tasks.finished,
                is_possible=lambda: fake.tasks.filters_ends,
            ),
        ),
    )


def raw(ledger: Ledger) -> sqlite3.Connection:
    pooled = ledger._database.engine.raw_connection()
    connection = pooled.driver_connection
    pooled.close()
    assert isinstance(connection, sqlite3.Connection)
    return connection


def pragma(ledger: Ledger, setting: str) -> None:
    """Set on the ledger's own connection, outside any transaction."""
    raw(ledger).execute(f"PRAGMA {setting}")
