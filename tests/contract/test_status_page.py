"""The status page and the alerts agree: the same thresholds, the same states, and an alert for each condition."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml

from prefect_monitoring.model.records import labels_of
from prefect_monitoring.model.run_stats import SLO_WINDOW
from prefect_monitoring.web.status_page.conditions import CONDITIONS
from prefect_monitoring.web.status_page.thresholds import BASELINE_WINDOW, RUNNING_STATES, THRESHOLDS, Thresholds
from support.promql_numbers import Comparison, Place, comparisons, numbers, selectors, series

ROOT = Path(__file__).parents[2]
OLDEST = "prefect_flow_run_oldest_state_timestamp_seconds"
RUNNING = series(OLDEST, state=RUNNING_STATES)
USUAL = "flow_deployment:prefect_flow_run_duration_seconds:usual"
COMPLETED = series("prefect_flow_run_last_outcome_timestamp_seconds", state=labels_of("COMPLETED"))
MAX_DURATION = "prefect_slo_max_duration_seconds"
BUDGET = "flow_deployment:prefect_slo_budget_runs"
GRACE = "flow_deployment:prefect_slo_grace_seconds:with_duration"
ALLOWED_OF = ("prefect_slo_objective_ratio", series("prefect_flow_run_window_runs", window=SLO_WINDOW))
# Truth tests: comparisons of gauges that are 0 or 1, or of counts with 0.
TRUTHS = {("x == n", 1.0), ("x > n", 0.0)}


def place(form: str, *selectors: str) -> Place:
    return Place(form, frozenset(selectors))


# Thresholds of PrefectZombieRun, for runs that the page shows as too long well before.
NOT_ON_THE_PAGE = {
    place("n * x", MAX_DURATION),
    place("clamp_min(x, n)", MAX_DURATION),
    place("n * x", USUAL),
    place("clamp_min(x, n)", USUAL),
}


def in_rules(thresholds: Thresholds) -> dict[str, dict[Place, float]]:
    """The numbers that each rule must have, by the name of its alert or record."""
    failed = place("x >= n", "flow_run:prefect_flow_run_failures_unresolved:alerting")
    stuck_states: dict[int, list[str]] = {}
    for state, seconds in thresholds.stuck_seconds.items():
        stuck_states.setdefault(seconds, []).append(state)
    return {
        "PrefectRunFailed": {failed: thresholds.failed_runs},
        "PrefectRunCrashed": {failed: thresholds.failed_runs},
        "PrefectStartMissed": {
            place("x > n", "prefect_deployment_last_due_timestamp_seconds"): thresholds.start_missed_seconds
        },
        "PrefectRunStuck": {
            place("x > n", series(OLDEST, state=states[0] if len(states) == 1 else tuple(states))): seconds
            for seconds, states in stuck_states.items()
        },
        "PrefectRunTooLong": {
            place("n * x", USUAL): thresholds.long_run_factor,
            place("clamp_min(x, n)", USUAL): thresholds.long_run_min_seconds,
        },
        "PrefectZombieRun": {
            place("n * x", "flow_deployment:prefect_pipeline_info:highest"): thresholds.long_run_unknown_seconds
        },
        "PrefectStartLate": {place("x > n", series(OLDEST, state="late")): thresholds.start_late_seconds},
        GRACE: {place("n * x", USUAL): thresholds.grace_duration_factor},
        f"{BUDGET}:allowed": {
            place("n - x", "prefect_slo_objective_ratio"): 1,
            place("x + n", *ALLOWED_OF): thresholds.budget_rounding,
            place("clamp_min(x, n)", *ALLOWED_OF): thresholds.budget_min_runs,
        },
        "PrefectBudgetSpent": {place("x < n", f"{BUDGET}:left"): 0},
    }


RULES = in_rules(THRESHOLDS)


def expressions(name: str) -> list[str]:
    texts = [
        rule["expr"]
        for file in sorted((ROOT / "prometheus/rules").glob("*.yml"))
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
        if name in (rule.get("alert"), rule.get("record"))
    ]
    assert texts, f"no rule {name}"
    return texts


def thresholds_of(name: str) -> set[tuple[Place, float]]:
    """The numbers of a rule, without truth tests and the `0 * ALERTS` that keeps an alert firing during an outage."""
    return {
        (where, value)
        for expression in expressions(name)
        for where, value in numbers(expression)
        if (where.form, value) not in TRUTHS
        and (where.form, value) != ("n * x", 0.0)
        and not (name == "PrefectZombieRun" and where in NOT_ON_THE_PAGE)
    }


@pytest.mark.parametrize("name", RULES)
def test_rule_has_the_thresholds_of_the_page_and_no_others(name: str) -> None:
    assert thresholds_of(name) == set(RULES[name].items())


def test_usual_duration_uses_the_window_of_the_rules() -> None:
    (expression,) = expressions(USUAL)
    baseline = series("prefect_flow_run_duration_baseline_seconds", window=BASELINE_WINDOW)
    assert selectors(expression) == {baseline, "prefect_flow_run_last_duration_seconds"}


def changed(value: object) -> object:
    if isinstance(value, int | float):
        return value * 2
    assert isinstance(value, type(THRESHOLDS.stuck_seconds))
    return {state: seconds * 2 for state, seconds in value.items()}


@pytest.mark.parametrize("name", [field.name for field in fields(Thresholds)])
def test_every_threshold_is_compared_with_a_rule(name: str) -> None:
    assert in_rules(replace(THRESHOLDS, **{name: changed(getattr(THRESHOLDS, name))})) != RULES


@pytest.mark.parametrize("state", THRESHOLDS.stuck_seconds)
def test_every_stuck_state_is_compared_with_a_rule(state: str) -> None:
    others = {name: seconds for name, seconds in THRESHOLDS.stuck_seconds.items() if name != state}
    assert in_rules(replace(THRESHOLDS, stuck_seconds=others)) != RULES


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("PrefectRunTooLong", Comparison(frozenset({RUNNING}), ">", frozenset({MAX_DURATION, USUAL}))),
        (
            "PrefectNotSucceeded",
            Comparison(frozenset({COMPLETED}), ">", frozenset({"prefect_slo_max_staleness_seconds"})),
        ),
        (
            "PrefectNotSucceeded",
            Comparison(
                frozenset({"flow_deployment:prefect_deployment_unmet_due_timestamp_seconds:effective"}),
                ">",
                frozenset({GRACE}),
            ),
        ),
        (
            "PrefectDeploymentPaused",
            Comparison(
                frozenset({"prefect_deployment_paused_since_timestamp_seconds"}),
                ">",
                frozenset({"prefect_slo_max_pause_seconds"}),
            ),
        ),
    ],
)
def test_rule_compares_with_the_declared_policy(name: str, expected: Comparison) -> None:
    assert expected in {comparison for expression in expressions(name) for comparison in comparisons(expression)}


@pytest.mark.parametrize("alert", sorted({condition.alert for condition in CONDITIONS}))
def test_condition_has_an_alert_with_a_runbook(alert: str) -> None:
    assert expressions(alert)
    assert (ROOT / f"docs/runbooks/{alert}.md").is_file()


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("time() - min by (flow) (a) > 300", {place("x > n", "a"): 300}),
        ("1 - a", {place("n - x", "a"): 1}),
        ("-a > -(2 + 1)", {place("x > n", "a"): -3}),
        ("24 * 3600 * a", {place("n * x", "a"): 86400}),
        ('a{l=~"y|x"} > 1 or b{m="z"} > 2', {place("x > n", 'a{l=~"x|y"}'): 1, place("x > n", 'b{m="z"}'): 2}),
        (
            "clamp_min(3 * last_over_time(a[5m]), 2 * 900)",
            {place("n * x", "a"): 3, place("clamp_min(x, n)", "a"): 1800},
        ),
        ("topk(5, max_over_time((a > 1)[1h:5m]))", {place("topk(n, x)", "a"): 5, place("x > n", "a"): 1}),
        ("a > b", {}),
    ],
)
def test_numbers_are_read_with_the_series_they_apply_to(expression: str, expected: dict[Place, float]) -> None:
    assert dict(numbers(expression)) == expected
