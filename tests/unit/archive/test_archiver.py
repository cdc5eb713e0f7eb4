"""Archiving a stretch of time: every run with its details, once, redacted, in the day of its end."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime

import pytest

from prefect_monitoring.analysis.run_document import RunRecord, document
from prefect_monitoring.archive import archiver
from prefect_monitoring.prefect_api.errors import ApiError
from support.reads import READS
from unit.archive.fake_runs import NOON, FakeRuns, at
from unit.archive.site import Site

DAY = 86400.0
SECRET = "Sesam-0451"


def everything(site: Site) -> bytes:
    """The whole content of the archive as readers see it, file names included."""
    texts = [json.dumps(site.files())]
    texts += [repr(site.read(table)) for table in ("runs", "task_runs", "logs")]
    texts += [gzip.decompress((site.folder / key).read_bytes()).decode() for key in site.files("flow-runs")]
    texts += [(site.folder / key).read_text() for key in site.files("_batches")]
    return "\n".join(texts).encode()


async def test_run_is_archived_with_states_task_runs_and_log_lines(archived: Site, fake_runs: FakeRuns) -> None:
    run_id = fake_runs.add(1, NOON, "FAILED", "no rows", parent_task_run_id="parent")
    fake_runs.add_task(run_id, "load", NOON - 1)
    fake_runs.add_task(run_id, "child", NOON - 1, child="run-of-child")
    fake_runs.log(run_id, NOON - 2, "loading", "task-000000")
    fake_runs.log(run_id, NOON - 1, "lone \ud800 surrogate and ü")
    assert await archived.archive(NOON - DAY, NOON + DAY) == 1

    ((*run,),) = archived.read(
        "runs",
        "id, dt::text, flow, deployment, state_type, state_message, tags, parent_task_run_id, version, parameters",
    )
    end = datetime.fromtimestamp(NOON, UTC)
    assert run == [
        run_id,
        str(end.date()),
        "etl",
        "nightly",
        "FAILED",
        "no rows",
        ["nightly"],
        "parent",
        NOON * 1e6,
        None,
    ]
    ((states, complete),) = archived.read("runs", "states, states_complete")
    assert [state["type"] for state in states] == ["RUNNING", "FAILED"]
    assert complete
    assert archived.read("task_runs", "task, state_type, child_flow_run_id") == [
        ("child", "COMPLETED", "run-of-child"),
        ("load", "COMPLETED", None),
    ]
    assert archived.read("logs", "line, message, task_run_id, level, epoch(timestamp)") == [
        (0, "loading", "task-000000", 20, NOON - 2),
        (1, "lone ? surrogate and ü", None, 20, NOON - 1),
    ]
    batches = {batch for table in ("runs", "task_runs", "logs") for (batch,) in archived.read(table, "batch")}
    assert len(batches) == 1


async def test_document_equals_that_of_the_flow_helper(archived: Site, fake_runs: FakeRuns) -> None:
    run_id = fake_runs.add(1, NOON, "FAILED", "password=x no rows")
    fake_runs.add_task(run_id, "load", NOON - 1)
    fake_runs.log(run_id, NOON - 2, "lone \ud800 token=abc")
    await archived.archive(NOON, NOON, archive_parameters=True)
    (key,) = archived.files("flow-runs")
    content = gzip.decompress((archived.folder / key).read_bytes())
    record = RunRecord(fake_runs.runs[run_id], "etl", "nightly", fake_runs.states[run_id], fake_runs.tasks)
    moment = json.loads(content)["archived_at"]
    assert b"".join(document(record, fake_runs.lines, archived_at=moment, with_parameters=True)) == content
    assert key == f"flow-runs/{run_id}.json.gz"


async def test_no_secret_is_written(archived: Site, fake_runs: FakeRuns, caplog: pytest.LogCaptureFixture) -> None:
    parameters = {"password": SECRET, "dsn": f"postgresql://etl:{SECRET}@db/dwh", "nested": [{"api_key": SECRET}]}
    run_id = fake_runs.add(1, NOON, "FAILED", f"cannot open https://user:{SECRET}@db", parameters=parameters)
    fake_runs.states[run_id][0]["message"] = f"token={SECRET}"
    fake_runs.log(run_id, NOON, f"password: {SECRET}")
    fake_runs.add_task(run_id, "load", NOON)
    fake_runs.tasks[0]["state"]["message"] = f"secret={SECRET}"
    await archived.archive(NOON, NOON, archive_parameters=True)
    text = everything(archived)
    assert SECRET.encode() not in text
    assert b"***" in text
    assert SECRET not in caplog.text


async def test_parameters_are_archived_only_on_request(archived: Site, fake_runs: FakeRuns) -> None:
    fake_runs.add(1, NOON, parameters={"rows": "all-of-them"})
    await archived.archive(NOON, NOON)
    assert b"all-of-them" not in everything(archived)


async def test_documents_can_be_disabled(archived: Site, fake_runs: FakeRuns) -> None:
    fake_runs.add(1, NOON)
    assert await archived.archive(NOON, NOON, archive_documents=False) == 1
    assert archived.files("flow-runs") == []
    assert len(archived.read("runs")) == 1


async def test_runs_with_equal_end_times_are_archived_once_each(
    archived: Site, fake_runs: FakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiver, "BATCH_RUNS", 7)
    fake_runs.limit = 3
    ids = [fake_runs.add(number, NOON + number // 5) for number in range(40)]
    for number, run_id in enumerate(ids * 2):
        fake_runs.log(run_id, NOON - 100 + number // 9, f"{run_id} {number}")
        fake_runs.add_task(run_id, "load", NOON)
    assert await archived.archive(NOON - DAY, NOON + DAY) == 40
    assert [run for (run,) in archived.read("runs", "id")] == ids
    assert len(archived.read("logs")) == len({message for (message,) in archived.read("logs", "message")}) == 80
    assert len({task for (task,) in archived.read("task_runs", "id")}) == len(archived.read("task_runs")) == 80
    of_run = [message for run, message in archived.read("logs", "flow_run_id, message") if run == ids[0]]
    assert of_run == [f"{ids[0]} 0", f"{ids[0]} 40"]


async def test_batch_is_bounded_by_bytes(archived: Site, fake_runs: FakeRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archiver, "BATCH_BYTES", 5000)
    for number in range(6):
        fake_runs.add(number, NOON, parameters={"text": "x" * 3000})
    assert await archived.archive(NOON, NOON, archive_parameters=True) == 6
    assert len(archived.files("runs")) == 3


async def test_archived_runs_are_not_written_again_after_a_restart(archived: Site, fake_runs: FakeRuns) -> None:
    fake_runs.add(1, NOON)
    assert await archived.archive(NOON, NOON) == 1
    before = archived.files()
    asked = len(fake_runs.asked)
    assert await archived.archive(NOON, NOON) == 0
    assert archived.files() == before
    assert fake_runs.asked[asked:] == ["/flow_runs/filter"]


async def test_later_change_writes_a_higher_version(archived: Site, fake_runs: FakeRuns) -> None:
    """A manual change keeps the end; a retry moves it to another day."""
    by_hand, retried = fake_runs.add(1, NOON, "FAILED"), fake_runs.add(2, NOON, "FAILED")
    await archived.archive(NOON - DAY, NOON + 3 * DAY)
    fake_runs.end_again(by_hand, "COMPLETED", NOON + 3600)
    fake_runs.end_again(retried, "COMPLETED", NOON + 2 * DAY, end=NOON + 2 * DAY)
    assert await archived.archive(NOON - DAY, NOON + 3 * DAY) == 2
    rows = archived.read("runs", "id, version, state_type, dt::text")
    assert [(run, kind, day) for run, _, kind, day in rows] == [
        (by_hand, "FAILED", "2026-11-28"),
        (by_hand, "COMPLETED", "2026-11-28"),
        (retried, "FAILED", "2026-11-28"),
        (retried, "COMPLETED", "2026-11-30"),
    ]


async def test_run_without_a_state_is_archived_from_its_own_columns(archived: Site, fake_runs: FakeRuns) -> None:
    """Some people prune states by SQL; the server then answers 500 for the run's history."""
    run_id = fake_runs.add(1, NOON, "FAILED")
    fake_runs.runs[run_id] |= {"state": None, "state_id": None}

    def no_history(endpoint: str) -> None:
        if endpoint == "/flow_run_states/":
            raise ApiError("no", "500")

    fake_runs.fault = no_history
    assert await archived.archive(NOON, NOON) == 1
    ((kind, states, complete),) = archived.read("runs", "state_type, states, states_complete")
    assert (kind, [state["type"] for state in states], complete) == ("FAILED", ["FAILED"], False)
    assert await archived.archive(NOON, NOON) == 0


