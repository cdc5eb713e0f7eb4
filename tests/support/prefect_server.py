"""A real Prefect server in a separate process with its own home directory."""

import atexit
import fcntl
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import httpx

from support.http_client import CLIENT
from support.ports import free_port
from support.processes import Process, start, wait_until

_TEMPLATE = "TESTS_PREFECT_TEMPLATE"
START_SECONDS = 90.0  # a first start migrates the database: 5 s when idle, many times that on a busy machine

# Short loops, so that Late and newly scheduled runs appear within seconds; shorter ones take twice the CPU of an idle
# server. The dashboard and telemetry are not needed.
_DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "5",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "PT1S",  # Prefect 3.4 takes no bare number here
    "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "5",
    "PREFECT_SERVER_DATABASE_TIMEOUT": "30",
    "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
}


@dataclass
class PrefectServer:
    url: str  # of the API: http://127.0.0.1:<port>/api
    home: Path
    process: Process
    auth: str | None = None  # "user:password" where the server asks for it
    database_url: str | None = None  # None: SQLite, the file `database`

    @property
    def database(self) -> Path:
        return self.home / "prefect.db"


@contextmanager
def start_server(
    directory: Path,
    *,
    port: int | None = None,
    env: Mapping[str, str] | None = None,
    database_url: str | None = None,
) -> Iterator[PrefectServer]:
    """Run a server on loopback until the block ends.

    `env` overrides its settings: PREFECT_SERVER_API_DEFAULT_LIMIT=50 for a lower page limit,
    PREFECT_SERVER_API_AUTH_STRING=user:password for basic auth. A reused directory keeps its database.
    `database_url` (postgresql+asyncpg://…) replaces SQLite.
    """
    port = port or free_port()
    home = directory / "prefect"
    home.mkdir(parents=True, exist_ok=True)
    settings = {**_DEFAULTS, **(env or {})}
    if database_url:
        settings["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database_url
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    log, env = directory / "server.log", _clean_environment() | {"PREFECT_HOME": str(home)} | settings
    auth = settings.get("PREFECT_SERVER_API_AUTH_STRING") or None
    new = database_url is None and not (home / "prefect.db").exists()
    with ExitStack() as stack:
        with _migrated(home) if new else nullcontext():
            process = start(command, log, env=env, cwd=home)
            stack.callback(process.stop)
            server = PrefectServer(f"http://127.0.0.1:{port}/api", home, process, auth, database_url)
            wait_until(
                lambda: _healthy(server), START_SECONDS, "a Prefect server that answers", ignore=(httpx.HTTPError,)
            )
        yield server


def env_for(server: PrefectServer, *, url: str | None = None, measured: bool = False) -> dict[str, str]:
    """The environment for a subprocess that uses the server, or the proxy at `url`: no settings of the caller.

    `measured`: its coverage is measured, which takes 50 % longer; for code that only processes run.
    """
    home = server.home.parent / "client"
    home.mkdir(exist_ok=True)
    env = _clean_environment(coverage=measured) | {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": url or server.url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # Otherwise Prefect 3.4 caches results in the user's home, where a second test run would find them.
        "PREFECT_LOCAL_STORAGE_PATH": str(home / "storage"),
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(home / "storage"),
    }
    if server.auth:
        env["PREFECT_API_AUTH_STRING"] = server.auth
    return env


def _clean_environment(*, coverage: bool = False) -> dict[str, str]:
    """Our environment without Prefect's settings; measuring the coverage of Prefect itself would only be slow."""
    dropped = ("PREFECT_",) if coverage else ("PREFECT_", "COV", "COVERAGE")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)}


def _healthy(server: PrefectServer) -> bool:
    if not server.process.running:
        raise RuntimeError(f"the Prefect server did not start:\n{server.process.output()[-4000:]}")
    return CLIENT.get(f"{server.url}/health", timeout=2).is_success


def template_folder() -> Path:
    """For the migrated, empty database of the first server of a test run, which all its processes share."""
    if _TEMPLATE not in os.environ:
        os.environ[_TEMPLATE] = tempfile.mkdtemp(prefix="prefect-template-")
        atexit.register(shutil.rmtree, os.environ[_TEMPLATE], ignore_errors=True)
    return Path(os.environ[_TEMPLATE])


@contextmanager
def _migrated(home: Path) -> Iterator[None]:
    """Start a new server in the block: on a copy of the template, or as the one that makes it while the others wait.

    Migrating takes seven seconds of CPU time.
    """
    template = template_folder()
    with (template / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (template / "prefect.db").exists():
            yield
            _copy(home, template)
            return
    _copy(template, home)
    yield


def _copy(source: Path, target: Path) -> None:
    if not (source / "prefect.db").exists():
        return
    with closing(sqlite3.connect(source / "prefect.db")) as old, closing(sqlite3.connect(target / "prefect.db")) as new:
        old.backup(new)  # consistent also while a server writes to it
    if (source / "memo_store.toml").exists():  # says which block types are registered
        shutil.copy(source / "memo_store.toml", target)
