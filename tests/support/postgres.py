"""A real PostgreSQL for tests."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.ports import free_port
from support.processes import Process, start, wait_until

START_SECONDS = 30.0
_INSTALLED = Path("/usr/lib/postgresql")  # where Debian keeps what is not on PATH
_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "unix_socket_directories=")


@dataclass
class Postgres:
    port: int
    process: Process

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        """A new, empty database; returns its URL."""
        _run("createdb", "--host=127.0.0.1", f"--port={self.port}", "--username=postgres", database)
        return self.url(database)


@contextmanager
def start_postgres(directory: Path) -> Iterator[Postgres]:
    """Run a cluster on loopback until the block ends; its log stays in `directory`, its data do not."""
    # Not within `directory`: pytest's directories are closed to other users, and PostgreSQL refuses to run as root.
    data = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        if _is_root():
            shutil.chown(data, "postgres", "postgres")
        _run("initdb", f"--pgdata={data}", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")
        port = free_port()
        options = [f"--{option}" for option in ("listen_addresses=127.0.0.1", f"port={port}", *_FAST)]
        command = [*_as_postgres(), binary("postgres"), "-D", str(data), *options]
        running = Postgres(port, start(command, directory / "postgres.log", cwd=data))
        try:
            wait_until(lambda: _ready(running), START_SECONDS, "a PostgreSQL that answers")
            yield running
        finally:
            running.process.popen.send_signal(signal.SIGINT)  # SIGTERM would wait for its clients to leave
            running.process.stop()
    finally:
        shutil.rmtree(data, ignore_errors=True)


def binary(name: str) -> str:
    newest_first = sorted(_INSTALLED.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]), reverse=True)
    path = shutil.which(name) or (str(newest_first[0]) if newest_first else None)
    if not path:
        raise RuntimeError(f"{name} is not there: run `bash tests/support/install_servers.sh`")
    return path


def _run(name: str, *arguments: str) -> None:
    command = [*_as_postgres(), binary(name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd="/")
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stdout}{done.stderr}")


def _ready(postgres: Postgres) -> bool:
    if not postgres.process.running:
        raise RuntimeError(f"PostgreSQL did not start:\n{postgres.process.output()[-4000:]}")
    command = [binary("pg_isready"), "--host=127.0.0.1", f"--port={postgres.port}", "--quiet"]
    return subprocess.run(command, timeout=10, check=False).returncode == 0


def _as_postgres() -> list[str]:
    if not _is_root():
        return []
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        raise RuntimeError("PostgreSQL needs a user `postgres` to run as: its package makes one") from None
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]


def _is_root() -> bool:
    return os.geteuid() == 0
