"""Failed actions of Prefect's automations, on a real server that makes them fail."""

from pathlib import Path
from uuid import uuid4

from support.exposition import value
from support.prefect_server import PrefectServer
from support.processes import wait_until_async
from support.rig import rig
from support.seeder import Seeder

METRIC = "prefect_automation_actions_failed_total"
ACTS_SECONDS = 60.0


async def test_failed_action_is_counted_once(
    server: PrefectServer, seeder: Seeder, unique: str, tmp_path: Path
) -> None:
    event = f"{unique}asked"
    gone = {"type": "pause-deployment", "source": "selected", "deployment_id": str(uuid4())}
    trigger = {"type": "event", "posture": "Reactive", "expect": [event], "threshold": 1, "within": 0}
    bodies = [
        {"name": f"{unique}{name}", "trigger": trigger, "actions": [action]}
        for name, action in (("fails", gone), ("works", {"type": "do-nothing"}))
    ]
    for body in bodies:
        seeder.lasting.append(f"/automations/{seeder.call('POST', '/automations/', body)['id']}")

    def shown(text: str) -> float | None:
        return value(exporter.samples, METRIC, automation=f"{unique}{text}")

    async with rig(server.url, tmp_path) as exporter:
        await exporter.inventory()
        assert (shown("fails"), shown("works")) == (0, 0), "the series start at zero"
        resource = {"prefect.resource.id": f"test.{unique}"}
        seeder.call(
            "POST",
            "/events",
            [{"id": str(uuid4()), "event": event, "occurred": "2026-01-01T00:00:00Z", "resource": resource}],
        )

        async def counted() -> bool:
            await exporter.inventory()
            return shown("fails") == 1

        await wait_until_async(counted, ACTS_SECONDS, "the action that failed")
        asked = exporter.traffic.requests
        assert asked["/events/filter", "200"] + asked["/events/filter/next", "200"] > 0
        for _ in range(3):
            await exporter.inventory()
        await exporter.restart()
        await exporter.inventory()
        assert (shown("fails"), shown("works")) == (1, 0)
