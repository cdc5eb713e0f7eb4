"""The readers of every source, and the ledger they share, as the settings want them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from prefect_monitoring.analysis.failure_causes import CausePattern, cause_of, compile_pattern
from prefect_monitoring.config.settings import Settings
from prefect_monitoring.counting.cardinality import Catalog
from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.ingest.inventory import InventoryReader
from prefect_monitoring.ingest.log_lines import LogReader
from prefect_monitoring.ingest.reconcile import Audit
from prefect_monitoring.ingest.task_runs import TaskReader
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.cursor import FLOW_RUNS, TASK_RUNS
from prefect_monitoring.model.records import ROLLED_BACK, TERMINAL_TYPES
from prefect_monitoring.prefect_api.client import PrefectHttp
from prefect_monitoring.prefect_api.flow_runs import PrefectApi
from prefect_monitoring.prefect_api.inventory import InventoryApi
from prefect_monitoring.prefect_api.logs import LogApi
from prefect_monitoring.prefect_api.task_runs import TaskApi


@dataclass(frozen=True, slots=True)
class Readers:
    """One for each subject; all of them work on the ledger of `flow_runs`. `audits` by source."""

    flow_runs: Reader
    task_runs: TaskReader
    log_lines: LogReader
    inventory: InventoryReader
    audits: tuple[Audit, ...]


def make_readers(
    settings: Settings, ledger: Ledger, http: PrefectHttp, clock: Callable[[], float] = time.time
) -> Readers:
    own_causes = [CausePattern(rule.cause, compile_pattern(rule.pattern)) for rule in settings.labels.failure_causes]
    cause = partial(cause_of, extra=own_causes)
    api = PrefectApi(http)
    reader = Reader(api, ledger, Catalog(settings.filters, settings.labels, ledger.series), cause, clock)
    tasks = TaskReader(reader, TaskApi(api.pager), cause)
    return Readers(
        flow_runs=reader,
        task_runs=tasks,
        log_lines=LogReader(tasks, LogApi(api.pager), cause),
        inventory=InventoryReader(reader, InventoryApi(api.pager), settings.filters, settings.labels),
        audits=(
            Audit(reader, FLOW_RUNS, TERMINAL_TYPES, api.ended_by_type, reader.finished),
            Audit(
                *(reader, TASK_RUNS, TERMINAL_TYPES | {ROLLED_BACK}, tasks.api.ended_by_kind, tasks.finished),
                is_possible=lambda: tasks.api.filters_ends,
            ),
        ),
    )
