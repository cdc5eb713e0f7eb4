"""Every query of the dashboards, asked of a real Prometheus: the team's month behind it and its exporter before it."""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import pytest

from dashboards.history import backfilled
from dashboards.pages import Page, Query, all_of, asked_of, label_values, pages, queries
from dashboards.site import ROOT, Site, open_site
from support.processes import wait_until
from support.prometheus import Prometheus, run_prometheus

POINTS = 120
HOUR = 3600
# One value of each variable, so that they have something in common.
ONE = {
    "workspace": "production",
    "flow": "extract-orders",
    "deployment": "hourly",
    "team": "ingestion",
    "criticality": "standard",
    "tag": "hourly",
    "task": "download",
    "metric": "rows_extracted",
    "work_pool": "kubernetes",
}
ONE_FLOW = "sync-crm"  # for the page of one flow: the one that has something of everything
# Panels, or single queries of them ("uid: title" or "uid: title A"), that are rightly empty while all is well.
EMPTY_WHEN_WELL: dict[str, str] = {}
# Those that the seeded month cannot fill.
NEVER_FILLED: dict[str, str] = {}

each_query = pytest.mark.parametrize("query", queries(), ids=str)
each_page = pytest.mark.parametrize("page", pages(), ids=lambda page: page.uid)


@dataclass(frozen=True, slots=True)
class Answer:
    """`filled`: there is a number to draw; NaN is none."""

    error: str = ""
    filled: bool = False


Answers = Mapping[str, Answer]  # by query


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Site]]:
    """The healthy one and the one in trouble."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(open_site(tmp_path_factory.mktemp(name), trouble=trouble, make_history=backfilled))
            for name, trouble in (("healthy", False), ("trouble", True))
        ]


@pytest.fixture(scope="module")
def with_all(sites: list[Site]) -> list[Answers]:
    """What the queries give on each site while the variables are All."""
    return [_answers(site.prometheus, _all) for site in sites]


@pytest.fixture(scope="module")
def with_one(sites: list[Site]) -> list[Answers]:
    return [_answers(site.prometheus, partial(_one, site.prometheus)) for site in sites]


@each_query
def test_query_gives_what_the_panel_shows(with_all: list[Answers], query: Query) -> None:
    healthy, trouble = (answers[str(query)] for answers in with_all)
    assert not healthy.error, query.text
    assert not trouble.error, query.text
    if _listed(NEVER_FILLED, query):
        return
    assert trouble.filled, query.text
    assert healthy.filled or _listed(EMPTY_WHEN_WELL, query), query.text


@pytest.mark.parametrize("entry", [*EMPTY_WHEN_WELL, *NEVER_FILLED])
def test_exceptions_are_still_needed(with_all: list[Answers], entry: str) -> None:
    excused = [query for query in queries() if _listed({entry: ""}, query)]
    assert excused, "there is no such panel"
    filled = [all(answers[str(query)].filled for query in excused) for answers in with_all]
    assert not filled[0], "it has data when all is well: take it off the list"
    assert not (entry in NEVER_FILLED and any(filled)), "it has data: take it off the list"


@each_query
def test_query_works_with_one_value_of_each_variable(with_one: list[Answers], query: Query) -> None:
    assert not with_one[0][str(query)].error, query.text
    assert not with_one[1][str(query)].error, query.text


@each_page
def test_page_is_not_empty_with_one_value_of_each_variable(
    with_all: list[Answers], with_one: list[Answers], page: Page
) -> None:
    """A matcher that takes All but no single value leaves a page of empty panels."""
    names = [str(query) for query in queries() if query.page is page]
    filled = {name for name in names if with_all[1][name].filled}
    still = {name for name in filled if with_one[1][name].filled}
    assert len(still) >= 0.6 * len(filled), sorted(filled - still)


@each_page
def test_variables_have_values(sites: list[Site], page: Page) -> None:
    for site in sites:
        for name, variable in page.variables.items():
            if asked_of(variable):
                assert _values(site.prometheus, page, name), name


def test_without_an_exporter_nothing_is_shown_at_all(tmp_path: Path) -> None:
    """A zero would say that all is well. The shipped rules are there, and find nothing either."""
    config = json.dumps({"rule_files": [str(ROOT / "prometheus/rules/*.yml")]})
    with run_prometheus(tmp_path, config) as prometheus:
        wait_until(lambda: prometheus.query("1"), 10, "an answer")
        answers = _answers(prometheus, _all)
    assert not {name: answer.error for name, answer in answers.items() if answer.error}
    assert not [name for name, answer in answers.items() if answer.filled]


def _listed(entries: Mapping[str, str], query: Query) -> bool:
    return bool({str(query), str(query).rpartition(" ")[0]} & entries.keys())


def _all(page: Page) -> dict[str, str]:
    values = {name: all_of(variable) for name, variable in page.variables.items()}
    return values | ({"flow": ONE_FLOW} if page.uid == "prefect-flow" else {})


def _one(prometheus: Prometheus, page: Page) -> dict[str, str]:
    values = _all(page)
    for name, variable in page.variables.items():
        if asked_of(variable):
            found = _values(prometheus, page, name)
            assert found, f"{page.uid}: nothing to choose from for {name}"
            values[name] = re.escape(ONE[name] if ONE.get(name) in found else found[0])
    return values


def _values(prometheus: Prometheus, page: Page, name: str) -> list[str]:
    """What Grafana offers for a variable while the others are All."""
    asked = Query(page, {}, {"expr": asked_of(page.variables[name])}).filled(_all(page))
    series, label = label_values(asked)
    answer = httpx.get(f"{prometheus.url}/api/v1/label/{label}/values", params={"match[]": series}, trust_env=False)
    return list(answer.raise_for_status().json()["data"])


def _answers(prometheus: Prometheus, values: Callable[[Page], dict[str, str]]) -> Answers:
    chosen = {page.uid: values(page) for page in pages()}
    now = time.time()
    with httpx.Client(base_url=prometheus.url, timeout=30, trust_env=False) as client, ThreadPoolExecutor(4) as pool:
        asked = list(queries())
        answers = pool.map(lambda query: _ask(client, query, query.filled(chosen[query.page.uid]), now), asked)
        return {str(query): answer for query, answer in zip(asked, answers, strict=True)}


def _ask(client: httpx.Client, query: Query, text: str, now: float) -> Answer:
    if query.instant:
        body = client.post("/api/v1/query", data={"query": text, "time": str(now)}).json()
    else:
        step = max(query.step, query.seconds // POINTS)
        # Grafana moves the ends to multiples of the step; before those of a short step, this site was not there yet.
        end = now // step * step if query.step >= HOUR else now
        span = {"start": str(end - query.seconds), "end": str(end), "step": str(step)}
        body = client.post("/api/v1/query_range", data={"query": text, **span}).json()
    if body["status"] != "success":
        return Answer(body["error"])
    result = body["data"]["result"]
    if body["data"]["resultType"] == "scalar":
        return Answer(filled=True)
    numbers = (number for row in result for _, number in row.get("values") or [row["value"]])
    return Answer(filled=any(number != "NaN" for number in numbers))
