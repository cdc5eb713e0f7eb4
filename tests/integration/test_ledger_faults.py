"""Faults of the ledger's file: a clear message, old numbers in the meantime, and complete numbers afterwards."""

import logging
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from filelock import FileLock
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_monitoring.cli import main
from prefect_monitoring.commands.check import check
from prefect_monitoring.commands.serve import ledger_of
from prefect_monitoring.config.loading import load_settings
from prefect_monitoring.ingest.sources import lookbacks
from prefect_monitoring.ledger import sqlite
from prefect_monitoring.ledger.errors import LedgerError
from prefect_monitoring.ledger.migrations import VERSION_TABLE, revisions
from prefect_monitoring.web.app import make_app
from support.exporter import Exporter, run_exporter, start_exporter
from support.exposition import outcomes, value
from support.prefect_server import PrefectServer, env_for
from support.processes import busyness, wait_until
from support.rig import Rig, rig
from support.seeder import Seeder
from support.truth import truth


async def ask(exporter: Rig, path: str) -> httpx.Response:
    settings = load_settings(exporter.options, {})
    app = make_app(exporter.published, settings.web, settings.poll)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://exporter") as client:
        return await client.get(path)


def refused(env: dict[str, str], directory: Path, *options: str, within: float = 30) -> str:
    """Starts `serve`, which must exit with code 2; returns its output."""
    exporter = run_exporter(env, directory, *options)
    try:
        code = exporter.process.popen.wait(within)
    finally:
        exporter.process.kill()
    output = exporter.process.output()
    assert code == 2, output
    assert "Traceback" not in output
    return output


@pytest.fixture
def filled(server: PrefectServer, seeder: Seeder, unique: str) -> str:
    """A flow with two failures."""
    flow = seeder.flow(f"{unique}etl")
    for _ in range(2):
        seeder.failed(seeder.run(flow))
    return flow


def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root; tests/unit/ledger/test_ledger.py simulates the same faults in SQLite")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    needs_root()
    directory = tmp_path / "disk"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", directory], check=True)
    yield directory
    subprocess.run(["umount", directory], check=True)


# --- refused at the start ------------------------------------------------------------------------------------------


async def test_ledger_of_another_server_is_refused(
    server: PrefectServer, unique: str, filled: str, tmp_path: Path
) -> None:
    elsewhere = "http://elsewhere.example:4200/api"
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        before = await exporter.totals(unique)
    output = refused(env_for(server, url=elsewhere), tmp_path)
    assert server.url in output
    assert elsewhere in output
    assert "--moved-from" in output
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        assert outcomes(exporter.samples, flow_prefix=unique) == before, "the ledger is unchanged"
        await exporter.restart(moved_from="http://nobody.example/api")
        assert outcomes(exporter.samples, flow_prefix=unique) == before


def test_second_process_on_a_ledger_waits_for_the_first(
    server: PrefectServer, unique: str, filled: str, tmp_path: Path
) -> None:
    options = ("--include-flows", f"{unique}.*", "--birth-hold", "0s")
    with start_exporter(env_for(server), tmp_path, *options) as first:
        first.wait_ready()
        output = refused(env_for(server), tmp_path, *options)
        assert "in use by another prefect-monitoring" in output
        second = run_exporter(env_for(server), tmp_path, *options, "--ledger-wait", "60s")
        try:
            time.sleep(3)
            assert second.process.running, second.process.output()
            counted = outcomes(first.samples, flow_prefix=unique)
            assert first.process.stop() == 0
            second.wait_serving()
            assert outcomes(second.samples, flow_prefix=unique) == counted == truth(server.url, flow_prefix=unique)
        finally:
            assert second.process.stop() == 0, second.process.output()


def test_process_that_waits_for_its_ledger_answers_probes(server: PrefectServer, tmp_path: Path) -> None:
    """Scrapes and probes must not hang meanwhile, and a signal ends the wait."""
    with FileLock(tmp_path / "ledger.db.lock"):
        waiting = run_exporter(env_for(server), tmp_path, "--ledger-wait", "60s")
        try:
            wait_until(lambda: waiting.get("/-/ready"), 60, "an answer", ignore=(httpx.ConnectError,))
            begun = time.monotonic()
            assert waiting.get("/-/ready").status_code == 503
            assert time.monotonic() - begun < 20 * busyness()
            assert waiting.process.running, waiting.process.output()
        finally:
            begun = time.monotonic()
            code = waiting.process.stop()
    assert time.monotonic() - begun < 20 * busyness()
    assert code == 0, waiting.process.output()


@contextmanager
def unwritable(kind: str, directory: Path) -> Iterator[Path]:
    """A directory for a ledger that not even root can write to."""
    if kind == "below a file":
        (directory / "file").write_text("no directory")
        yield directory / "file"
        return
    needs_root()
    target = directory / "target"
    target.mkdir()
    if kind == "read-only mount":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,ro", "tmpfs", target], check=True)
        yield target
        subprocess.run(["umount", target], check=True)
        return
    subprocess.run(["chattr", "+i", target], check=True)
    yield target
    subprocess.run(["chattr", "-i", target], check=True)


