"""`prefect-monitoring report`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from prefect_monitoring.cli.command import Command, add_options, load, refuse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to report and where to, and every option."""
    parser.add_argument("--days", type=int, metavar="N", help="How many days to cover. (default: report_days)")
    parser.add_argument(
        "--format", choices=("markdown", "html", "slack"), help="Form to print. (default: markdown, unless --send)"
    )
    parser.add_argument("--team", default="", metavar="NAME", help="Only the pipelines of this team.")
    parser.add_argument("--send", action="store_true", help="Send it to Slack (report_slack_webhook_url).")
    add_options(parser)


def run(options: argparse.Namespace) -> int:
    settings = load(options)
    from prefect_monitoring.commands.report import Choices, ReportError, report

    choices = Choices(options.days, options.format, options.team, send=options.send)
    try:
        sys.stdout.write(asyncio.run(report(settings, choices, time.time())))
    except ReportError as fault:
        return refuse(str(fault))
    return 0


COMMAND = Command("print or send the weekly report, from the ledger", add_arguments, run)
