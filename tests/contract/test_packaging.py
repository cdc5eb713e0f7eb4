"""The metadata of the package: extras, classifiers, version."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from prefect_monitoring import __version__
from scripts import generate_chart

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CHART = ROOT / "charts/prefect-monitoring"
EXTRAS = {name for name in PROJECT["optional-dependencies"] if name not in {"all", "dev"}}
TOOL_LOCKS = [path.with_suffix(".lock") for path in sorted(ROOT.glob("requirements-*.in"))]


def test_extra_all_has_every_extra_for_users() -> None:
    (everything,) = PROJECT["optional-dependencies"]["all"]
    assert everything == f"{PROJECT['name']}[{','.join(sorted(EXTRAS))}]"


def test_install_page_has_every_extra_for_users() -> None:
    page = (ROOT / "docs/install.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == EXTRAS | {"all"}


def test_classifiers_name_only_the_python_that_the_lock_is_made_for() -> None:
    image = re.search(
        r"^FROM python:(\d+\.\d+)", (ROOT / "exporter/Dockerfile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert image
    named = {found[1] for one in PROJECT["classifiers"] if (found := re.search(r":: Python :: (\d+\.\d+)$", one))}
    assert named == {image[1]}


def described(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Every value in the chart's schema, except those that Helm provides."""
    for name, value in schema["properties"].items():
        if value.get("additionalProperties") is False and "properties" in value and name != "existingConfigMap":
            yield from described(value, f"{path}{name}.")
        elif name != "global":
            yield f"{path}{name}"


def test_each_value_of_the_chart_is_in_its_schema_and_described() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = [path for path, _, _ in generate_chart.described_values()]
    assert sorted(values) == sorted(described(schema))


@pytest.mark.parametrize("name", generate_chart.FILES)
def test_file_of_the_chart_is_generated(name: str) -> None:
    assert (CHART / name).read_text(encoding="utf-8") == generate_chart.FILES[name](), "run: make docs"


def test_chart_has_the_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_changelog_has_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$", changelog, re.MULTILINE)
    assert releases[0] == __version__


@pytest.mark.parametrize("lock", TOOL_LOCKS, ids=lambda path: path.name)
def test_lock_of_tools_has_its_requirements_and_names_no_host(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert not re.search(r"https?:|file:/|--index|--find-links", text)
    asked = re.findall(r"^[a-z][a-z0-9-]*", lock.with_suffix(".in").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(asked) <= set(re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE))
