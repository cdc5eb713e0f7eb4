"""How many requests an idle poll, an inventory pass and an audit cost, by endpoint, and what they ask of the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from math import ceil
from typing import Final

from benchmarks.baseline import LEDGER
from benchmarks.measures import Measure
from benchmarks.seed import DEPLOYMENTS, FLOWS, WORK_POOLS
from benchmarks.subject import PAGE, UNLIMITED, Subject
from support.rig import Rig, rig
from support.statements import counted

POLL: Final = "idle poll: requests"
INVENTORY: Final = "inventory pass: requests"
AUDIT: Final = "audit: requests"
TURNS: Final = 5  # the first of them may still have something to do
POLL_BASE: Final = 12
INVENTORY_BASE: Final = 10


async def measure_requests(subject: Subject) -> list[Measure]:
    """On the ledger that the baseline left behind, polls triggered by hand: the most of several turns."""
    directory = subject.directory / LEDGER
    async with rig(subject.server.url, directory, max_requests_per_second=UNLIMITED) as exporter:
        await exporter.details(2)
        await exporter.inventory()
        poll = await _most(exporter, exporter.details)
        polled = await _ledger_work("idle poll", exporter.details)
        inventory = await _most(exporter, exporter.poller.take_inventory)
        passed = await _ledger_work("inventory pass", exporter.poller.take_inventory)
        audit = await _most(exporter, exporter.poller.audit)
    poll_aim = POLL_BASE + ceil(subject.active / PAGE)
    inventory_aim = INVENTORY_BASE + WORK_POOLS + ceil((FLOWS + DEPLOYMENTS + WORK_POOLS) / PAGE)
    return [
        Measure(POLL, poll.total(), at_most=poll_aim, binding=True),
        *(Measure(f"idle poll: {endpoint}", count) for endpoint, count in sorted(poll.items())),
        Measure(INVENTORY, inventory.total(), at_most=inventory_aim, binding=True),
        *(Measure(f"inventory pass: {endpoint}", count) for endpoint, count in sorted(inventory.items())),
        Measure(AUDIT, audit.total()),
        *(Measure(f"audit: {endpoint}", count) for endpoint, count in sorted(audit.items())),
        *polled,
        *passed,
    ]


async def _ledger_work(name: str, turn: Callable[[], Awaitable[None]]) -> list[Measure]:
    with counted() as statements:
        await turn()
    return [
        Measure(f"{name}: statements of the ledger", statements.count),
        Measure(f"{name}: rows that the ledger writes", statements.rows),
    ]


async def _most(exporter: Rig, turn: Callable[[], Awaitable[None]]) -> Counter[str]:
    turns = []
    for _ in range(TURNS):
        before = Counter(exporter.traffic.requests)
        await turn()
        made: Counter[str] = Counter()
        for (endpoint, code), count in (Counter(exporter.traffic.requests) - before).items():
            made[endpoint if code == "200" else f"{endpoint} ({code})"] += count
        turns.append(made)
    return max(turns, key=Counter.total)
