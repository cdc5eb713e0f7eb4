"""API faults while a backfill loads."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from prefect_monitoring.backfill import loading
from prefect_monitoring.ingest.source import Reading
from prefect_monitoring.prefect_api.errors import ApiError, ThrottledError


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "PATIENCE_SECONDS", (0.01, 0.02))


class Reader:
    """Raises each of `faults` in turn, then reads."""

    def __init__(self, *faults: Exception) -> None:
        self._faults: Iterator[Exception] = iter(faults)
        self.tries = 0

    async def read(self) -> Reading:
        self.tries += 1
        for fault in self._faults:
            raise fault
        return Reading(7)


async def test_api_faults_are_retried_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    reader = Reader(ThrottledError("asked for a pause", "429", 0.03), ApiError("answered 500", "500"))
    with caplog.at_level(logging.INFO):
        assert await loading._patiently(lambda: reader.read()) == Reading(7)  # as its callers do
    messages = [record.message for record in caplog.records]
    assert messages == ["asked for a pause; trying again in 0 s", "answered 500; trying again in 0 s"]


async def test_persistent_fault_is_raised_after_the_last_wait() -> None:
    reader = Reader(*[ApiError(f"answered 500, try {number}", "500") for number in range(1, 9)])
    with pytest.raises(ApiError, match="try 3"):
        await loading._patiently(reader.read)
    assert reader.tries == 3


@pytest.mark.parametrize("code", ["401", "403"])
async def test_refused_credentials_are_not_retried(code: str) -> None:
    reader = Reader(ApiError("refused", code))
    with pytest.raises(ApiError, match="refused"):
        await loading._patiently(reader.read)
    assert reader.tries == 1


async def test_defect_in_the_exporter_is_not_retried() -> None:
    reader = Reader(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await loading._patiently(reader.read)
    assert reader.tries == 1
