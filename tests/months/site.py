"""A workspace over a month: the world goes on, exporters come and go, and Prometheus scrapes them at every step."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from months.beside import MonthArchive, MonthSink
from months.exporter import Exporter, OneThread
from months.pipelines import Phase, Pipeline
from months.series import Storage
from months.troubles import Trouble, Troubles
from months.watch import Watch
from months.world import World
from support.options import settings_with

JOB: Final = "prefect-monitoring"
# As prometheus.yml has it, with the workspace of the exporter.
ARCHIVE: Final = {"job": "prefect-archive", "instance": "archive:9878"}


@dataclass(frozen=True)
class Process:
    """A process of the exporter, `instance` to Prometheus, from its first scrape at `begin` to its last before `end`.

    Processes with one `ledger` follow one another: a restart, or the roll of a pod. `cut_off`: from when to when it
    cannot reach the API, which is well.
    """

    instance: str
    ledger: str
    begin: float
    end: float
    cut_off: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Site:
    """All that is to be known of a workspace to live through its month. Instants in epoch seconds.

    `slots` of work pools, `own_limits` of flows' deployments; `options` of the exporter. `sink`: what it delivers to.
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
    sink: str = ""
    has_archive: bool = False


Lives = Sequence[tuple[Process, Exporter]]


def simulate(site: Site, watch: Watch, metrics: frozenset[str], folder: Path) -> list[tuple[str, str]]:
    """The series that Prometheus has of a site in the end, in promtool's notation. `folder` is for ledgers."""
    logging.getLogger("prefect_monitoring").setLevel(logging.CRITICAL)
    (folder / site.workspace).mkdir(parents=True)
    with asyncio.Runner(loop_factory=OneThread) as runner:
        return runner.run(_live_through(site, watch, metrics, folder / site.workspace))


async def _live_through(site: Site, watch: Watch, metrics: frozenset[str], folder: Path) -> list[tuple[str, str]]:
    file = folder / "pipelines.yml"
    file.write_text(site.declared)
    world = World(site.pipelines, site.phases, site.pools, site.own_limits)
    server = world.server
    server.inventory.slots = site.slots
    sink, archive = MonthSink(site.sink, server.clock), MonthArchive(server.clock)
    Troubles(world, file, sink, archive).plan(site.troubles)
    settings = settings_with(birth_hold=watch.birth_hold, pipelines=str(file), **site.options)
    sinks = (lambda: (sink.status(),)) if site.sink else tuple
    ledgers = {one.ledger: folder / f"{one.ledger}.db" for one in site.processes}
    lives = [(one, Exporter(server, ledgers[one.ledger], settings, metrics, sinks)) for one in site.processes]
    storage = Storage(watch.begin)
    for step in range(watch.steps + 1):
        if server.has_beats and watch.between:
            server.run_until(watch.at(step) - watch.between)
            for process, exporter in _living(lives, server.now):
                await _reached(process, exporter, exporter.poll)
        server.run_until(watch.at(step))
        for instance in dict.fromkeys(one.instance for one in site.processes):
            target = {"workspace": site.workspace, "job": JOB, "instance": instance}
            await _scrape(target, [life for life in lives if life[0].instance == instance], storage, watch, step)
        if site.has_archive:
            storage.scraped(step, {"workspace": site.workspace, **ARCHIVE}, archive.lines())
    for _, exporter in lives:
        exporter.stop()
    return list(storage.input_series())


def _living(lives: Lives, now: float) -> Lives:
    return [life for life in lives if life[0].begin <= now < life[0].end and life[1].poller is not None]


async def _reached(process: Process, exporter: Exporter, ask: Callable[[], Awaitable[list[str]]]) -> list[str]:
    """What the exporter answers, which may be cut off from the API meanwhile."""
    first, last = process.cut_off
    exporter.server.is_cut_off = first <= exporter.server.now < last
    try:
        return await ask()
    finally:
        exporter.server.is_cut_off = False


async def _scrape(target: Mapping[str, str], lives: Lives, storage: Storage, watch: Watch, step: int) -> None:
    """Scrapes the process of an instance that lives now; before its first and after its last, there is no target."""
    now = watch.at(step)
    for process, exporter in lives:
        if process.begin <= now < process.end:
            if exporter.poller is None:
                exporter.start()
                ask: Callable[[], Awaitable[list[str]]] = exporter.first_scrape
            else:
                ask = partial(exporter.scrape, watch)
            storage.scraped(step, target, await _reached(process, exporter, ask))
            if now + watch.step >= process.end:
                exporter.stop()
            return
    if any(process.end <= now for process, _ in lives):
        if any(now < process.begin for process, _ in lives):
            storage.failed(step, target)
        else:
            storage.removed(step, target)
