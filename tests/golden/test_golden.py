"""The exporter's output for a seeded server: names, labels and values equal the golden files.

The seed is JSON of the Prefect API, and only the commands are used, so refactoring the package changes nothing. Where
a change is intended, `GOLDEN_UPDATE=1 pytest tests/golden` rewrites the files; git diff shows the change.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from golden import readable
from golden.running import HERE, Served, backfill, serve
from golden.seed import NOW, YESTERDAY
from golden.stub import Stub, serving
from golden.world import make_seed

UPDATE = "GOLDEN_UPDATE"
TARGET = ("--instance", "exporter:9877", "--workspace", "blue", "--label", "cluster=eu")


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with serving(make_seed()) as running:
        yield running
        assert running.unknown == []


@pytest.fixture(scope="module")
def served(stub: Stub, tmp_path_factory: pytest.TempPathFactory) -> Served:
    return serve(stub, tmp_path_factory.mktemp("new"), NOW)


def compare(name: str, found: str) -> None:
    """Fails if `found` differs from the golden file of that name."""
    file = HERE / name
    if os.environ.get(UPDATE):
        file.write_text(found, encoding="utf-8")
    golden = file.read_text("utf-8")
    if golden != found:
        diff = "\n".join(difference(golden, found))
        pytest.fail(f"differs from {name}; if that is intended: {UPDATE}=1 pytest tests/golden\n{diff}", pytrace=False)


def difference(before: str, after: str) -> list[str]:
    """The lines that are in only one of the two."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def compare_difference(name: str, before: Served, after: Served) -> None:
    """Compares the difference of two outputs, including the page, with a golden file."""
    lines = difference(readable.exposition(before.metrics), readable.exposition(after.metrics))
    lines += difference(readable.page(before.page), readable.page(after.page))
    compare(name, "".join(f"{line}\n" for line in lines))


def test_exposition_of_seeded_server_is_golden(served: Served) -> None:
    compare("exposition.txt", readable.exposition(served.metrics))


def test_status_page_of_seeded_server_is_golden(served: Served) -> None:
    compare("status_page.txt", readable.wrapped(readable.page(served.page)))


def test_restart_after_a_day_differs_as_golden(stub: Stub, served: Served, tmp_path: Path) -> None:
    """With the ledger of a process that ended a day ago: its counts stay, and later runs are added."""
    serve(stub, tmp_path, YESTERDAY)
    compare_difference("after_restart.diff", served, serve(stub, tmp_path, NOW))


def test_backfill_of_seeded_server_is_golden(stub: Stub, served: Served, tmp_path: Path) -> None:
    """Also the output of `serve` with the ledger of the backfill."""
    printed, files = backfill(stub, tmp_path, NOW, "--since", "10d", "--step", "6h", *TARGET)
    assert "; 0 runs are missing" in printed
    for _, text in files:
        assert list(parse_openmetrics(text))  # type: ignore[no-untyped-call] # it has no types
    compare("backfill.txt", readable.past(files))
    compare_difference("after_backfill.diff", served, serve(stub, tmp_path, NOW))
