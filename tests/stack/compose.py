"""docker-compose.yml as interpreted by Compose, and the relevant parts of its images."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from prefect_monitoring import __version__

ROOT = Path(__file__).parents[2]
OWN_IMAGE = f"prefect-monitoring:{__version__}"


def compose(*arguments: str, cwd: Path = ROOT, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """`docker compose` without an engine: the program in our environment, else the plugin."""
    # Without variables of the caller, such as STACK_CONFIG or a project name.
    clean = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(cwd), **(env or {})}
    return subprocess.run(
        [*_program(), *arguments], cwd=cwd, env=clean, capture_output=True, text=True, timeout=60, check=False
    )


@cache
def _program() -> list[str]:
    beside = Path(sys.executable).parent / "docker-compose"
    if found := str(beside) if beside.exists() else shutil.which("docker-compose"):
        return [found]
    plugin = ["docker", "compose"]
    if (
        shutil.which("docker")
        and subprocess.run([*plugin, "version"], capture_output=True, check=False).returncode == 0
    ):
        return plugin
    raise RuntimeError("Compose is missing: `make dev` installs it")


@cache
def configuration() -> dict[str, Any]:
    """The whole configuration including the demo, resolved and checked by Compose, without a local `.env`."""
    done = compose("--env-file", "/dev/null", "--profile", "demo", "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = configuration()["services"]
    return found


@dataclass(frozen=True)
class Image:
    entrypoint: list[str]
    command: list[str]
    user: str  # uid:gid
    environment: dict[str, str] = field(default_factory=dict)


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """(instruction, arguments) of each step, continued lines joined."""
    joined = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", dockerfile, flags=re.MULTILINE))
    lines = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    return [(name.upper(), " ".join(arguments.split())) for name, arguments in lines]


def own_image() -> Image:
    """The last stage of exporter/Dockerfile."""
    steps = instructions((ROOT / "exporter/Dockerfile").read_text())
    begin = max(number for number, (name, _) in enumerate(steps) if name == "FROM")
    stage = steps[begin:]
    environment = dict(pair.split("=", 1) for name, pairs in stage if name == "ENV" for pair in shlex.split(pairs))
    argument_of = dict(stage)
    return Image(
        json.loads(argument_of["ENTRYPOINT"]), json.loads(argument_of["CMD"]), argument_of["USER"], environment
    )


# Debian's programs in place of those in the images, with the users of the images.
_PATH = {"PATH": "/usr/lib/postgresql/{version}/bin:/usr/bin:/bin"}
_POSTGRES = """
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb --username="$POSTGRES_USER" --auth="$POSTGRES_HOST_AUTH_METHOD" --encoding=UTF8 --no-sync >/dev/null
  echo "host all all all $POSTGRES_HOST_AUTH_METHOD" >>"$PGDATA/pg_hba.conf"
  echo "CREATE DATABASE \\"$POSTGRES_DB\\"" | postgres --single postgres >/dev/null
fi
exec postgres -c listen_addresses='*' -c fsync=off
"""


def image_of(service: dict[str, Any]) -> Image:
    if service["image"] == OWN_IMAGE:
        return own_image()
    version = max((path.parts[-2] for path in Path("/usr/lib/postgresql").glob("*/bin")), key=int, default="")
    path = {name: value.format(version=version) for name, value in _PATH.items()}
    name = service["image"].split(":")[0]
    alertmanager = "prometheus-alertmanager" if shutil.which("prometheus-alertmanager") else "alertmanager"
    return {
        "prom/prometheus": Image(["prometheus"], [], "65534:65534", path),
        "prom/alertmanager": Image([alertmanager], [], "65534:65534", path),
        "postgres": Image(["sh", "-c", _POSTGRES], [], "999:999", path | {"PGDATA": "/var/lib/postgresql/data"}),
        # There is no Grafana package: its container only has its files and its network.
        "grafana/grafana": Image(["sleep"], ["infinity"], "472:0", path),
    }[name]
