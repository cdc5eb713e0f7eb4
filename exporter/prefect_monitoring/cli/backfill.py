"""`prefect-monitoring backfill`."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

from prefect_monitoring.cli.command import Command, add_options, load_with_prefect, refuse

_CONTINUE = "run the same command again to continue where it stopped"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    past = parser.add_argument_group("Past", "What is written, where to, and with which labels of the live target.")
    add = past.add_argument
    add("--output", type=Path, required=True, metavar="DIR", help="A new folder, or that of an interrupted backfill.")
    add("--since", default="30d", metavar="DURATION", help="How far back. (default: %(default)s)")
    add("--step", default="1h", metavar="DURATION", help="Time between two samples of a series. (default: %(default)s)")
    add("--workspace", default="", metavar="NAME", help="Its label workspace, if it has one.")
    add("--job", default="prefect-monitoring", metavar="NAME", help="Its label job. (default: %(default)s)")
    add("--instance", default="", metavar="HOST:PORT", help="Its label instance. (default: that of --listen)")
    add("--label", action="append", default=[], metavar="NAME=VALUE", help="A further label of it; repeat.")
    add_options(parser)


def run(options: argparse.Namespace) -> int:
    settings = load_with_prefect(options)
    from prefect_monitoring.backfill.options import parse_options

    chosen = parse_options(
        options.since,
        options.output,
        options.step,
        options.label,
        job=options.job,
        instance=options.instance or settings.web.listen,
        workspace=options.workspace,
    )
    from prefect_monitoring.backfill.output_folder import OutputError
    from prefect_monitoring.backfill.run import backfill
    from prefect_monitoring.backfill.tsdb_blocks import BlocksError
    from prefect_monitoring.config.log_setup import set_up_logging
    from prefect_monitoring.ledger.errors import LedgerError
    from prefect_monitoring.prefect_api.credentials import credentials_from_files
    from prefect_monitoring.prefect_api.errors import ApiError, NoApiUrlError

    set_up_logging(settings.logs)
    try:
        with credentials_from_files(os.environ):
            asyncio.run(backfill(settings, chosen, print))
    except (NoApiUrlError, LedgerError, OutputError, BlocksError) as fault:
        return refuse(str(fault))
    except ApiError as fault:
        return refuse(f"{fault}\nWhat was counted is kept: {_CONTINUE}")
    except KeyboardInterrupt:
        return refuse(f"stopped; {_CONTINUE}")
    return 0


COMMAND = Command(
    "write Prefect's history as samples of the past, before the first serve",
    add_arguments,
    run,
    usage="--output DIR [OPTIONS]",
)
