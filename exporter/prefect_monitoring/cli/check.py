"""`prefect-monitoring check`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from prefect_monitoring.cli.command import Command, add_options, load
from prefect_monitoring.cli.parser import FAULT
from prefect_monitoring.config.settings import SettingsError

if TYPE_CHECKING:
    from prefect_monitoring.commands.findings import Finding
    from prefect_monitoring.config.settings import WebSettings


def run(options: argparse.Namespace) -> int:
    from prefect_monitoring.prefect_api.startup import prefect_faults

    if faults := prefect_faults():
        return _without_prefect(options, faults)
    from prefect_monitoring.commands.check import check, check_without_settings
    from prefect_monitoring.prefect_api.credentials import credentials_from_files

    findings: list[Finding] = []
    with ExitStack() as stack:
        try:
            stack.enter_context(credentials_from_files(os.environ))
        except SettingsError as fault:
            findings += _faults("Prefect API", fault)
        try:
            findings += asyncio.run(check(load(options)))
        except SettingsError as fault:
            findings += _faults("settings", fault) + asyncio.run(check_without_settings())
    for finding in findings:
        mark = "note " if finding.advice else "ok   " if finding.ok else "FAULT"
        sys.stdout.write(f"{mark}  {finding.text}\n")
    return 0 if all(finding.ok for finding in findings) else FAULT


def _without_prefect(options: argparse.Namespace, faults: list[str]) -> int:
    """Reports why Prefect cannot be imported, and checks what can be checked without it."""
    try:
        lines = ["ok     settings: valid", *_listen_faults(load(options).web)]
    except SettingsError as fault:
        lines = [f"FAULT  settings: {line}" for line in str(fault).splitlines()]
    lines += [f"FAULT  Prefect settings: {fault}" for fault in faults]
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return FAULT


def _listen_faults(settings: WebSettings) -> list[str]:
    from prefect_monitoring.commands.listening import ListenError, bind

    try:
        bind(settings.listen).close()
    except ListenError as fault:
        return [f"FAULT  listen: {fault}"]
    return []


def _faults(about: str, fault: SettingsError) -> list[Finding]:
    from prefect_monitoring.commands.findings import Finding

    return [Finding(ok=False, text=f"{about}: {line}") for line in str(fault).splitlines()]


COMMAND = Command("check settings, API and ledger; print every problem", add_options, run)
