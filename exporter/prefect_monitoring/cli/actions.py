"""`prefect-monitoring actions`."""

from __future__ import annotations

import argparse
import sys
import time

from prefect_monitoring.cli.command import Command, add_options, load, refuse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--since", default="7d", metavar="DURATION", help="How far back to list. (default: %(default)s)"
    )
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--stop", action="store_true", help="Halt all actions, within one poll of the exporter.")
    either.add_argument("--resume", action="store_true", help="Allow actions again, after --stop or a blown fuse.")
    add_options(parser)


def run(options: argparse.Namespace) -> int:
    from prefect_monitoring.analysis.durations import parse_duration
    from prefect_monitoring.commands.actions import listed, resume, stop
    from prefect_monitoring.ledger.errors import LedgerError

    now = time.time()
    url = load(options).ledger.ledger_url.get_secret_value()
    try:
        if options.stop or options.resume:
            lines = [(stop if options.stop else resume)(url, now)]
        else:
            lines = list(listed(url, now - parse_duration(options.since)))
    except (LedgerError, ValueError) as fault:
        return refuse(str(fault))
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


COMMAND = Command("list actions of the running exporter; stop or allow them", add_arguments, run)
