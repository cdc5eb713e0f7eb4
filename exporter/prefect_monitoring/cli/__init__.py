"""The command line. Exit code 2: something has to be fixed first, and the message says what.

Only `healthcheck` exits with 0 or 1, as probes do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from prefect_monitoring import __version__
from prefect_monitoring.cli import (
    actions,
    archive,
    automations,
    backfill,
    check,
    cloudwatch,
    demo,
    healthcheck,
    report,
    serve,
)
from prefect_monitoring.cli.command import Command, refuse
from prefect_monitoring.cli.parser import Parser
from prefect_monitoring.config.settings import SettingsError

COMMANDS: Final[Mapping[str, Command]] = {
    "serve": serve.COMMAND,
    "check": check.COMMAND,
    "backfill": backfill.COMMAND,
    "archive": archive.COMMAND,
    "healthcheck": healthcheck.COMMAND,
    "actions": actions.COMMAND,
    "automations": automations.COMMAND,
    "cloudwatch": cloudwatch.COMMAND,
    "report": report.COMMAND,
    "demo": demo.COMMAND,
}


def main(arguments: Sequence[str] | None = None) -> int:
    options, unknown = make_parser().parse_known_args(arguments)
    if unknown:
        options.parser.refuse_unknown(unknown)
    try:
        return int(options.run(options))
    except SettingsError as fault:
        return refuse(str(fault))


def make_parser() -> Parser:
    parser = Parser(
        prog="prefect-monitoring",
        usage="%(prog)s COMMAND [OPTIONS]",
        description="Prometheus metrics for Prefect 3. The connection uses Prefect's own settings: PREFECT_API_URL,"
        " PREFECT_API_KEY, profiles, ….",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(
            name,
            prog=f"{parser.prog} {name}",
            usage=f"%(prog)s {command.usage}",
            help=command.help,
            description=command.description,
        )
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run, parser=subparser)
    return parser
