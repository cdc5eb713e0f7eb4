"""A stand-in for a container engine: starts the services of docker-compose.yml with this machine's programs.

Each service gets what Compose would give it: its own root file system, read-only if configured; its mounts, secrets
and environment; its user, without capabilities; the names of services on shared networks; and its health
check. All are in one network namespace without external access, each with its own address.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from stack.compose import OWN_IMAGE, ROOT, image_of
from stack.contain import as_user
from support.processes import Process, start

_CLONE_NEWNET = 0x40000000
_ENVIRONMENT = "/opt/prefect-monitoring"  # where the Dockerfile puts it
_CHECKOUT = "/opt/checkout"
_PROBE_SECONDS = 0.7


class EngineError(Exception):
    """The stack does not start; the message has the service and the reason."""


def unavailable() -> str:
    """The reason why namespaces are unavailable; "" if they are available."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs Linux, and root for namespaces and for services that run as users of their own"
    done = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "mount", "-t", "proc", "proc", "/proc"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"namespaces are not allowed here: {done.stderr.strip()}" if done.returncode else ""


@dataclass
class Container:
    name: str
    service: Mapping[str, Any]
    environment: dict[str, str]
    uid: int
    gid: int
    process: Process
    healthy: bool = False
    probed_at: float = 0.0
    probe_output: str = ""

    @property
    def pid(self) -> int:
        """The id of its first process in our namespace; 0 if it has ended."""
        parent = self.process.pid
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        except FileNotFoundError:
            return 0
        return int(children[0]) if children else 0

    def run(self, command: list[str], timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Runs a command in it, like `docker compose exec`."""
        inside = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--root", "--wd"]
        return subprocess.run(
            [*inside, "--", *as_user(self.uid, self.gid), *command],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def probe(self) -> bool:
        """Runs its health check once."""
        kind, *command = self.service["healthcheck"]["test"]
        assert kind == "CMD", self.service["healthcheck"]
        done = self.run(command)
        self.probe_output = f"{done.stdout}{done.stderr}".strip()
        return done.returncode == 0


@dataclass
class Engine:
    directory: Path
    services: Mapping[str, Mapping[str, Any]]
    secrets: Mapping[str, Mapping[str, Any]]
    containers: dict[str, Container] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Ends with this process, even if that is killed.
        keep = "ip link set lo up && exec setpriv --pdeathsig KILL sleep infinity"
        self._network = start(["unshare", "--net", "sh", "-c", keep], self.directory / "network.log")
        time.sleep(0.2)
        self._visitor = ThreadPoolExecutor(1, initializer=self._enter_network)
        self._programs = self._make_programs()

    def _enter_network(self) -> None:
        """Enters the network namespace, for the sockets of the calling thread only."""
        with Path(f"/proc/{self._network.pid}/ns/net").open() as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")

    def request(self, method: str, service: str, path: str, **options: Any) -> httpx.Response:
        """Sends a request to the address of a service, at the port that it publishes."""
        port = self.services[service]["ports"][0]["target"]
        url = f"http://{self._address(service)}:{port}{path}"
        return self._visitor.submit(httpx.request, method, url, timeout=10, trust_env=False, **options).result()

    def up(self, seconds: float) -> None:
        """Starts everything in the order of `depends_on`. Raises EngineError."""
        deadline = time.monotonic() + seconds
        waiting = set(self.services)
        while waiting or not all(self._settled(one) for one in self.containers.values()):
            for name in sorted(waiting):
                if all(self._met(other, how["condition"]) for other, how in self._needs(name)):
                    self.containers[name] = self._start(name)
                    waiting.discard(name)
            self._check_processes()
            if time.monotonic() > deadline:
                raise EngineError(self._report(f"not up within {seconds:g} s", waiting))
            time.sleep(0.05)

    def down(self) -> None:
        for container in reversed(self.containers.values()):
            container.process.kill()  # and all processes in its namespace
        self._visitor.shutdown()
        self._network.kill()

    # --- starting ----------------------------------------------------------------------------------------------------

    def _start(self, name: str) -> Container:
        service = self.services[name]
        image = image_of(dict(service))
        uid, gid = map(int, (service.get("user") or image.user).split(":"))
        own = service["image"] == OWN_IMAGE
        environment = image.environment | (service.get("environment") or {})
        environment |= {"PYTHONPATH": f"{_CHECKOUT}/exporter"} if own else {}
        # An entry point in the file removes the image's command.
        command = service.get("command") or ([] if service.get("entrypoint") else image.command)
        home = self.directory / name
        (home / "root").mkdir(parents=True)
        spec = {
            "root": str(home / "root"),
            "uid": uid,
            "gid": gid,
            "hosts": self._hosts(name),
            "binds": [*self._mounts(name, uid, gid), *(self._programs if own else [])],
            "tmpfs": [path.partition(":")[::2] for path in service.get("tmpfs", [])],
            "read_only": service.get("read_only", False),
            "environment": environment,
            "argv": [*(service.get("entrypoint") or image.entrypoint), *command],
        }
        (home / "spec.json").write_text(json.dumps(spec))
        # Ends with this process, like the network.
        enter = ["setpriv", "--pdeathsig=KILL", "nsenter", f"--net=/proc/{self._network.pid}/ns/net"]
        isolate = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        contain = [sys.executable, str(Path(__file__).with_name("contain.py")), str(home / "spec.json")]
        process = start([*enter, *isolate, *contain], self.directory / f"{name}.log")
        return Container(name, service, environment, uid, gid, process)

    def _mounts(self, name: str, uid: int, gid: int) -> list[tuple[str, str, str]]:
        binds = []
        for mount in self.services[name].get("volumes", []):
            source = Path(mount["source"])
            if mount["type"] == "volume":
                source = self.directory / "volumes" / mount["source"]
                source.mkdir(parents=True, exist_ok=True)
                os.chown(source, uid, gid)  # a new volume takes its owner and mode from the image's folder
                source.chmod(0o700)
            elif not source.exists():
                raise EngineError(f"{name}: {source} does not exist")
            binds.append((str(source), mount["target"], "ro" if mount.get("read_only") else "rw"))
        for secret in self.services[name].get("secrets", []):
            file = Path(self.secrets[secret["source"]]["file"])
            if not file.is_file():
                raise EngineError(f"{name}: the secret {file} does not exist")
            binds.append((str(file), secret["target"], "ro"))
        return binds

    def _make_programs(self) -> list[tuple[str, str, str]]:
        """Our Python environment, at its path in the image."""
        programs = self.directory / "bin"
        programs.mkdir()
        for name in ("prefect-monitoring", "prefect"):
            script = (Path(sys.executable).parent / name).read_text().partition("\n")[2]
            (programs / name).write_text(f"#!{_ENVIRONMENT}/bin/python\n{script}")
            (programs / name).chmod(0o755)
        (programs / "python").symlink_to(Path(sys.executable).resolve())
        return [
            (str(Path(sys.prefix).resolve()), _ENVIRONMENT, "ro"),
            (str(programs), f"{_ENVIRONMENT}/bin", "ro"),
            (str(Path(sys.base_prefix).resolve()), str(Path(sys.base_prefix).resolve()), "ro"),
            (str(ROOT), _CHECKOUT, "ro"),
        ]

    # --- names and conditions ----------------------------------------------------------------------------------------

    def _address(self, name: str) -> str:
        return f"127.0.1.{sorted(self.services).index(name) + 1}"

    def _hosts(self, name: str) -> str:
        networks = set(self.services[name]["networks"])
        near = [other for other, one in self.services.items() if networks & set(one["networks"])]
        return "".join(f"{self._address(other)} {other}\n" for other in near) + "127.0.0.1 localhost\n"

    def _needs(self, name: str) -> list[tuple[str, Mapping[str, Any]]]:
        return list(self.services[name].get("depends_on", {}).items())

    def _met(self, name: str, condition: str) -> bool:
        container = self.containers.get(name)
        if container is None:
            return False
        if condition == "service_completed_successfully":
            return container.process.popen.poll() == 0
        assert condition == "service_healthy", condition
        return container.healthy

    def _settled(self, container: Container) -> bool:
        """Grafana counts as settled, because it is not run."""
        if container.service["image"].startswith("grafana/"):
            return True
        if container.service["healthcheck"].get("disable"):
            return container.process.popen.poll() == 0
        return container.healthy

    def _check_processes(self) -> None:
        for container in self.containers.values():
            code = container.process.popen.poll()
            if code is not None and not (code == 0 and container.service["healthcheck"].get("disable")):
                raise EngineError(self._report(f"{container.name} ended with {code}", {container.name}))
            if (
                not self._settled(container)
                and time.monotonic() > container.probed_at + _PROBE_SECONDS
                and container.pid
            ):
                if not container.service["healthcheck"].get("disable"):
                    container.healthy = container.probe()
                container.probed_at = time.monotonic()

    def _report(self, problem: str, names: set[str]) -> str:
        lines = [problem]
        for container in self.containers.values():
            if not self._settled(container) or container.name in names:
                lines.append(f"{container.name} is unhealthy: {container.probe_output}")
                lines.append(container.process.output()[-2000:])
        not_started = sorted(names - set(self.containers))
        return "\n".join([*lines, f"not started: {not_started}" if not_started else ""])
