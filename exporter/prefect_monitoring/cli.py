"""The command line. Exit code 2: something is to be mended first, and the message says what.

`healthcheck` alone ends with 0 or 1, as probes do.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prefect_monitoring import __version__
from prefect_monitoring.config.loading import load_settings
from prefect_monitoring.config.settings import (
    CONFIG_ENV,
    OPTIONS,
    Settings,
    SettingsError,
    env_name,
    flag_name,
    notation_of,
)

if TYPE_CHECKING:
    from prefect_monitoring.commands.check import Finding

FAULT: Final = 2


def main(arguments: Sequence[str] | None = None) -> int:
    options = make_parser().parse_args(arguments)
    return int(options.run(options))


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prefect-monitoring",
        description="Prometheus metrics you can trust for Prefect 3. How to reach Prefect is up to Prefect's own"
        " settings: PREFECT_API_URL, PREFECT_API_KEY, profiles, ….",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    # Abbreviated, the flag of a secret's file would be taken for one of the secret itself.
    serve = commands.add_parser("serve", help="poll the Prefect API and serve /metrics", allow_abbrev=False)
    serve.set_defaults(run=_serve)
    check = commands.add_parser(
        "check", help="check settings, API and ledger; print every fault at once", allow_abbrev=False
    )
    check.set_defaults(run=_check)
    backfill = commands.add_parser(
        "backfill",
        help="write what Prefect still holds as samples of the past, before the first serve",
        allow_abbrev=False,
    )
    _add_backfill_options(backfill)
    backfill.set_defaults(run=_backfill)
    healthcheck = commands.add_parser(
        "healthcheck", help="ask the exporter that runs with the same settings whether it is well", allow_abbrev=False
    )
    healthcheck.add_argument("--ready", action="store_true", help="ask whether its numbers are complete, too")
    healthcheck.set_defaults(run=_healthcheck)
    for command in (serve, check, backfill, healthcheck):
        _add_options(command)
    demo = commands.add_parser("demo", help="a real Prefect server, example flows and the exporter, until Ctrl-C")
    _add_demo_options(demo)
    demo.set_defaults(run=_demo)
    return parser


def _add_demo_options(demo: argparse.ArgumentParser) -> None:
    demo.add_argument(
        "--directory", type=Path, default=Path(".demo"), help="where the demo keeps its data (%(default)s)"
    )
    demo.add_argument("--prefect-port", type=int, default=4200, help="port of the Prefect server; 0 for a free one")
    demo.add_argument("--listen", default="127.0.0.1:9877", help="address of the exporter (%(default)s)")


def _add_backfill_options(command: argparse.ArgumentParser) -> None:
    past = command.add_argument_group("the past")
    past.add_argument("--since", default="30d", help="how far back (%(default)s)")
    past.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="a new folder, or that of a run cut short"
    )
    past.add_argument("--step", default="1h", help="time between two samples of a series (%(default)s)")
    past.add_argument("--workspace", default="", help="the label workspace of the live target, if it has one")
    past.add_argument("--job", default="prefect-monitoring", help="its label job (%(default)s)")
    past.add_argument("--instance", default="", help="its label instance, HOST:PORT (default: what --listen says)")
    past.add_argument(
        "--label", action="append", default=[], metavar="NAME=VALUE", help="a further label of it; repeat"
    )


def _add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config", type=Path, metavar="FILE", help=f"YAML file of options (environment: {CONFIG_ENV})"
    )
    for name, field in OPTIONS.items():
        text = f"{field.description} (environment: {env_name(name)})".replace("%", "%%")
        if notation_of(name).has_flag:
            command.add_argument(flag_name(name), dest=name, metavar=notation_of(name).metavar, help=text)
        else:  # taken, to be refused without its value
            command.add_argument(flag_name(name), dest=name, nargs="?", const="", help=argparse.SUPPRESS)


def _load(options: argparse.Namespace) -> Settings:
    flags = {name: getattr(options, name) for name in OPTIONS if getattr(options, name) is not None}
    from_environment = os.environ.get(CONFIG_ENV)
    config = options.config or (Path(from_environment) if from_environment else None)
    return load_settings(flags, os.environ, config)


def _serve(options: argparse.Namespace) -> int:
    try:
        settings = _load(options)
    except SettingsError as fault:
        return _refuse(str(fault))
    # Prefect takes a second to import: --help and a wrong option need not wait for it.
    from prefect_monitoring.commands.serve import ListenError, serve
    from prefect_monitoring.config.log_setup import set_up_logging
    from prefect_monitoring.ledger.errors import LedgerError
    from prefect_monitoring.prefect_api.credentials import credentials_from_files
    from prefect_monitoring.prefect_api.errors import NoApiUrlError
    from prefect_monitoring.web.tls import TlsError

    set_up_logging(settings.logs)
    try:
        with credentials_from_files(os.environ):
            asyncio.run(serve(settings))
    except (SettingsError, TlsError, NoApiUrlError, LedgerError, ListenError) as fault:
        return _refuse(str(fault))
    return 0


def _backfill(options: argparse.Namespace) -> int:
    from prefect_monitoring.backfill.options import parse_options

    try:
        settings = _load(options)
        chosen = parse_options(
            *(options.since, options.output, options.step, options.label),
            job=options.job,
            instance=options.instance or settings.web.listen,
            workspace=options.workspace,
        )
    except SettingsError as fault:
        return _refuse(str(fault))
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
    except (SettingsError, NoApiUrlError, LedgerError, OutputError, BlocksError) as fault:
        return _refuse(str(fault))
    except ApiError as fault:
        return _refuse(f"{fault}\nWhat was counted is kept: run the same command again, it goes on where it stopped")
    except KeyboardInterrupt:
        return _refuse("stopped; run the same command again, it goes on where it stopped")
    return 0


def _check(options: argparse.Namespace) -> int:
    from prefect_monitoring.commands.check import check, check_without_settings
    from prefect_monitoring.prefect_api.credentials import credentials_from_files

    findings: list[Finding] = []
    with ExitStack() as stack:
        try:
            stack.enter_context(credentials_from_files(os.environ))
        except SettingsError as fault:
            findings += _faults("Prefect API", fault)
        try:
            findings += asyncio.run(check(_load(options)))
        except SettingsError as fault:
            findings += _faults("settings", fault) + asyncio.run(check_without_settings())
    for finding in findings:
        mark = "note " if finding.advice else "ok   " if finding.ok else "FAULT"
        sys.stdout.write(f"{mark}  {finding.text}\n")
    return 0 if all(finding.ok for finding in findings) else FAULT


def _healthcheck(options: argparse.Namespace) -> int:
    """0 or 1: of a probe, Docker knows no other codes."""
    from prefect_monitoring.commands.healthcheck import ask

    try:
        well, told = ask(_load(options).web, ready=options.ready)
    except SettingsError as fault:
        well, told = False, str(fault)
    sys.stdout.write(f"{told}\n")
    return 0 if well else 1


def _faults(about: str, fault: SettingsError) -> list[Finding]:
    from prefect_monitoring.commands.check import Finding

    return [Finding(ok=False, text=f"{about}: {line}") for line in str(fault).splitlines()]


def _demo(options: argparse.Namespace) -> int:
    from prefect_monitoring.demo.run import DemoOptions, run_demo

    return run_demo(DemoOptions(options.directory, options.prefect_port, options.listen))


def _refuse(message: str) -> int:
    sys.stderr.write("".join(f"prefect-monitoring: {line}\n" for line in message.splitlines()))
    return FAULT
