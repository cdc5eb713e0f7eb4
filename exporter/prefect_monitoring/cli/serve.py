"""`prefect-monitoring serve`."""

from __future__ import annotations

import argparse
import asyncio
import os

from prefect_monitoring.cli.command import Command, add_options, load_with_prefect, refuse


def run(options: argparse.Namespace) -> int:
    settings = load_with_prefect(options)
    from prefect_monitoring.commands.listening import ListenError
    from prefect_monitoring.commands.serve import serve
    from prefect_monitoring.config.log_setup import set_up_logging
    from prefect_monitoring.ledger.errors import LedgerError
    from prefect_monitoring.prefect_api.credentials import credentials_from_files
    from prefect_monitoring.prefect_api.errors import NoApiUrlError
    from prefect_monitoring.web.tls import TlsError

    set_up_logging(settings.logs)
    try:
        with credentials_from_files(os.environ):
            asyncio.run(serve(settings))
    except (TlsError, NoApiUrlError, LedgerError, ListenError) as fault:
        return refuse(str(fault))
    return 0


COMMAND = Command("poll the Prefect API and serve /metrics", add_options, run)
