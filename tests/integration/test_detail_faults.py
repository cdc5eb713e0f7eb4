"""One endpoint for tasks, lines or the inventory fails: the others still work, and nothing is lost after recovery."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from prefect_monitoring.prefect_api import state_history
from support.bulk import bulk_finished_runs, bulk_logs, bulk_task_runs
from support.exposition import Samples, matching, outcomes, total, value
from support.prefect_server import PrefectServer
from support.processes import busyness
from support.proxy import FaultProxy
from support.rig import SOURCE_TIMEOUT, Rig, rig
from support.seeder import Seeder
from support.truth import truth
from support.versions import COUNTS_TASK_RUNS_BY_END

UP = "prefect_exporter_source_up"
OBSERVED = "prefect_custom_metric_observed_count"
TASKS = "prefect_task_run_outcomes_total"
FAULTS: dict[str, Callable[[FaultProxy, str], object]] = {
    "500": lambda proxy, path: proxy.status(500, path=path),
    "404": lambda proxy, path: proxy.status(404, path=path),
    "hangs": lambda proxy, path: proxy.hang(path=path),
    "invalid JSON": lambda proxy, path: proxy.invalid_json(path=path),
    "other rows": lambda proxy, path: proxy.status(200, body='[{"surprise": 1}]', path=path),
}
# The sources that an endpoint takes down, and a gauge of theirs that must disappear once it is stale.
DOWN_WITH: dict[str, tuple[set[str], str]] = {
    "/task_runs/filter": ({"finished_task_runs", "active_task_runs", "log_lines"}, "prefect_task_runs"),
    **({"/task_runs/count": ({"finished_task_runs", "audit_task_runs"}, "")} if COUNTS_TASK_RUNS_BY_END else {}),
    "/task_run_states/": ({"finished_task_runs"}, ""),
    "/logs/filter": ({"log_lines"}, ""),
    "/work_pools/filter": ({"work_pools"}, "prefect_work_pool_ready"),
    "/work_pools/": ({"work_pools"}, "prefect_work_pool_ready"),
    "/work_queues/filter": ({"work_queues"}, "prefect_work_queue_ready"),
    "/v2/concurrency_limits/filter": ({"concurrency_limits"}, "prefect_concurrency_limit_slots"),
    "/automations/filter": ({"automations"}, "prefect_automations"),
}
# Every fault for the busiest endpoints, an error for the others, and a hanging request for each way of reading.
HANGING = ("/task_run_states/", "/logs/filter", "/work_pools/")
CASES = [
    *(("/task_runs/filter", kind) for kind in FAULTS),
    *((endpoint, "500") for endpoint in DOWN_WITH if endpoint != "/task_runs/filter"),
    *((endpoint, "hangs") for endpoint in HANGING),
]


@dataclass
class Team:
    prefix: str
    flow: str
    run: str

    def work(self, server: PrefectServer, seeder: Seeder) -> None:
        """Adds a task run, another whose history is read, a flow run and two lines, one of them of a new task."""
        now = datetime.now(UTC)
        bulk_task_runs(server, "load", [(self.run, now)])
        (new,) = bulk_task_runs(server, "publish", [(self.run, now)], state="RolledBack")
        bulk_logs(server, [(now, "METRIC: rows=5")], flow_run_id=self.run)
        bulk_logs(server, [(now, "METRIC: published=1")], flow_run_id=self.run, task_run_id=new)
        seeder.completed(seeder.run(self.flow))


@pytest.fixture
def team(server: PrefectServer, seeder: Seeder, unique: str) -> Team:
    flow = seeder.flow(f"{unique}etl")
    (run,) = bulk_finished_runs(server, flow, [datetime.now(UTC) - timedelta(seconds=30)])
    pool = f"{unique}pool"
    seeder.work_pool(pool, concurrency_limit=3)
    seeder.heartbeat(pool, "worker-1")
    seeder.concurrency_limit(f"{unique}warehouse", 2)
    seeder.automation(f"{unique}automation")
    under_way = seeder.run(flow)
    seeder.running(under_way)
    seeder.task_run(under_way, "load", state="Running")
    return Team(unique, flow, run)


def down(samples: Samples) -> set[str]:
    return {dict(labels)["source"] for labels, up in matching(samples, UP).items() if up == 0}


def impatient(exporter: Rig, seconds: float) -> None:
    for source in exporter.poller.sources.values():
        source.timeout = seconds


async def read_all(exporter: Rig) -> Samples:
    await exporter.details(2)
    await exporter.inventory()
    return exporter.samples


def counted(samples: Samples, prefix: str) -> tuple[float, float, float]:
    """Outcomes of task runs, lines without a task, lines with one."""
    flow = f"{prefix}etl"
    lines = (total(samples, OBSERVED, flow=flow, metric=metric) for metric in ("rows", "published"))
    return (total(samples, TASKS, flow=flow), *lines)  # type: ignore[return-value]


@pytest.mark.parametrize(("endpoint", "kind"), CASES)
async def test_failing_endpoint_hides_nothing_else(
    proxy: FaultProxy,
    server: PrefectServer,
    seeder: Seeder,
    team: Team,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    endpoint: str,
    kind: str,
) -> None:
    sources, gauge = DOWN_WITH[endpoint]
    async with rig(proxy.url, tmp_path, include_flows=f"{team.prefix}.*") as exporter:
        await exporter.inventory()
        team.work(server, seeder)
        samples = await read_all(exporter)
        assert down(samples) == set()
        assert counted(samples, team.prefix) == (2, 1, 1)

        FAULTS[kind](proxy, endpoint)
        if kind == "hangs":  # for other faults, short timeouts would add faults on a busy machine
            impatient(exporter, 3.0 * busyness())
            monkeypatch.setattr(state_history, "HISTORY_SECONDS", 0.5 if "states" in endpoint else 2.0)
        team.work(server, seeder)
        samples = await read_all(exporter)
        assert down(samples) == sources
        assert value(samples, "prefect_up") == 1
        assert outcomes(samples, flow_prefix=team.prefix) == truth(server.url, flow_prefix=team.prefix)
        tasks, lines, named_lines = counted(samples, team.prefix)
        waiting = {"/task_run_states/": 1}.get(endpoint, 2 if "finished_task_runs" in sources else 0)
        assert tasks == 4 - waiting, "task runs that need no such request are counted"
        assert (lines > 1, named_lines > 1) == ("log_lines" not in sources,) * 2
        if gauge:
            assert matching(samples, gauge), "not stale yet"
            exporter.clock = lambda: time.time() + 3 * 60 + SOURCE_TIMEOUT + 1
            await exporter.poller.publish()
            assert not matching(exporter.samples, gauge) or endpoint == "/work_pools/", "stale"
            exporter.clock = time.time

        proxy.clear()
        monkeypatch.undo()
        impatient(exporter, SOURCE_TIMEOUT)
        samples = await read_all(exporter)
        assert down(samples) == set()
        assert counted(samples, team.prefix) == (4, 2, 2)
        assert not gauge or matching(samples, gauge)
        await exporter.restart()
        assert counted(await read_all(exporter), team.prefix) == (4, 2, 2)


async def test_pool_with_unreadable_workers_keeps_its_other_metrics(
    proxy: FaultProxy, seeder: Seeder, team: Team, tmp_path: Path
) -> None:
    seeder.work_pool(f"{team.prefix}other")
    seeder.heartbeat(f"{team.prefix}other", "worker-2")
    async with rig(proxy.url, tmp_path, include_pools=f"({team.prefix}.*)?") as exporter:
        proxy.status(500, path=f"/work_pools/{team.prefix}pool/")
        await exporter.inventory()
        samples = exporter.samples
        assert down(samples) == {"work_pools"}
        assert len(matching(samples, "prefect_work_pool_ready")) == 2
        assert value(samples, "prefect_work_pool_workers", work_pool=f"{team.prefix}other", state="online") == 1
        assert not matching(samples, "prefect_work_pool_workers", work_pool=f"{team.prefix}pool")