@pytest.mark.parametrize("kind", ["read-only mount", "immutable directory", "below a file"])
def test_unwritable_directory_is_refused(
    server: PrefectServer, tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    with unwritable(kind, tmp_path) as directory:
        url = f"sqlite:///{directory / 'ledger.db'}"
        output = refused(env_for(server), tmp_path, "--ledger-url", url)
        assert str(directory) in output
        assert "ledger_url elsewhere" in output
        with _api(server):
            assert main(["check", "--ledger-url", url]) == 2
        printed = capfd.readouterr().out
        assert "FAULT  ledger: " in printed
        assert str(directory) in printed
        assert "ok     Prefect API" in printed


@pytest.mark.parametrize("what", ["file", "everything"])
async def test_unwritable_ledger_is_refused(
    server: PrefectServer, unique: str, filled: str, tmp_path: Path, what: str
) -> None:
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        before = await exporter.totals(unique)
    ledger = tmp_path / "ledger.db"
    with frozen(ledger if what == "file" else tmp_path):
        settings = load_settings({"ledger_url": f"sqlite:///{ledger}"}, {})
        with pytest.raises(LedgerError, match=r"read-only|cannot be (opened|taken|written)") as raised:
            ledger_of(settings.ledger, settings.metrics, server.url, lookbacks(settings.history))
        assert str(ledger) in str(raised.value)
        assert "right to write there" in str(raised.value)
        with _api(server):
            (finding,) = [result for result in await check(settings) if result.text.startswith("ledger")]
        assert not finding.ok, finding.text
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        assert outcomes(exporter.samples, flow_prefix=unique) == before


@contextmanager
def frozen(path: Path) -> Iterator[None]:
    """Makes the path, and the contents of a directory, immutable even for root."""
    paths = [path, *(path.iterdir() if path.is_dir() else ())]
    paths = [entry for entry in paths if entry.is_dir() or entry.is_file()]
    subprocess.run(["chattr", "+i", *paths], check=True)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", *paths], check=True)


@pytest.mark.parametrize("damage", ["header", "pages", "another program's"])
async def test_damaged_ledger_is_refused_and_left_alone(
    server: PrefectServer,
    unique: str,
    filled: str,
    tmp_path: Path,
    damage: str,
) -> None:
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        await exporter.poll()
    ledger = tmp_path / "ledger.db"
    if damage == "header":
        with ledger.open("r+b") as file:
            file.write(os.urandom(100))
    elif damage == "pages":
        size = ledger.stat().st_size
        with ledger.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(size - 4096))
    else:
        ledger.unlink()
        with closing(sqlite3.connect(ledger)) as database:
            database.execute("create table diary (entry)")
    before = ledger.read_bytes()
    output = refused(env_for(server), tmp_path)
    assert str(ledger) in output
    assert "not a ledger" in output if damage.startswith("another") else "damaged" in output and "backup" in output
    settings = load_settings({"ledger_url": f"sqlite:///{ledger}"}, {})
    with _api(server):
        (finding,) = [result for result in await check(settings) if result.text.startswith("ledger")]
    assert not finding.ok, finding.text
    assert ledger.read_bytes() == before, "the file is left for a rescue by hand"


async def test_ledger_of_a_newer_release_is_refused(
    server: PrefectServer, unique: str, filled: str, tmp_path: Path
) -> None:
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        before = await exporter.totals(unique)
    _set_revision(tmp_path / "ledger.db", "9999")
    output = refused(env_for(server), tmp_path)
    assert "of revision 9999" in output
    assert "newer release" in output
    _set_revision(tmp_path / "ledger.db", revisions()[-1])
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        assert outcomes(exporter.samples, flow_prefix=unique) == before


def _set_revision(ledger: Path, revision: str) -> None:
    with closing(sqlite3.connect(ledger)) as database, database:
        database.execute(f"update {VERSION_TABLE} set version_num = ?", (revision,))


@contextmanager
def _api(server: PrefectServer) -> Iterator[None]:
    with temporary_settings({PREFECT_API_URL: server.url}):
        yield


# --- while it runs -------------------------------------------------------------------------------------------------


