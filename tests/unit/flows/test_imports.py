"""The flow helpers need only Prefect in a flow's image."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

import prefect_monitoring

PACKAGE = Path(prefect_monitoring.__file__).parents[1]
LOW = ("flows", "analysis", "model")


def run(code: str, *options: str) -> str:
    done = subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules_after(statement: str) -> set[str]:
    names: list[str] = json.loads(run(f"import sys, json\n{statement}\nprint(json.dumps(list(sys.modules)))"))
    return set(names)


def test_importing_flows_imports_neither_prefect_nor_any_library() -> None:
    added = modules_after("import prefect_monitoring.flows") - modules_after("")
    ours = {name for name in added if name.startswith("prefect_monitoring.")}
    assert {name.split(".")[1] for name in ours} <= set(LOW)
    # multiprocessing, which is in the standard library, gives __main__ a second name.
    third_party = {name.split(".")[0] for name in added} - set(sys.stdlib_module_names) - {"__mp_main__"}
    assert third_party == {"prefect_monitoring"}


@pytest.mark.slow
def test_importing_blocks_imports_nothing_beyond_prefect() -> None:
    added = modules_after("import prefect_monitoring.flows.blocks") - modules_after(
        "import prefect, prefect.blocks.core"
    )
    roots = {name.split(".")[0] for name in added} - set(sys.stdlib_module_names)
    assert roots == {"prefect_monitoring"}
    assert not {name.split(".")[1] for name in added if name.startswith("prefect_monitoring.")} - set(LOW)


def closure(root: str) -> set[str]:
    """The names of `root` and of all distributions that it requires here, without extras."""
    known, waiting = set[str](), [root]
    while waiting:
        name = waiting.pop()
        if name in known:
            continue
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:  # for another platform or Python
            continue
        known.add(name)
        waiting += [re.split(r"[\s;\[<>=!~(]", text, maxsplit=1)[0] for text in requires if "extra ==" not in text]
    return known


@pytest.mark.slow
def test_flows_work_where_only_prefect_is_installed(tmp_path: Path) -> None:
    for name in closure("prefect"):
        for file in distribution(name).files or []:
            source = Path(str(distribution(name).locate_file(file.parts[0])))
            target = tmp_path / file.parts[0]
            if file.parts[0] not in {"..", "__pycache__"} and not target.is_symlink():
                target.symlink_to(source)
    code = f"""
import sys
sys.path += [{str(tmp_path)!r}, {str(PACKAGE)!r}]
import logging
logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
from prefect_monitoring.flows import archive_logs, emit_metric, push_cloudwatch, slack_failure, slo
from prefect_monitoring.flows.blocks import PipelineMetrics
emit_metric("rows_loaded", 1)
push_cloudwatch("Rows", 1)
archive_logs("file:///var/archive")
for absent in ("apscheduler", "boto3", "prefect_slack", "pytest"):
    try:
        __import__(absent)
    except ImportError:
        continue
    raise SystemExit(absent + " is there")
try:
    slack_failure("alerts")
except ImportError as error:
    print(error)
"""
    shown = run(code, "-I", "-S")
    assert "METRIC: rows_loaded=1" in shown
    assert "pip install 'prefect-monitoring[aws]'" in shown
    assert "pip install 'prefect-monitoring[slack]'" in shown
