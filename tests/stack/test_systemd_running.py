"""The units under a real systemd, in namespaces of its own: the exporter needs nothing that their hardening forbids."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import prefect
import pytest

from stack.compose import ROOT
from stack.engine import unavailable
from support.exposition import parse, value
from support.processes import start, wait_until

UNITS = {"prefect-monitoring.service": 9877, "prefect-monitoring@staging.service": 9878}
PROGRAM = """#!/bin/sh
export PYTHONPATH=/opt/checkout:/opt/packages PYTHONDONTWRITEBYTECODE=1 LD_LIBRARY_PATH=/opt/python/lib
exec /opt/python/bin/python3 -m prefect_monitoring "$@"
"""
# Nothing of the machine's own is started.
TARGET = f"[Unit]\nDefaultDependencies=no\nWants={' '.join(UNITS)}\n"
DROP_IN = "[Unit]\nDefaultDependencies=no\n"
GET = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=5).read().decode())"
SECONDS = 90

pytestmark = [
    pytest.mark.skipif(bool(unavailable()), reason=f"systemd is not tried: {unavailable()}"),
    pytest.mark.timeout(180),
]


@dataclass(frozen=True)
class Systemd:
    pid: str

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """As root, where it runs."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--", *command]
        return subprocess.run(enter, capture_output=True, text=True, timeout=30, check=False)

    def get(self, unit: str, path: str) -> str:
        """What the unit's exporter answers; empty if it does not."""
        return self.run(sys.executable, "-c", GET, f"http://127.0.0.1:{UNITS[unit]}{path}").stdout

    def property(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", f"--property={name}", "--value", unit).stdout.strip()


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    folder = tmp_path_factory.mktemp("systemd")
    options = (ROOT / "systemd/prefect-monitoring.env").read_text(encoding="utf-8")
    written = {
        "/opt/prefect-monitoring/bin/prefect-monitoring": PROGRAM,
        "/etc/prefect-monitoring/prefect-monitoring.env": options,
        "/etc/prefect-monitoring/staging.env": options.replace("127.0.0.1:9877", "127.0.0.1:9878"),
        "/var/lib/prefect-monitoring/from-root": "",
        "/var/lib/prefect-monitoring-staging/from-root": "",
        "/run/systemd/system/try.target": TARGET,
        "/run/systemd/system/prefect-monitoring.service.d/test.conf": DROP_IN,
        "/run/systemd/system/prefect-monitoring@.service.d/test.conf": DROP_IN,
    }
    copies = [(str(path), f"/run/systemd/system/{path.name}") for path in (ROOT / "systemd").glob("*.service")]
    for number, (target, text) in enumerate(written.items()):
        path = folder / str(number)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755 if text == PROGRAM else 0o600)
        copies.append((str(path), target))
    binds = {
        sys.base_prefix: "/opt/python",
        str(ROOT / "exporter"): "/opt/checkout",
        str(Path(prefect.__file__).parents[1]): "/opt/packages",
    }
    spec = {"binds": list(binds.items()), "copies": copies, "target": "try.target"}
    (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    with control_groups() as enter:
        isolate = ["unshare", "--fork", "--pid", "--mount", "--net", "--uts", "--ipc", "--cgroup", "--kill-child"]
        boot = [sys.executable, str(Path(__file__).with_name("boot.py")), str(folder / "spec.json")]
        process = start(["bash", "-c", f'{enter} exec "$@"', "bash", *isolate, *boot], folder / "systemd.log")
        try:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            yield Systemd(wait_until(lambda: children.read_text().strip(), 10, "systemd", ignore=(OSError,)))
        finally:
            process.kill()


@contextmanager
def control_groups() -> Iterator[str]:
    """Shell commands that enter a new group in each hierarchy, which systemd then takes for all that there is."""
    name = f"prefect-monitoring-test-{os.getpid()}"
    hierarchies = [Path("/sys/fs/cgroup", sub) for sub in ("systemd", "unified", "")]
    groups = [one / name for one in hierarchies if (one / "cgroup.procs").exists()]
    for group in groups:
        group.mkdir()
    try:
        yield " ".join(f"echo $$ >{group}/cgroup.procs;" for group in groups)
    finally:
        for group in groups:
            wait_until(lambda group=group: removed(group), 10, f"an empty {group}", ignore=(OSError,))  # type: ignore[misc]


def removed(group: Path) -> bool:
    for folder in sorted(group.rglob("*/"), reverse=True):
        folder.rmdir()
    group.rmdir()
    return True


@pytest.mark.parametrize("unit", UNITS)
def test_exporter_runs_as_its_unit_has_it_and_ends_when_asked(systemd: Systemd, unit: str) -> None:
    wait_until(lambda: "healthy" in systemd.get(unit, "/-/healthy"), SECONDS, f"a healthy {unit}", every=0.5)
    pid = systemd.property(unit, "MainPID")
    status = dict(re.findall(r"^(\w+):\s+(.*)$", systemd.run("cat", f"/proc/{pid}/status").stdout, re.MULTILINE))
    assert (status["CapEff"], status["CapBnd"]) == ("0" * 16, "0" * 16)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert int(status["Uid"].split()[0]) > 60_000, "a dynamic user"

    folder = f"/var/lib/private/{unit.removesuffix('.service').replace('@', '-')}"
    assert systemd.run("stat", "--format=%a %u", folder).stdout == f"700 {status['Uid'].split()[0]}\n"
    handed_over = systemd.run("stat", "--format=%u", f"{folder}/from-root").stdout.strip()
    assert handed_over == status["Uid"].split()[0], "what root has put there before the first start"
    samples = wait_until(lambda: parse(systemd.get(unit, "/metrics")), SECONDS, "metrics, and so a ledger", every=0.5)
    assert systemd.run("test", "-s", f"{folder}/ledger.db").returncode == 0
    assert (value(samples, "process_start_time_seconds") or 0) > 1e9, "it reads /proc/stat"

    systemd.run("systemctl", "stop", unit)
    assert systemd.property(unit, "Result") == "success"
    assert systemd.property(unit, "ExecMainStatus") == "0"
