"""`prefect-monitoring demo`."""

from __future__ import annotations

import argparse
from pathlib import Path

from prefect_monitoring.cli.command import Command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path(".demo"),
        metavar="DIR",
        help="Where the demo keeps its data. (default: %(default)s)",
    )
    parser.add_argument(
        "--prefect-port",
        type=int,
        default=4200,
        metavar="PORT",
        help="Port of the Prefect server; 0 for a free one. (default: %(default)s)",
    )
    parser.add_argument(
        "--listen",
        default="127.0.0.1:9877",
        metavar="HOST:PORT",
        help="Address of the exporter. (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> int:
    from prefect_monitoring.demo.run import DemoOptions, run_demo

    return run_demo(DemoOptions(options.directory, options.prefect_port, options.listen))


COMMAND = Command("a real Prefect server, example flows and the exporter, until Ctrl-C", add_arguments, run)