@pytest.mark.parametrize("endpoint", ["/logs/filter", "/task_runs/filter", "/flows/filter", "/flow_run_states/"])
async def test_api_fault_leaves_the_batch_unarchived_until_a_later_pass(
    archived: Site, fake_runs: FakeRuns, endpoint: str
) -> None:
    run_id = fake_runs.add(1, NOON)
    fake_runs.log(run_id, NOON, "line")

    def broken(asked: str) -> None:
        if asked == endpoint:
            raise ApiError("down", "503")

    fake_runs.fault = broken
    with pytest.raises(ApiError):
        await archived.archive(NOON, NOON)
    assert archived.files() == []
    fake_runs.fault = lambda _: None
    assert await archived.archive(NOON, NOON) == 1


async def test_archiver_requests_only_reviewed_endpoints(archived: Site, fake_runs: FakeRuns) -> None:
    run_id = fake_runs.add(1, NOON)
    fake_runs.log(run_id, NOON, "line")
    await archived.archive(NOON, NOON)
    assert set(fake_runs.asked) <= READS


def test_stretches_are_utc_days() -> None:
    stretches = list(archiver.stretches(NOON, NOON + DAY))
    assert [(str(stretch.day), at(stretch.after), at(stretch.before)) for stretch in stretches] == [
        ("2026-11-28", "2026-11-28T12:00:00+00:00", "2026-11-28T23:59:59.999999+00:00"),
        ("2026-11-29", "2026-11-29T00:00:00+00:00", "2026-11-29T12:00:00+00:00"),
    ]
