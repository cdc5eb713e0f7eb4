"""Hooks as Prefect calls them, without a Slack."""

from __future__ import annotations

import inspect
import sys

import pytest

from prefect_monitoring.flows import archive_logs, notify_slack, slack_crashed, slack_failure, slack_success, slo


@pytest.mark.parametrize(
    "hook",
    [slack_failure("alerts"), slack_success("alerts"), slack_crashed("alerts"), archive_logs("file:///var/archive")],
)
def test_hooks_accept_the_keywords_of_prefects_runner(hook: object) -> None:
    assert list(inspect.signature(hook).parameters) == ["flow", "flow_run", "state"]  # type: ignore[arg-type]


def test_hooks_are_named_for_the_runs_log() -> None:
    hooks = (slack_failure("alerts"), slack_success("alerts"), slack_crashed("alerts"))
    assert [hook.__name__ for hook in hooks] == ["slack_failure", "slack_success", "slack_crashed"]
    assert archive_logs("file:///var/archive").__name__ == "archive_logs"


@pytest.mark.parametrize(
    "use",
    [
        lambda: slack_failure("alerts"),
        lambda: slack_success("alerts"),
        lambda: slack_crashed("alerts"),
        lambda: notify_slack("alerts", "late"),
        lambda: slo(max_rows=1, slack="alerts"),
    ],
)
def test_slack_without_prefect_slack_raises_where_it_is_used_and_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, use: object
) -> None:
    monkeypatch.setitem(sys.modules, "prefect_slack", None)
    with pytest.raises(ImportError, match=r"pip install 'prefect-monitoring\[slack\]'"):
        use()  # type: ignore[operator]
