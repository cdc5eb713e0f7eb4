"""Deploys the example flows, for a demo whose parts are started one by one.

`python -m prefect_monitoring.demo.flows http://prefect:4200/api`

Only to a server without other flows: unfinished runs of an earlier demo are cancelled there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx

from prefect_monitoring.config.shipped import shipped
from prefect_monitoring.demo import prefect_server
from prefect_monitoring.demo.processes import DemoError
from prefect_monitoring.demo.schedule import EXAMPLES, LEAD_SECONDS

_SERVER_TIMEOUT: Final = 90


def deploy_flows(client: httpx.Client) -> None:
    """Raises DemoError."""
    if not prefect_server.wait_until_up(client, "/health", seconds=_SERVER_TIMEOUT):
        raise DemoError(f"{client.base_url} did not answer within {_SERVER_TIMEOUT} s")
    if strangers := prefect_server.flow_names(client) - {example.flow for example in EXAMPLES}:
        raise DemoError(f"{client.base_url} is not the demo's server: it knows {', '.join(sorted(strangers)[:5])}")
    prefect_server.clear_leftovers(client, due_before=datetime.now(UTC) + timedelta(minutes=1))
    prefect_server.deploy(client, shipped("examples/flows"), datetime.now(UTC) + timedelta(seconds=LEAD_SECONDS))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="prefect_monitoring.demo.flows", description=__doc__)
    # Not PREFECT_API_URL: the user's own server must not be changed by mistake.
    parser.add_argument("url", help="API of the demo's Prefect server, such as http://prefect:4200/api")
    with prefect_server.connect(parser.parse_args(arguments).url, lambda: None) as client:
        try:
            deploy_flows(client)
        except DemoError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    sys.stdout.write(f"{len(EXAMPLES)} deployments. The first run starts in {LEAD_SECONDS} s.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
