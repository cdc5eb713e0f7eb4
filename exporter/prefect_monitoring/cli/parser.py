"""An argument parser with help of at most 100 columns, and one-line errors that repeat no value."""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from prefect_monitoring.config.faults import did_you_mean

FAULT: Final = 2
_MAX_COLUMNS: Final = 100
_HELP_COLUMN: Final = 38


class _Formatter(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        columns = min(shutil.get_terminal_size().columns, _MAX_COLUMNS)
        super().__init__(prog, max_help_position=_HELP_COLUMN, width=columns - 2)

    def _split_lines(self, text: str, width: int) -> list[str]:
        """Paths and URLs stay whole."""
        return textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)


class Parser(argparse.ArgumentParser):
    """Flags cannot be abbreviated: the flag of a secret's file would be taken for one of the secret itself."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": _Formatter, "allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        without_value = re.sub(r"invalid choice: .* \(choose from (.*)\)$", r"must be one of \1", message)
        self.exit(FAULT, f"{self.prog}: {without_value} (--help lists the options)\n")

    def refuse_unknown(self, arguments: Sequence[str]) -> NoReturn:
        """Ends with the flags among `arguments`; a value is not repeated, for it may be a secret."""
        flags = [argument.partition("=")[0] for argument in arguments if argument.startswith("--")]
        if not flags:
            self.error("unexpected argument: values follow their flag")
        known = re.findall(r"(?<!\S)--[\w-]+", self.format_help())
        self.error(", ".join(_advice(flag, did_you_mean(flag, known)) for flag in flags))


def _advice(flag: str, meant: str | None) -> str:
    return f"there is no {flag}" + (f"; did you mean {meant}?" if meant else "")
