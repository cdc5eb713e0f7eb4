"""archive_logs: addresses, pages of log lines, and memory, without a server."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_monitoring.analysis.run_document import RunRecord, document, document_key
from prefect_monitoring.flows import archive, archive_logs
from prefect_monitoring.flows.archive import _Logs

FAR = float("inf")
RUN = {"id": "r1", "name": "brave-owl", "state": {"id": "s", "type": "FAILED", "name": "Failed", "message": "pwd=x y"}}


class Server:
    """Answers /logs/filter as Prefect does: by page, sorted by time, equal timestamps in any order."""

    def __init__(self, lines: list[dict[str, Any]], limit: int) -> None:
        self._lines = lines
        self._limit = limit
        self.asked = 0

    def request(self, method: str, path: str, *, json: dict[str, Any]) -> Server:
        self.asked += 1
        after = json["logs"].get("timestamp", {}).get("after_", "")
        # The order of equal timestamps depends on the request.
        rows = sorted(
            (line for line in self._lines if line["timestamp"] >= after),
            key=lambda line: (line["timestamp"], hash((line["id"], after))),
        )
        self._page = rows[json["offset"] : json["offset"] + self._limit]
        return self

    def json(self) -> list[dict[str, Any]]:
        return self._page


@given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 7))
def test_logs_of_any_timestamps_are_read_once_each_in_order(seconds: list[int], limit: int) -> None:
    lines = [{"id": str(at), "timestamp": f"2026-11-29T20:00:{second:02}"} for at, second in enumerate(seconds)]
    logs = _Logs(Server(lines, limit), "r1", FAR)  # type: ignore[arg-type]
    read = list(logs.read())
    assert sorted(line["id"] for line in read) == sorted(line["id"] for line in lines)
    assert [line["timestamp"] for line in read] == sorted(line["timestamp"] for line in lines)
    assert logs.is_complete


def test_logs_past_the_deadline_are_left_out_and_marked_incomplete() -> None:
    logs = _Logs(Server([{"id": "1", "timestamp": "t"}], 10), "r1", float("-inf"))  # type: ignore[arg-type]
    assert list(logs.read()) == []
    assert not logs.is_complete


def written(logs: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    record = RunRecord(RUN | {"parameters": {"api_key": "k", "rows": 3}}, "etl", "", [RUN["state"]], [])
    pieces = document(record, logs, archived_at="now", **({"with_parameters": False} | options))
    found: dict[str, Any] = json.loads(b"".join(pieces))
    return found


def test_document_holds_run_states_and_lines_redacted() -> None:
    logs = [{"timestamp": "t1", "level": 20, "name": "n", "message": "token=abc \ud800", "id": "1", "extra": 1}]
    document = written(logs, is_complete=lambda: False)
    assert document["schema_version"] == 1
    assert document["flow_run"]["state"]["message"] == "pwd=*** y"
    assert "parameters" not in document["flow_run"]
    assert document["logs"] == [
        {"timestamp": "t1", "level": 20, "name": "n", "task_run_id": None, "message": "token=*** \ud800"}
    ]
    assert (document["logs_complete"], document["deployment"]) == (False, None)


def test_document_parameters_on_request_are_redacted() -> None:
    assert written([], with_parameters=True)["flow_run"]["parameters"] == {"api_key": "***", "rows": 3}


def test_document_of_many_lines_is_built_in_little_memory() -> None:
    record = RunRecord(RUN, "etl", "", [], [])
    lines = ({"timestamp": "t", "level": 20, "name": "n", "message": f"line {number}"} for number in range(20_000))
    tracemalloc.start()
    size = sum(map(len, document(record, lines, archived_at="now", with_parameters=False)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 1_500_000
    assert peak < 200_000


def test_document_key_names_the_run() -> None:
    assert document_key("r1") == "flow-runs/r1.json.gz"


@pytest.mark.parametrize("to", ["", "/var/archive", "s3://", "file://host/x", "file:relative", "https://x/y"])
def test_archive_logs_to_another_address_is_refused(to: str) -> None:
    with pytest.raises(ValueError, match="neither s3"):
        archive_logs(to)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_archive_logs_without_time_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="max_seconds"):
        archive_logs("file:///var/archive", max_seconds=seconds)


def test_archive_logs_to_s3_without_boto3_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(archive, "find_spec", lambda name: None)
    archive_logs("s3://bucket/prefix")
    assert "pip install 'prefect-monitoring[aws]'" in caplog.text
    caplog.clear()
    archive_logs("file:///var/archive")
    assert not caplog.messages
