"""Builds the controller from the settings, with a client that may write."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prefect_monitoring.automations.controller import Controller
from prefect_monitoring.automations.fuse import Fuse
from prefect_monitoring.automations.planner import Mode, Planner
from prefect_monitoring.automations.world import World
from prefect_monitoring.config.settings import ActSettings, PollSettings
from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.prefect_api.actions import ACT_ON_RUNS, ActionsApi
from prefect_monitoring.prefect_api.client import Traffic, open_http
from prefect_monitoring.prefect_api.credentials import acting_credentials
from prefect_monitoring.prefect_api.events import EventsApi
from prefect_monitoring.prefect_api.flow_runs import PrefectApi
from prefect_monitoring.prefect_api.inventory import InventoryApi


def mode_of(settings: ActSettings) -> Mode:
    """The mode that the options select; a dry run overrides acting."""
    fuse = Fuse(settings.act_max_per_hour, settings.act_max_per_cause)
    return Mode(fuse, act=settings.act and not settings.dry_run, dry_run=settings.dry_run)


@asynccontextmanager
async def open_controller(
    settings: ActSettings, poll: PollSettings, reader: Reader, planner: Planner, traffic: Traffic
) -> AsyncIterator[Controller | None]:
    """A controller with a separate client and, if configured, a separate API key; None without `act` and `dry_run`.

    In a dry run its client cannot write.
    """
    if not (planner.mode.act or planner.mode.dry_run):
        yield None
        return
    writes = ACT_ON_RUNS if planner.mode.act else ()
    with acting_credentials(settings.act_api_key.get_secret_value()):
        async with open_http(traffic, poll.max_requests_per_second, writes) as http:
            runs = PrefectApi(http)
            world = World(runs, InventoryApi(runs.paginator), ActionsApi(http), EventsApi(http))
            yield Controller(reader, planner, world, reader.clock)
