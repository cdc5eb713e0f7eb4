"""Exporters started on order, some of which are killed with SIGKILL at one point of an action."""

import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

import prefect_monitoring.commands.serve  # noqa: F401 once for all forks, with the half of Prefect that it takes along
from prefect_monitoring.cli import main
from prefect_monitoring.prefect_api.actions import ActionsApi, Outcome
from support.forked import serve_orders


def die(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def before_the_request() -> None:
    """The intended action is in the ledger."""
    ActionsApi.retry = die  # type: ignore[method-assign]


def after_the_request() -> None:
    """Prefect has carried it out, and the ledger does not know."""
    whole = ActionsApi.retry

    async def retry(api: ActionsApi, *args: Any) -> Outcome:
        await whole(api, *args)
        die()
        raise AssertionError

    ActionsApi.retry = retry  # type: ignore[method-assign]


def after_the_event() -> None:
    """The event is sent, and the ledger does not know."""
    whole = ActionsApi.emit

    async def emit(api: ActionsApi, events: Sequence[Mapping[str, Any]]) -> Outcome:
        await whole(api, events)
        die()
        raise AssertionError

    ActionsApi.emit = emit  # type: ignore[method-assign]


POINTS = {
    "before the request": before_the_request,
    "after the request": after_the_request,
    "after the event": after_the_event,
}


def run(point: str, arguments: Sequence[str]) -> int:
    """`point`: one of POINTS, "" for no kill."""
    POINTS.get(point, lambda: None)()
    return main(arguments)


if __name__ == "__main__":
    serve_orders(run)
