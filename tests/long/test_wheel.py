"""The output of `make dist`, installed into empty environments and run outside the repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import distributions
from pathlib import Path

import pytest

from prefect_monitoring import __version__
from support.authorities import trust_all
from support.bulk import bulk_finished_runs
from support.exporter import Exporter
from support.exposition import total
from support.ports import free_port
from support.prefect_server import PrefectServer, start_server
from support.processes import start, wait_until
from support.seeder import Seeder

ROOT = Path(__file__).parents[2]
UV = ROOT / ".venv-packaging/bin/uv"
# Packages that a Prefect installation does not have, and the maximum size of them and ours together.
BESIDE_PREFECT = {"prefect-monitoring", "aiolimiter", "apscheduler", "filelock", "tenacity"}
MAX_MEGABYTES = 4


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and an empty home directory."""

    programs: Path
    home: Path

    def environment(self, path: str = "/usr/bin:/bin") -> dict[str, str]:
        return {"PATH": f"{self.programs}:{path}", "HOME": str(self.home)}

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(self.programs / command[0]), *command[1:]],
            cwd=self.home,
            env=self.environment() | more,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
        return done


def call(*command: str | Path, **environment: str) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env=trust_all(os.environ) | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    call("make", "dist", f"DIST={folder}", f"PYTHON={sys.executable}")
    assert {path.name for path in folder.glob("prefect_monitoring-*")} == {
        f"prefect_monitoring-{__version__}-py3-none-any.whl",
        f"prefect_monitoring-{__version__}.tar.gz",
    }
    return next(folder.glob("*.whl"))


def environment(folder: Path, *requirements: str) -> Path:
    call(UV, "venv", "--python", sys.executable, folder / "venv")
    call(UV, "pip", "install", "--python", folder / "venv", *requirements)
    return folder / "venv"


def installed(folder: Path, *requirements: str) -> Installed:
    (folder / "home").mkdir()
    return Installed(environment(folder, *requirements) / "bin", folder / "home")


def packages(environment: Path) -> Iterator[tuple[str, int]]:
    """(name, bytes) of each distribution, without compiled files."""
    for dist in distributions(path=[str(path) for path in environment.glob("lib/python*/site-packages")]):
        files = [Path(str(dist.locate_file(file))) for file in dist.files or () if file.suffix != ".pyc"]
        yield dist.name.lower().replace("_", "-"), sum(file.stat().st_size for file in files if file.is_file())


@pytest.fixture(scope="module")
def oldest(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The lower bounds in pyproject.toml; for uv, those of a wheel would not be direct requirements."""
    options = (
        "--resolution",
        "lowest-direct",
        "--requirements",
        "pyproject.toml",
        "--extra",
        "aws",
        "--extra",
        "slack",
    )
    return installed(tmp_path_factory.mktemp("oldest"), str(wheel), *options)


@pytest.fixture(scope="module")
def newest(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """An environment for this program only, as by `uv tool install` or pipx."""
    folder = tmp_path_factory.mktemp("newest")
    (folder / "home").mkdir()
    call(
        UV, "tool", "install", "--python", sys.executable, wheel,
        UV_TOOL_DIR=str(folder / "tools"), UV_TOOL_BIN_DIR=str(folder / "bin"),
    )  # fmt: skip
    assert (folder / "bin/prefect-monitoring").exists()
    return Installed(folder / "tools/prefect-monitoring/bin", folder / "home")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A server with a single run, which ended yesterday."""
    with start_server(tmp_path_factory.mktemp("server")) as running, Seeder(running.url) as seeder:
        bulk_finished_runs(running, seeder.flow("of-yesterday"), [datetime.now(UTC) - timedelta(days=1)])
        yield running


@pytest.mark.parametrize("installation", ["oldest", "newest"])
def test_commands_run_with_the_oldest_and_the_newest_dependencies(
    installation: str, server: PrefectServer, request: pytest.FixtureRequest
) -> None:
    here: Installed = request.getfixturevalue(installation)
    assert here.run("prefect-monitoring", "--version").stdout.strip() == __version__
    reach = {"PREFECT_API_URL": server.url}
    assert "FAULT" not in here.run("prefect-monitoring", "check", **reach).stdout
    past = here.run("prefect-monitoring", "backfill", "--since", "2d", "--output", "past", **reach)
    assert "0 runs are missing" in past.stdout + past.stderr
    assert list((here.home / "past/blocks").iterdir())

    port = free_port()
    process = start(
        [here.programs / "prefect-monitoring", "serve", "--listen", f"127.0.0.1:{port}"],
        here.home / "serve.log",
        env=here.environment() | reach,
        cwd=here.home,
    )
    exporter = Exporter(f"http://127.0.0.1:{port}", process)
    try:
        exporter.wait_ready()
        counted = total(exporter.samples, "prefect_flow_run_outcomes_total", flow="of-yesterday", state="completed")
        assert counted == 1, process.output()
    finally:
        assert process.stop() == 0, process.output()


def test_sdist_has_rules_dashboards_and_units(wheel: Path) -> None:
    (sdist,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for folder, pattern in (("prometheus/rules", "*.yml"), ("grafana/dashboards", "*.json"), ("systemd", "*.service")):
        assert {str(path.relative_to(ROOT)) for path in (ROOT / folder).glob(pattern)} <= names, folder


def test_installation_adds_little_to_prefect(newest: Installed, tmp_path: Path) -> None:
    without = {name for name, _ in packages(environment(tmp_path, "prefect"))}
    sizes = dict(packages(newest.programs.parent))
    added = {name: size for name, size in sizes.items() if name not in without}
    megabytes = sum(added.values()) / 1e6
    print(f"{megabytes:.1f} MB beside Prefect's {sum(sizes.values()) / 1e6 - megabytes:.0f} MB")  # noqa: T201
    assert added.keys() == BESIDE_PREFECT
    assert megabytes < MAX_MEGABYTES


def test_demo_comes_up_with_every_extra_installed(wheel: Path, tmp_path: Path) -> None:
    everything = installed(tmp_path, f"{wheel}[all]")
    process = start(
        [everything.programs / "prefect-monitoring", "demo", "--prefect-port", "0", "--listen", "127.0.0.1:0"],
        tmp_path / "demo.log",
        env=everything.environment(path="/without-prometheus"),
        cwd=everything.home,
    )
    try:
        wait_until(lambda: not process.running or "Ctrl-C" in process.output(), 150, "a demo that is up")
        address = re.search(r"^Exporter +(\S+)$", process.output(), re.MULTILINE)
        assert address, process.output()
        Exporter(address[1], process).wait_ready()
    finally:
        assert process.stop(seconds=30) == 0, process.output()


def test_extras_install_their_packages(oldest: Installed) -> None:
    oldest.run("python", "-c", "import boto3, prefect_slack")
