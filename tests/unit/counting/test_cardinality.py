"""Names, filters and the cap."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from prefect_monitoring.config.settings import Settings
from prefect_monitoring.counting.cardinality import Catalog
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import (
    CUSTOM_OBSERVED,
    OUTCOMES,
    REJECTED,
    TASK_DURATION,
    TASK_OUTCOMES,
    zero_born_series,
)
from prefect_monitoring.model.names import Names, unknown_ids
from prefect_monitoring.model.records import (
    DELETED,
    NO_FLOW,
    OTHER,
    OVERFLOW,
    Deployment,
    Flow,
    FlowRun,
    Pipeline,
    State,
)
from support.options import settings_with

NAMES = Names(
    {"f1": Flow("f1", "etl"), "f2": Flow("f2", "ml")},
    {
        "d1": Deployment("d1", "daily", "f1", "k8s", "default", ("nightly",)),
        "d2": Deployment("d2", "adhoc", "f1", "process", "default", ()),
    },
    frozenset(),
)


def run(flow: str = "f1", deployment: str | None = "d1", tags: tuple[str, ...] = (), pool: str = "k8s") -> FlowRun:
    state = State("s", "RUNNING", "Running", 1.0, "")
    return FlowRun("r", "run", flow, deployment, pool, tags, state, 1, False, 0.0, 1.0, None)


def catalog_with(settings: Settings, admitted: Iterable[SeriesKey]) -> Catalog:
    return Catalog(settings.filters, settings.labels, admitted)


def catalog_of(*admitted: Pipeline, **options: object) -> Catalog:
    """A catalogue with these settings, after a restart with series of the pipelines `admitted`."""
    return catalog_with(settings_with(**options), [SeriesKey(OUTCOMES, pipeline, "completed") for pipeline in admitted])


def pipeline_under(settings: Settings, flow_run: FlowRun) -> Pipeline | None:
    return catalog_with(settings, ()).pipeline_of(NAMES, flow_run)


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({}, True),
        ({"include_flows": "etl"}, True),
        ({"include_flows": "et"}, False),
        ({"include_flows": "ml,et."}, True),
        ({"include_flows": "a|etl|b"}, True),
        ({"exclude_flows": ".*"}, False),
        ({"exclude_flows": "e"}, True),
        ({"include_flows": "etl", "exclude_flows": "etl"}, False),
        ({"include_deployments": "daily"}, True),
        ({"exclude_deployments": "dail."}, False),
        ({"include_tags": "nightly"}, True),
        ({"include_tags": "mine"}, True),
        ({"include_tags": "other"}, False),
        ({"exclude_tags": "nightly"}, False),
        ({"exclude_tags": "mine"}, False),
        ({"include_pools": "k.s"}, True),
        ({"include_pools": "process"}, False),
        ({"exclude_pools": "k8s"}, False),
        ({"include_flows": "etl", "include_pools": "process"}, False),
    ],
)
def test_filters_exclude_runs(options: dict[str, str], allowed: bool) -> None:
    settings = settings_with(**options)
    assert (pipeline_under(settings, run(tags=("mine",))) is not None) == allowed


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"exclude_deployments": [""]}, False),
        ({"include_deployments": [""]}, True),
        ({"include_pools": [""]}, True),
        ({"exclude_pools": [""]}, False),
        ({"include_tags": ["any"]}, False),
    ],
)
def test_empty_pattern_matches_a_run_without_deployment(options: dict[str, list[str]], allowed: bool) -> None:
    settings = settings_with(**options)
    assert (pipeline_under(settings, run("f2", None, pool="")) is not None) == allowed


def test_pipelines_are_made_of_names() -> None:
    assert NAMES.pipeline_of("f1", "d1") == Pipeline("etl", "daily")
    assert NAMES.pipeline_of("f2", None) == Pipeline("ml", "")
    assert NAMES.pipeline_of("f2", "d9") == Pipeline("ml", DELETED)
    assert NAMES.pipeline_of("f9", None) == Pipeline(DELETED, "")


def test_deleted_names_are_kept_but_not_live() -> None:
    assert NAMES.live_pipelines() == {
        Pipeline("etl", "daily"),
        Pipeline("etl", "adhoc"),
        Pipeline("etl", ""),
        Pipeline("ml", ""),
    }
    later = NAMES.without({"f1"})
    assert later.pipeline_of("f1", "d1") == Pipeline("etl", "daily")
    assert later.live_pipelines() == {Pipeline("ml", "")}
    back = later.with_flows({"f1": Flow("f1", "etl")})
    assert back.live_pipelines() == NAMES.live_pipelines()


def test_cap_admits_known_pipelines_first_and_folds_others() -> None:
    catalog = catalog_of(Pipeline("old", "one"), OVERFLOW, max_pairs=2)
    assert catalog.pipeline_of(NAMES, run()) == Pipeline("etl", "daily")
    assert catalog.pipeline_of(NAMES, run(deployment="d2")) == OVERFLOW
    assert catalog.pipeline_of(NAMES, run()) == Pipeline("etl", "daily"), "admitted series stay admitted"
    catalog.keep([SeriesKey(OUTCOMES, Pipeline("etl", "daily"), "failed")])
    assert catalog.pipeline_of(NAMES, run(deployment="d2")) == Pipeline("etl", "adhoc")


def test_zero_born_series_are_those_of_deployments_and_of_flows_without_one() -> None:
    catalog = catalog_of(exclude_pools="process")
    zero_born = catalog.zero_born_series(NAMES)
    assert zero_born == {*zero_born_series(Pipeline("etl", "daily")), *zero_born_series(Pipeline("ml", ""))}
    assert list(catalog.live_deployments(NAMES)) == [Pipeline("etl", "daily")]


def test_excluded_pipeline_is_not_live() -> None:
    """Otherwise its last failures would be shown, and page, forever."""
    everything = catalog_of(*NAMES.live_pipelines())
    assert Pipeline("etl", "daily") in everything.live_pipelines(NAMES)
    excluding = catalog_of(*NAMES.live_pipelines(), exclude_flows="etl")
    assert excluding.live_pipelines(NAMES) == {Pipeline("ml", "")}


def test_recreated_deployment_is_one_pipeline_before_the_old_one_is_known_to_be_deleted() -> None:
    twice = NAMES.with_deployments({"d9": replace(NAMES.deployments["d1"], id="d9")})
    live = catalog_of(*NAMES.live_pipelines()).live_deployments(twice)
    assert live[Pipeline("etl", "daily")].id == "d9"


def test_unknown_ids_are_those_without_a_name() -> None:
    runs = [run(), run("f8", "d8"), run("f9", None)]
    assert unknown_ids(NAMES, runs) == ({"f8", "f9"}, {"d8"})


# Tasks and custom metrics


DAILY = Pipeline("etl", "daily")


def custom(metric: str, pipeline: Pipeline = DAILY, task: str = "", **labels: str) -> SeriesKey:
    return SeriesKey(CUSTOM_OBSERVED, pipeline, metric, task, tuple(sorted(labels.items())))


def test_tasks_of_a_pipeline_beyond_its_cap_are_counted_together() -> None:
    catalog = catalog_of(max_tasks=2)
    daily, adhoc = Pipeline("etl", "daily"), Pipeline("etl", "adhoc")
    assert [catalog.task_of(daily, task) for task in ("a", "b", "c", "a")] == ["a", "b", OTHER, "a"]
    assert catalog.task_of(adhoc, "c") == "c", "each pipeline has its own cap"
    assert catalog.task_of(OVERFLOW, "a") == OTHER


def test_known_tasks_are_admitted_first() -> None:
    keys = [SeriesKey(TASK_OUTCOMES, Pipeline("etl", "daily"), "completed", task) for task in ("old", OTHER)]
    catalog = catalog_with(settings_with(max_tasks=2), keys)
    assert [catalog.task_of(Pipeline("etl", "daily"), task) for task in ("new", "newer", "old")] == [
        "new",
        OTHER,
        "old",
    ]


def test_custom_metrics_of_a_pipeline_beyond_its_cap_are_refused() -> None:
    catalog = catalog_of(max_custom_metrics=3)
    admitted = [custom("rows"), custom("rows", task="load"), custom("rows", table="orders")]
    assert all(catalog.admits_custom(key) for key in admitted)
    assert not catalog.admits_custom(custom("bytes"))
    assert all(catalog.admits_custom(key) for key in admitted), "admitted series stay admitted"
    assert catalog.admits_custom(custom("bytes", Pipeline("etl", "adhoc")))
    assert not catalog.admits_custom(custom("bytes", OVERFLOW)), "nobody could tell whose it is"


def test_known_custom_metrics_are_admitted_first() -> None:
    catalog = catalog_with(settings_with(max_custom_metrics=1), [custom("rows")])
    assert catalog.admits_custom(custom("rows"))
    assert not catalog.admits_custom(custom("bytes"))


def test_custom_metrics_do_not_count_towards_the_cap_of_tasks() -> None:
    catalog = catalog_with(settings_with(max_tasks=1), [custom("rows", task=task) for task in ("a", "b")])
    assert catalog.task_of(Pipeline("etl", "daily"), "load") == "load"


def test_expired_series_make_room_under_the_cap() -> None:
    catalog = catalog_of(max_pairs=1, max_tasks=1, max_custom_metrics=1)
    daily = Pipeline("etl", "daily")
    assert catalog.pipeline_of(NAMES, run()) == daily
    assert catalog.task_of(daily, "a") == "a"
    assert catalog.admits_custom(custom("rows"))
    catalog.keep([custom("bytes")])
    assert catalog.pipeline_of(NAMES, run()) == daily
    assert catalog.task_of(daily, "b") == "b"
    assert not catalog.admits_custom(custom("rows"))
    catalog.keep(())
    assert catalog.pipeline_of(NAMES, run(deployment="d2")) == Pipeline("etl", "adhoc")
    assert catalog.admits_custom(custom("rows"))


def test_series_without_a_flow_do_not_count_towards_the_cap() -> None:
    """The counter of rejected lines has no flow label."""
    catalog = catalog_with(settings_with(max_pairs=1), [SeriesKey(REJECTED, NO_FLOW, "malformed")])
    assert catalog.pipeline_of(NAMES, run()) == Pipeline("etl", "daily")


def test_task_histogram_does_not_count_towards_the_cap() -> None:
    """It is kept by flow, without a deployment; nothing else is counted under such a pipeline."""
    keys = [
        SeriesKey(TASK_OUTCOMES, Pipeline("etl", "daily"), "completed", "load"),
        SeriesKey(TASK_DURATION, Pipeline("etl", ""), task="load"),
    ]
    catalog = catalog_with(settings_with(max_pairs=2), keys)
    assert catalog.pipeline_of(NAMES, run(deployment="d2")) == Pipeline("etl", "adhoc")


@pytest.mark.parametrize(
    ("options", "outside", "deleted"),
    [
        ({}, NO_FLOW, Pipeline(DELETED, "")),
        ({"include_flows": "etl"}, None, None),
        ({"exclude_flows": r"\(deleted\)"}, NO_FLOW, None),
        ({"exclude_flows": "^$"}, None, Pipeline(DELETED, "")),
        ({"exclude_flows": "etl"}, NO_FLOW, Pipeline(DELETED, "")),
        ({"include_pools": "k8s"}, None, None),
        ({"include_deployments": "daily"}, None, None),
    ],
)
def test_filters_apply_to_runs_without_a_flow(
    options: dict[str, str], outside: Pipeline | None, deleted: Pipeline | None
) -> None:
    catalog = catalog_of(**options)
    assert catalog.pipeline_outside_flows() == outside
    assert catalog.pipeline_of_deleted() == deleted


def test_runs_without_a_flow_count_towards_the_cap() -> None:
    catalog = catalog_of(max_pairs=1)
    assert catalog.pipeline_outside_flows() == NO_FLOW
    assert catalog.pipeline_of_deleted() == OVERFLOW
