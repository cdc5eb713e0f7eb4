"""`prefect-monitoring archive`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from importlib.util import find_spec

from prefect_monitoring.cli.command import Command, add_options, load_with_prefect, refuse
from prefect_monitoring.config.settings import Settings

_CONTINUE = "run the same command again to continue where it stopped"
_DAYS_BACK = "7d"
_DAYS_A_NIGHT = "2d"
_EXTRA = "pyarrow is not installed: pip install 'prefect-monitoring[archive]'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "step",
        nargs="?",
        choices=("compact", "verify", "deploy"),
        help="compact: merge the files of closed days; verify: compare the archive with its checksums and with Prefect;"
        " deploy: make a Prefect deployment that archives a task per day, every night",
    )
    parser.add_argument("--to", dest="archive_to", metavar="URL", help="The same as --archive-to.")
    parser.add_argument("--once", action="store_true", help="Archive what has settled, then end.")
    parser.add_argument(
        "--since",
        metavar="WHEN",
        help="Archive the past from here on, then end: 90d, or a date such as 2026-09-01. For compact and verify, how"
        " far back they go. (default there: 7d)",
    )
    parser.add_argument(
        "--until", metavar="WHEN", help="Archive the past up to here; a date is its start. (default: now)"
    )
    deploy = parser.add_argument_group("Deployment", "What `deploy` makes.")
    deploy.add_argument("--pool", metavar="NAME", help="Work pool whose workers have prefect-monitoring[archive].")
    deploy.add_argument("--image", default="", metavar="NAME", help="Image, for pools that run containers.")
    deploy.add_argument("--cron", default="0 3 * * *", metavar="CRON", help="Schedule, in UTC. (default: %(default)s)")
    add_options(parser)


def run(options: argparse.Namespace) -> int:
    settings = load_with_prefect(options)
    if find_spec("pyarrow") is None:
        return refuse(_EXTRA)
    if not settings.archive.archive_to:
        return refuse("give the destination: --to s3://bucket/prefix or --to file:///folder")
    from prefect_monitoring.archive.store import StoreError
    from prefect_monitoring.commands.listening import ListenError
    from prefect_monitoring.config.log_setup import set_up_logging
    from prefect_monitoring.prefect_api.credentials import credentials_from_files
    from prefect_monitoring.prefect_api.errors import ApiError, NoApiUrlError
    from prefect_monitoring.web.tls import TlsError

    set_up_logging(settings.logs)
    try:
        with credentials_from_files(os.environ):
            return 0 if asyncio.run(_archive(options, settings)) else 1
    except (NoApiUrlError, ListenError, TlsError, ValueError) as fault:
        return refuse(str(fault))
    except (ApiError, StoreError) as fault:
        return refuse(f"{fault}\nWhat was archived is kept: {_CONTINUE}")
    except KeyboardInterrupt:
        return refuse(f"stopped; {_CONTINUE}")


async def _archive(options: argparse.Namespace, settings: Settings) -> bool:
    """False only if `verify` found a fault."""
    from prefect_monitoring.archive import running

    if options.step == "deploy":
        await asyncio.to_thread(_deploy, options, settings)
        return True
    now = time.time()
    if options.until and not options.since:
        raise ValueError("--until needs --since")
    until = running.parse_instant(options.until, now) if options.until else now
    past = running.Past(running.parse_instant(options.since or _DAYS_BACK, now), until)
    if options.step == "verify":
        return await running.verify_past(settings, past, _print)
    if options.step == "compact":
        await running.compact_past(settings, past, _print)
    elif options.since:
        await running.archive_past(settings, past, _print)
    elif options.once:
        await running.archive_once(settings, _print)
    else:
        await running.follow(settings)
    return True


def _deploy(options: argparse.Namespace, settings: Settings) -> None:
    from prefect_monitoring.archive.flow import Deployment, deploy
    from prefect_monitoring.prefect_api.address import api_address

    api_address()
    if not options.pool:
        raise ValueError("give the work pool in which the flow runs: --pool NAME")
    since = options.since or _DAYS_A_NIGHT
    name = deploy(Deployment(settings.archive.archive_to, options.pool, since, options.cron, options.image))
    _print(f"Deployed {name} to the work pool {options.pool}")


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


COMMAND = Command(
    "archive finished runs and their logs as Parquet, on S3 or on a disk",
    add_arguments,
    run,
    usage="[compact|verify|deploy] [OPTIONS]",
)
