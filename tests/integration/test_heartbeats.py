"""A run whose process died silently is found by its missing heartbeats on a real server."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from support.exposition import value
from support.prefect_server import PrefectServer
from support.processes import wait_until_async
from support.rig import rig
from support.seeder import Seeder

RECORDED_SECONDS = 60.0


async def test_running_run_that_stops_sending_heartbeats_is_unresponsive(
    server: PrefectServer, seeder: Seeder, unique: str, tmp_path: Path
) -> None:
    run = seeder.run(seeder.flow(f"{unique}etl"))
    seeder.running(run)

    def beat() -> float:
        at = datetime.now(UTC)
        resource = {"prefect.resource.id": f"prefect.flow-run.{run}"}
        name = "prefect.flow-run.heartbeat"
        event = {"id": str(uuid4()), "event": name, "occurred": at.isoformat(), "resource": resource}
        seeder.call("POST", "/events", [event])
        return at.timestamp()

    async with rig(server.url, tmp_path, include_flows=f"{unique}.*", heartbeat_interval="1s") as exporter:

        async def shows(name: str, expected: float) -> bool:
            await exporter.poll()
            return value(exporter.samples, name, flow=f"{unique}etl", deployment="") == expected

        async def beats() -> None:
            at = beat()
            await wait_until_async(
                lambda: shows("prefect_flow_run_heartbeat_timestamp_seconds", at), RECORDED_SECONDS, "a heartbeat"
            )
            assert await shows("prefect_flow_runs_unresponsive", 0)

        await beats()
        await wait_until_async(
            lambda: shows("prefect_flow_runs_unresponsive", 1), RECORDED_SECONDS, "three missed heartbeats"
        )
        await beats()
        seeder.completed(run)
        await exporter.poll()
        assert value(exporter.samples, "prefect_flow_runs_unresponsive", flow=f"{unique}etl", deployment="") is None
