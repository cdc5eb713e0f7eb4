"""Static checks of exporter/Dockerfile, without an engine; tests/soak/test_image.py executes its steps."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

from prefect_monitoring import __version__
from prefect_monitoring.cli import make_parser
from stack.compose import ROOT, instructions, own_image

TEXT = (ROOT / "exporter/Dockerfile").read_text(encoding="utf-8")
STEPS = instructions(TEXT)


def copied() -> list[str]:
    """The paths that are copied from the repository."""
    lines = [shlex.split(arguments) for name, arguments in STEPS if name == "COPY" and "--from" not in arguments]
    return [source for line in lines for source in line[:-1]]


def in_context(path: str) -> bool:
    """Whether .dockerignore includes the path."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    sent = True
    for rule in rules:
        if _matches(path, rule.removeprefix("!")):
            sent = rule.startswith("!")
    return sent


def _matches(path: str, pattern: str) -> bool:
    """Whether the pattern matches the path or one of its parents."""
    if pattern.startswith("**/"):
        return pattern.removeprefix("**/") in Path(path).parts
    return any(fnmatch(str(one), pattern) for one in (Path(path), *Path(path).parents))


def test_copied_files_exist_and_are_sent_to_the_engine() -> None:
    assert copied()
    for source in copied():
        assert (ROOT / source).exists(), source
        assert in_context(source), source


def test_secrets_and_caches_are_not_sent() -> None:
    for path in (".git/config", ".env", "config/secrets/slack-url", "exporter/prefect_monitoring/__pycache__/x.pyc"):
        assert not in_context(path), path


def test_files_of_the_wheel_are_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    targets = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    for path in (*targets["force-include"], *targets["packages"], project["project"]["readme"]):
        assert any(Path(path).is_relative_to(source) for source in copied()), path


def test_base_is_one_exact_version_and_every_stage_is_built_on_it() -> None:
    bases = [arguments.split()[0] for name, arguments in STEPS if name == "FROM"]
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-bookworm", bases[0])
    assert set(bases[1:]) == {"base"}
    assert len(bases) == 3


def test_image_runs_as_an_unprivileged_numeric_user() -> None:
    uid, gid = own_image().user.split(":")
    assert int(uid) > 1000
    assert int(gid) > 1000


def test_image_starts_a_command_that_exists() -> None:
    image = own_image()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert image.entrypoint[0] in project["scripts"]
    assert make_parser().parse_args(image.command)
    (check,) = [arguments.partition("CMD ")[2] for name, arguments in STEPS if name == "HEALTHCHECK"]
    assert check == '["prefect-monitoring", "healthcheck"]'


def test_image_writes_only_to_two_folders() -> None:
    environment = own_image().environment
    assert environment["PREFECT_MONITORING_LEDGER_URL"].startswith("sqlite:////var/lib/prefect-monitoring/")
    assert environment["HOME"] == "/tmp"
    assert environment["PREFECT_HOME"].startswith("/tmp/")


def test_labels_name_version_and_base() -> None:
    (labels,) = [
        dict(pair.split("=", 1) for pair in shlex.split(arguments)) for name, arguments in STEPS if name == "LABEL"
    ]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {key.removeprefix("org.opencontainers.image."): value for key, value in labels.items()} == {
        "title": project["name"],
        "description": "Prometheus exporter for Prefect 3",
        "version": __version__,
        "licenses": project["license"],
        "base.name": next(arguments.split()[0] for name, arguments in STEPS if name == "FROM"),
    }


def test_image_is_tagged_with_its_version() -> None:
    done = subprocess.run(["make", "--dry-run", "image"], cwd=ROOT, capture_output=True, text=True, check=True)
    tags = re.findall(r"--tag prefect-monitoring:(\S+)", done.stdout)
    assert tags == [__version__, __version__.rpartition(".")[0], "latest"]


def test_image_installs_locked_versions_and_names_no_registry() -> None:
    assert "--constraint requirements.lock" in TEXT
    assert not re.search(r"https?://|--index|[a-z]\.(io|com|org)/", TEXT)