async def fails_and_recovers(
    exporter: Rig,
    server: PrefectServer,
    seeder: Seeder,
    unique: str,
    flow: str,
    caplog: pytest.LogCaptureFixture,
    trouble: AbstractContextManager[None],
    reason: str,
) -> None:
    caplog.set_level(logging.DEBUG, logger="prefect_monitoring")
    await exporter.inventory()
    before = await exporter.totals(unique)
    assert (await ask(exporter, "/-/ready")).status_code == 200
    caplog.clear()
    with trouble:
        for _ in range(3):
            seeder.completed(seeder.run(flow))
            seeder.failed(seeder.run(flow))
            await exporter.poll()
            assert outcomes(exporter.samples, flow_prefix=unique) == before, "old values, no reset"
        samples = exporter.samples
        assert value(samples, "prefect_exporter_source_up", source="finished_flow_runs") == 0
        assert value(samples, "prefect_flow_run_consecutive_failures", flow=f"{unique}etl", deployment="") == 2
        ready = await ask(exporter, "/-/ready")
        assert ready.status_code == 503
        assert reason in ready.text
        assert (await ask(exporter, "/metrics")).status_code == 200
        assert reason in (await ask(exporter, "/")).text
        assert (await ask(exporter, "/-/healthy")).status_code == 200, "a restart would not help"
        warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(warnings) == 1, warnings
        assert reason in warnings[0]
    await exporter.poll(2)
    assert (await ask(exporter, "/-/ready")).text == "ready\n"
    assert outcomes(exporter.samples, flow_prefix=unique) == truth(server.url, flow_prefix=unique)
    assert value(exporter.samples, "prefect_flow_run_consecutive_failures", flow=f"{unique}etl", deployment="") == 1
    expected = outcomes(exporter.samples, flow_prefix=unique)
    await exporter.restart()
    assert outcomes(exporter.samples, flow_prefix=unique) == expected, "it is on disk"


@contextmanager
def locked(ledger: Path) -> Iterator[None]:
    """Another program locks the file, as a backup or a shell would."""
    with closing(sqlite3.connect(ledger, isolation_level=None)) as database:
        database.execute("begin exclusive")
        yield
        database.execute("rollback")


async def test_ledger_locked_by_another_program_recovers(
    server: PrefectServer,
    seeder: Seeder,
    unique: str,
    filled: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_SECONDS", 0.1)
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        trouble = locked(tmp_path / "ledger.db")
        reason = "locked by another program"
        await fails_and_recovers(exporter, server, seeder, unique, filled, caplog, trouble, reason)


async def test_failing_ledger_leaves_prefect_up_at_one(
    server: PrefectServer, unique: str, filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_SECONDS", 0.1)
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        await exporter.poll(2)
        with locked(tmp_path / "ledger.db"):
            await exporter.poll()
            assert value(exporter.samples, "prefect_up") == 1, "no page about Prefect"


@contextmanager
def full(disk: Path) -> Iterator[None]:
    with closing(sqlite3.connect(disk / "ledger.db")) as ledger:
        ledger.execute("pragma wal_checkpoint(truncate)")  # otherwise a small commit would fit into the existing log
    with (disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(b"x" * 4096)
    assert not os.statvfs(disk).f_bavail
    yield
    (disk / "ballast").unlink()


async def test_full_disk_keeps_old_values_and_recovers(
    server: PrefectServer,
    seeder: Seeder,
    unique: str,
    filled: str,
    small_disk: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with rig(server.url, small_disk, include_flows=f"{unique}.*") as exporter:
        reason = "No room is left for the ledger"
        await fails_and_recovers(exporter, server, seeder, unique, filled, caplog, full(small_disk), reason)


async def test_read_only_ledger_keeps_old_values_and_recovers(
    server: PrefectServer,
    seeder: Seeder,
    unique: str,
    filled: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As the kernel remounts a file system with errors; with open files it refuses to, so SQLite simulates it."""
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:

        def set_read_only(on: int) -> None:
            with closing(exporter.reader.ledger._database.engine.raw_connection()) as connection:
                connection.cursor().execute(f"pragma query_only = {on}")

        @contextmanager
        def read_only() -> Iterator[None]:
            set_read_only(1)
            yield
            set_read_only(0)

        await fails_and_recovers(exporter, server, seeder, unique, filled, caplog, read_only(), "is read-only")


def test_full_disk_does_not_stop_the_process(
    server: PrefectServer, seeder: Seeder, unique: str, filled: str, small_disk: Path
) -> None:
    options = ("--include-flows", f"{unique}.*", "--birth-hold", "0s")
    with start_exporter(env_for(server), small_disk, *options) as exporter:
        exporter.wait_ready()
        _shows(exporter, unique, 2)
        with full(small_disk):
            seeder.failed(seeder.run(filled))
            wait_until(lambda: exporter.get("/-/ready").status_code == 503, 60, "not ready")
            assert "No room is left" in exporter.get("/-/ready").text
            _shows(exporter, unique, 2)
        wait_until(lambda: _failures(exporter, unique) == 3, 60, "the missed failure")
        exporter.wait_ready()
        assert exporter.process.stop() == 0


def _failures(exporter: Exporter, unique: str) -> float | None:
    return outcomes(exporter.samples)[f"{unique}etl", "", "failed"]


def _shows(exporter: Exporter, unique: str, count: int) -> None:
    assert outcomes(exporter.samples, flow_prefix=unique) == {(f"{unique}etl", "", "failed"): count}
