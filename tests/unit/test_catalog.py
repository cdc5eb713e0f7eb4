"""Names, filters and the cap."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prefect_monitoring.catalog import Catalog, Filters, Names, renames, unknown_ids
from prefect_monitoring.fold import births
from prefect_monitoring.records import DELETED, OVERFLOW, Deployment, Flow, FlowRun, Pair, State
from prefect_monitoring.settings import Settings

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


def pair_under(settings: Settings, one: FlowRun, admitted: tuple[Pair, ...] = ()) -> Pair | None:
    return Catalog(Filters(settings), settings.max_pairs, admitted).pair_of(NAMES, one)


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
def test_filters(options: dict[str, str], allowed: bool) -> None:
    settings = Settings(**options)  # type: ignore[arg-type]
    assert (pair_under(settings, run(tags=("mine",))) is not None) == allowed


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
def test_empty_pattern_is_a_run_without_one(options: dict[str, list[str]], allowed: bool) -> None:
    settings = Settings(**options)  # type: ignore[arg-type]
    assert (pair_under(settings, run("f2", None, pool="")) is not None) == allowed


def test_pairs_are_names() -> None:
    assert NAMES.pair_of("f1", "d1") == Pair("etl", "daily")
    assert NAMES.pair_of("f2", None) == Pair("ml", "")
    assert NAMES.pair_of("f2", "d9") == Pair("ml", DELETED)
    assert NAMES.pair_of("f9", None) == Pair(DELETED, "")


def test_gone_names_are_still_names_but_not_alive() -> None:
    assert NAMES.live_pairs() == {Pair("etl", "daily"), Pair("etl", "adhoc"), Pair("etl", ""), Pair("ml", "")}
    later = NAMES.without({"f1"})
    assert later.pair_of("f1", "d1") == Pair("etl", "daily")
    assert later.live_pairs() == {Pair("ml", "")}
    back = later.with_flows({"f1": Flow("f1", "etl")})
    assert back.live_pairs() == NAMES.live_pairs()


def test_cap_admits_the_known_first_and_folds_the_rest() -> None:
    catalog = Catalog(Filters(Settings()), 2, [Pair("old", "one"), OVERFLOW])
    assert catalog.pair_of(NAMES, run()) == Pair("etl", "daily")
    assert catalog.pair_of(NAMES, run(deployment="d2")) == OVERFLOW
    assert catalog.pair_of(NAMES, run()) == Pair("etl", "daily"), "who is in stays in"
    catalog.keep({Pair("etl", "daily")})
    assert catalog.pair_of(NAMES, run(deployment="d2")) == Pair("etl", "adhoc")


def test_births_are_of_deployments_and_of_flows_without_one() -> None:
    catalog = Catalog(Filters(Settings(exclude_pools="process")), 10, ())
    born = catalog.births(NAMES)
    assert born == {*births(Pair("etl", "daily")), *births(Pair("ml", ""))}
    assert list(catalog.live_deployments(NAMES)) == [Pair("etl", "daily")]


def test_what_is_excluded_is_not_live() -> None:
    """Or its last failures would be shown, and page, for ever."""
    everything = Catalog(Filters(Settings()), 10, NAMES.live_pairs())
    assert Pair("etl", "daily") in everything.live_pairs(NAMES)
    excluding = Catalog(Filters(Settings(exclude_flows="etl")), 10, NAMES.live_pairs())
    assert excluding.live_pairs(NAMES) == {Pair("ml", "")}


def test_deployment_made_anew_stands_once_while_the_old_one_is_not_known_to_be_gone() -> None:
    twice = NAMES.with_deployments({"d9": replace(NAMES.deployments["d1"], id="d9")})
    live = Catalog(Filters(Settings()), 10, NAMES.live_pairs()).live_deployments(twice)
    assert live[Pair("etl", "daily")].id == "d9"


def test_renames_of_flows_reach_every_pair_of_theirs() -> None:
    after = NAMES.with_flows({"f1": Flow("f1", "elt")})
    pairs = {Pair("etl", "daily"), Pair("etl", ""), Pair("etl", DELETED), Pair("ml", "")}
    assert renames(NAMES, after, pairs) == {
        Pair("etl", "daily"): Pair("elt", "daily"),
        Pair("etl", ""): Pair("elt", ""),
        Pair("etl", DELETED): Pair("elt", DELETED),
    }
    assert renames(NAMES, NAMES, pairs) == {}


def test_ids_without_a_name() -> None:
    runs = [run(), run("f8", "d8"), run("f9", None)]
    assert unknown_ids(NAMES, runs) == ({"f8", "f9"}, {"d8"})
