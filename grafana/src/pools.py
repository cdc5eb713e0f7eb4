"""Pieces of queries about pools, queues and limits."""

from __future__ import annotations

from typing import Final

from grafana.src.promql import BY_PIPELINE, of_workspaces

BY_POOL: Final = "workspace, work_pool"
BY_QUEUE: Final = "workspace, work_pool, work_queue"
_POOL: Final = "work_pool=~`${work_pool:regex}`"


def of_pools(metric: str, *matchers: str) -> str:
    return of_workspaces(metric, _POOL, *matchers)


def by_pool(metric: str, *matchers: str) -> str:
    return f"max by ({BY_POOL}) ({of_pools(metric, *matchers)})"


def by_queue(metric: str) -> str:
    return f"max by ({BY_QUEUE}) ({of_pools(metric)})"


def by_limit(metric: str) -> str:
    return f"max by (workspace, limit) ({of_workspaces(metric)})"


def waiting(state: str) -> str:
    by = f"{BY_PIPELINE}, work_pool, state"
    return f"max by ({by}) ({of_pools('prefect_flow_runs', f'state=~`{state}`')})"
