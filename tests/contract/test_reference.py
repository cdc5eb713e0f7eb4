"""The reference pages match the code, and the locks match their extras."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from prefect_monitoring import __version__
from prefect_monitoring.archive.metrics import ARCHIVE_METRICS
from prefect_monitoring.cli import make_parser
from prefect_monitoring.config.settings import OPTIONS, env_name, flag_name, notation_of
from prefect_monitoring.metrics import CATALOGUE
from scripts.generate_reference import PAGES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", PAGES)
def test_page_is_generated_from_the_code(name: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == PAGES[name](), "run: make docs"


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_is_documented(option: str) -> None:
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith(f"| `{option}` |"))
    notation = notation_of(option)
    flag = f"`{flag_name(option)} {notation.metavar}`".replace("|", "\\|")
    assert (flag in row) == notation.has_flag
    assert f"`{env_name(option)}`" in row
    assert OPTIONS[option].description


def test_every_metric_in_the_guides_exists() -> None:
    known = {metric.name for metric in (*CATALOGUE, *ARCHIVE_METRICS)}
    for page in (ROOT / "README.md", ROOT / "docs/operations.md", ROOT / "docs/metrics.md"):
        named = re.findall(r"\bprefect_(?:flow_run|exporter|deployment|up)\w*", page.read_text(encoding="utf-8"))
        assert named, page
        assert not set(named) - known, page


def test_commands_of_the_readme_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", readme, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for command in re.findall(r"prefect-monitoring (\w+) ", readme):
        assert make_parser().parse_args([command])
    assert "make test" in (ROOT / ".ci/run").read_text(encoding="utf-8")


LOCKS = {
    "requirements.lock": ("demo",),
    "requirements-aws.lock": ("demo", "aws"),
    "requirements-archive.lock": ("demo", "archive"),
    "requirements-dev.lock": ("demo", "dev"),
}
"""Each lock, and the extras that it holds in addition to the exporter's requirements."""


def pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_names_no_host_and_no_path(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "==" in text
    assert not re.search(r"https?:|file:/|--index|--find-links", text)


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_holds_what_its_extras_need(lock: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [requirement for extra in LOCKS[lock] for requirement in project["optional-dependencies"][extra]]
    needed = [*project["dependencies"], *extras]
    assert not {re.split(r"[<>=!\[]", one)[0].lower() for one in needed} - pins(lock).keys()


def test_user_lock_holds_no_development_tool_and_the_same_versions() -> None:
    users, developers = pins("requirements.lock"), pins("requirements-dev.lock")
    assert not users.keys() & {"pytest", "ruff", "mypy", "playwright", "import-linter", "hypothesis"}
    assert users.items() <= developers.items()


def test_version_option_prints_the_version() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "prefect_monitoring", "--version"], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == __version__
