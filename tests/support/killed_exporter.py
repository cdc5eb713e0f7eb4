"""Runs the command line and kills it with SIGKILL at one point: `killed_exporter.py POINT serve …`.

The points are patched in here, so that the package has no hooks for tests.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from prefect_monitoring.cli import main
from prefect_monitoring.ledger import ledger as ledger_module
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.prefect_api import pagination
from prefect_monitoring.prefect_api.client import PrefectHttp
from prefect_monitoring.prefect_api.flow_runs import PrefectApi
from prefect_monitoring.prefect_api.pagination import Page
from prefect_monitoring.runtime.poller import Poller

SMALL_PAGE = 3


def die(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def before_first_request() -> None:
    PrefectHttp.sized = die  # type: ignore[method-assign] # used by every reading


def between_pages(pages: int = 1) -> None:
    whole = PrefectApi.finished_page
    seen: list[Page[Any]] = []

    async def finished_page(api: PrefectApi, *args: Any) -> Page[Any]:
        if len(seen) == pages:
            die()
        seen.append(await whole(api, *args))
        return seen[-1]

    PrefectApi.finished_page = finished_page  # type: ignore[method-assign]


def after_last_page() -> None:
    whole = PrefectApi.finished_page

    async def finished_page(api: PrefectApi, *args: Any) -> Page[Any]:
        page = await whole(api, *args)
        return die() if page.complete else page

    PrefectApi.finished_page = finished_page  # type: ignore[method-assign]


def in_transaction() -> None:
    """Runs and states are written, series and cursor are not; nothing is committed."""
    ledger_module.write_series = die


def after_commit() -> None:
    whole = Ledger.commit

    def commit(ledger: Ledger, *args: Any) -> None:
        whole(ledger, *args)
        if ledger.cursor.page_before is None:
            die()

    Ledger.commit = commit  # type: ignore[method-assign]


def before_publishing() -> None:
    whole = Poller.publish
    calls: list[int] = []

    async def publish(poller: Poller) -> None:
        calls.append(1)
        if len(calls) > 1:  # the first shows the contents of the ledger
            die()
        await whole(poller)

    Poller.publish = publish  # type: ignore[method-assign]


POINTS: dict[str, Callable[[], None]] = {
    "before the first request": before_first_request,
    "between two pages": between_pages,
    "in the middle of a window": lambda: between_pages(3),
    "after the last page": after_last_page,
    "inside the transaction": in_transaction,
    "after the commit": after_commit,
    "before publishing": before_publishing,
}

if __name__ == "__main__":
    pagination.MAX_PAGE = SMALL_PAGE  # type: ignore[misc]
    POINTS[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
