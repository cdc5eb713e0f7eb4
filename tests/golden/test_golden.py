"""One seeded server, and all that the exporter says of it: names, labels and values are what they were.

The seed is the Prefect API's JSON, and only the commands are used: whatever moves within the package, these stay. Where
a change is meant, `GOLDEN_UPDATE=1 pytest tests/golden` writes the files anew; what git shows then is the change.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from golden import readable
from golden.running import HERE, Said, backfill, serve
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
def said(stub: Stub, tmp_path_factory: pytest.TempPathFactory) -> Said:
    return serve(stub, tmp_path_factory.mktemp("new"), NOW)


def compare(name: str, found: str) -> None:
    """Fails where `found` is not what the golden file of that name says."""
    file = HERE / name
    if os.environ.get(UPDATE):
        file.write_text(found, encoding="utf-8")
    golden = file.read_text("utf-8")
    if golden != found:
        diff = "\n".join(difference(golden, found))
        pytest.fail(f"not what {name} says; if it is meant: {UPDATE}=1 pytest tests/golden\n{diff}", pytrace=False)


def difference(before: str, after: str) -> list[str]:
    """The lines that are not in both."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def compare_difference(name: str, before: Said, after: Said) -> None:
    """What the one says and the other does not, on the page as well."""
    lines = difference(readable.exposition(before.metrics), readable.exposition(after.metrics))
    lines += difference(readable.page(before.page), readable.page(after.page))
    compare(name, "".join(f"{line}\n" for line in lines))


def test_exposition_of_seeded_server_is_golden(said: Said) -> None:
    compare("exposition.txt", readable.exposition(said.metrics))


def test_status_page_of_seeded_server_is_golden(said: Said) -> None:
    compare("status_page.txt", readable.wrapped(readable.page(said.page)))


def test_restart_after_a_day_differs_as_golden(stub: Stub, said: Said, tmp_path: Path) -> None:
    """The ledger of a process that ended a day ago: what it counted stays, what came since is counted."""
    serve(stub, tmp_path, YESTERDAY)
    compare_difference("after_restart.diff", said, serve(stub, tmp_path, NOW))


def test_backfill_of_seeded_server_is_golden(stub: Stub, said: Said, tmp_path: Path) -> None:
    """So is what `serve` says with the ledger that it leaves."""
    printed, files = backfill(stub, tmp_path, NOW, "--since", "10d", "--step", "6h", *TARGET)
    assert "; 0 runs are missing" in printed
    for _, text in files:
        assert list(parse_openmetrics(text))  # type: ignore[no-untyped-call] # it has no types
    compare("backfill.txt", readable.past(files))
    compare_difference("after_backfill.diff", said, serve(stub, tmp_path, NOW))
