"""Simulates a workspace over a month: runs on the server, exporters that start and stop, and scrapes at every step."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from months.exporter import Exporter, OneThread, metrics_named
from months.series import Storage
from months.troubles import Trouble, Troubles
from months.watch import Watch
from months.world import Phase, Pipeline, World
from support.options import settings_with


@dataclass(frozen=True)
class Process:
    """A process of the exporter with the label `instance`, first scraped at `begin`, last scraped before `end`.

    Processes with the same `ledger` are successive: a restart, or a rolling update.
    """

    instance: str
    ledger: str
    begin: float
    end: float


@dataclass(frozen=True)
class Site:
    """The description of a workspace over a month. Times in epoch seconds.

    `slots` of work pools, `own_limits` of flows' deployments; `options` of the exporter.
    """

    workspace: str
    pipelines: Sequence[Pipeline]
    declared: str
    processes: Sequence[Process]
    phases: Sequence[Phase] = ()
    troubles: Sequence[Trouble] = ()
    pools: dict[str, str] = field(default_factory=lambda: {"main": "process"})
    slots: dict[str, int] = field(default_factory=dict)
    own_limits: dict[str, int] = field(default_factory=dict)
    options: dict[str, object] = field(default_factory=dict)


def simulate(site: Site, watch: Watch, metrics: frozenset[str], folder: Path) -> list[tuple[str, str]]:
    """The series that Prometheus has stored of a site at the end, in promtool's notation. `folder` is for ledgers."""
    logging.getLogger("prefect_monitoring").setLevel(logging.ERROR)
    with asyncio.Runner(loop_factory=OneThread) as runner:
        return runner.run(_simulate(site, watch, metrics, folder))


async def _simulate(site: Site, watch: Watch, metrics: frozenset[str], folder: Path) -> list[tuple[str, str]]:
    folder = folder / site.workspace
    folder.mkdir(parents=True)
    file = folder / "pipelines.yml"
    file.write_text(site.declared)
    world = World(site.pipelines, site.phases, site.pools, site.own_limits)
    world.server.inventory.slots = site.slots
    Troubles(world, file, site.troubles)
    settings = settings_with(birth_hold=watch.birth_hold, pipelines=str(file), **site.options)
    shown = metrics_named(metrics)
    storage = Storage(watch.begin)
    lives = [
        (process, Exporter(world.server, folder / f"{process.ledger}.db", settings, shown))
        for process in site.processes
    ]
    for step in range(watch.steps + 1):
        world.server.run_until(watch.at(step))
        for process, exporter in lives:
            await _scrape(site.workspace, process, exporter, storage, watch, step)
    for _, exporter in lives:
        exporter.stop()
    return list(storage.input_series())


async def _scrape(
    workspace: str, process: Process, exporter: Exporter, storage: Storage, watch: Watch, step: int
) -> None:
    """Scrapes a running process; after its end, records a failed scrape once."""
    target = {"workspace": workspace, "job": "prefect-monitoring", "instance": process.instance}
    now = watch.at(step)
    if process.begin <= now < process.end:
        if exporter.poller is None:
            exporter.start()
            storage.scraped(step, target, await exporter.first_scrape())
        else:
            storage.scraped(step, target, await exporter.scrape(watch))
        if now + watch.step >= process.end:
            exporter.stop()
    elif now - watch.step < process.end <= now:
        storage.failed(step, target)
