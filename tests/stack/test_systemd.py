"""The systemd units, checked by systemd-analyze, and their file of options."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from prefect_monitoring.config.settings import CONFIG_ENV, ENV_PREFIX, OPTIONS, env_name
from stack.compose import ROOT

UNITS = ROOT / "systemd"
ONE, EACH = "prefect-monitoring.service", "prefect-monitoring@.service"
OPTIONS_FILE = UNITS / "prefect-monitoring.env"
PROGRAM = "/opt/prefect-monitoring/bin/prefect-monitoring"

needs_systemd = pytest.mark.skipif(sys.platform != "linux", reason="systemd-analyze needs Linux")


def unit(folder: Path, name: str, more: str = "") -> Path:
    """The unit under `name`, with a program that exists, and `more` at its end."""
    text = (UNITS / re.sub("@.*[.]", "@.", name)).read_text(encoding="utf-8")
    path = folder / name
    path.write_text(text.replace(PROGRAM, sys.executable) + more, encoding="utf-8")
    return path


def analyze(*arguments: str | Path) -> tuple[int, str]:
    program = shutil.which("systemd-analyze")
    assert program, "systemd-analyze is missing: bash tests/support/install_servers.sh"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@needs_systemd
@pytest.mark.parametrize("name", [ONE, "prefect-monitoring@production.service"])
def test_unit_is_valid_and_hardened(name: str, tmp_path: Path) -> None:
    path = unit(tmp_path, name)
    assert analyze("verify", path) == (0, "")
    code, report = analyze("security", "--offline=yes", "--threshold=20", path)
    assert code == 0, report


@needs_systemd
def test_verification_reports_a_key_that_systemd_does_not_know(tmp_path: Path) -> None:
    code, output = analyze("verify", unit(tmp_path, ONE, "\n[Service]\nProtectEverything=yes\n"))
    assert (code, "ProtectEverything" in output) == (0, True), "the exit code is 0 anyway"


def test_template_differs_from_the_unit_only_in_names() -> None:
    def settings(name: str) -> list[str]:
        lines = (UNITS / name).read_text(encoding="utf-8").splitlines()
        return [line for line in lines if not line.startswith(("#", "Description="))]

    names = {"%i.env": "prefect-monitoring.env", "prefect-monitoring-%i": "prefect-monitoring"}
    each = "\n".join(settings(EACH))
    for name, instead in names.items():
        each = each.replace(name, instead)
    assert each.splitlines() == settings(ONE)


def test_options_file_names_only_known_variables() -> None:
    known = {env_name(option) for option in OPTIONS} | {CONFIG_ENV}
    named = re.findall(r"^#?([A-Z_]+)=", OPTIONS_FILE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {"PREFECT_API_URL", "PREFECT_MONITORING_LISTEN"} <= set(named)
    assert {name for name in named if name.startswith(ENV_PREFIX)} <= known


@pytest.mark.parametrize("name", [ONE, EACH])
def test_unit_matches_the_install_page(name: str) -> None:
    page, text = (ROOT / "docs/install.md").read_text(encoding="utf-8"), (UNITS / name).read_text(encoding="utf-8")
    assert f"ExecStart={PROGRAM} serve\n" in text
    assert f"{PROGRAM.removesuffix('prefect-monitoring')}pip install" in page
    assert f"systemd/{name}" in page
