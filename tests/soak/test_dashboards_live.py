"""Every query of the dashboards on a real Prometheus that has the team's month and scrapes an exporter."""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import pytest

from dashboards.history import backfilled
from dashboards.pages import Page, Query, all_of, label_values, pages, queries, query_of
from dashboards.site import ROOT, Site, open_site
from support.http_client import CLIENT
from support.processes import wait_until
from support.prometheus import Prometheus, run_prometheus

POINTS = 120
WELL_SECONDS = 60.0
HOUR = 3600
# One value of each variable; some series have all of them.
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
ONE_FLOW = "quality-checks"  # for the page of one flow: this one fills most panels
# Panels, or single queries of them ("uid: title" or "uid: title A"), that are empty without problems.
EMPTY_WHEN_WELL = {
    "prefect-automations: Downstream kept paused": "nothing is",
    "prefect-automations: Retries of the last failed run": "no run failed for good",
    "prefect-flow: Right now E": "no run is late",
    "prefect-flow: Where it stands G": "when it began to fail",
    "prefect-overview: Alerts that fire": "none does",
    "prefect-flow: Alerts that fire": "none does",
    "prefect-overview: Needs attention": "nothing does",
    "prefect-overview: Due today and not completed (UTC)": "everything is",
    "prefect-slo: Freshness C": "nothing is overdue",
}
# Panels and queries that the seeded month cannot fill.
NEVER_FILLED: dict[str, str] = {
    "prefect-automations: Actions by pipeline E": "it would take a storm to blow the fuse",
    "prefect-automations: Actions by pipeline F": "the site acts, and a dry run does not",
    "prefect-flow: Right now B": "its runs are late, none runs",
    "prefect-exporter: Sinks and archive": "the site has none",
    "prefect-exporter: Waiting to be delivered": "the site has none",
    "prefect-exporter: Failed deliveries": "the site has none",
}
# Panels with a query for each colour, of which only one has data.
ONE_OF_SEVERAL = {"prefect-overview: Success rate", "prefect-flow: Success rate", "prefect-slo: Success rate"}

JOINED = (
    "prefect_flow_run_outcomes_total",
    "prefect_flow_run_duration_seconds_sum",
    "prefect_task_run_seconds_total",
    "prefect_custom_metric_observed_sum",
)
each_query = pytest.mark.parametrize("query", queries(), ids=str)
each_page = pytest.mark.parametrize("page", pages(), ids=lambda page: page.uid)


@dataclass(frozen=True, slots=True)
class Answer:
    """`filled`: there is a number to draw; NaN does not count."""

    error: str = ""
    filled: bool = False


Answers = Mapping[str, Answer]  # by query


@dataclass(frozen=True, slots=True)
class Round:
    """The answers to the queries with every variable set to All, and with one value of each."""

    with_all: Answers
    with_one: Answers


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("site"), make_history=backfilled) as running:
        yield running


@pytest.fixture(scope="module")
def rounds(site: Site) -> tuple[Round, Round]:
    """The answers without problems, and in trouble."""
    until = time.monotonic() + WELL_SECONDS
    while _has_problems(well := _round(site.prometheus)) and time.monotonic() < until:
        pass  # on a busy machine, a poll may fail: the API does not answer, which is a problem
    site.get_into_trouble()
    return well, _round(site.prometheus)


def _has_problems(well: Round) -> bool:
    return any(well.with_all[str(query)].filled for query in queries() if _listed(EMPTY_WHEN_WELL, query))


def _round(prometheus: Prometheus) -> Round:
    return Round(_answers(prometheus, _all), _answers(prometheus, partial(_one, prometheus)))


@each_query
def test_query_has_data_for_its_panel(rounds: tuple[Round, Round], query: Query) -> None:
    well, trouble = (round_.with_all[str(query)] for round_ in rounds)
    assert not well.error, query.text
    assert not trouble.error, query.text
    if _listed(NEVER_FILLED, query) or _panel(query) in ONE_OF_SEVERAL:
        return
    assert trouble.filled, query.text
    assert well.filled or _listed(EMPTY_WHEN_WELL, query), query.text


@pytest.mark.parametrize("panel", sorted(ONE_OF_SEVERAL))
def test_one_of_several_queries_has_data(rounds: tuple[Round, Round], panel: str) -> None:
    for round_ in rounds:
        filled = [round_.with_all[str(query)].filled for query in queries() if _panel(query) == panel]
        assert any(filled)
        assert not all(filled), "take it off the list"


@pytest.mark.parametrize("entry", [*EMPTY_WHEN_WELL, *NEVER_FILLED])
def test_exceptions_are_still_needed(rounds: tuple[Round, Round], entry: str) -> None:
    excused = [query for query in queries() if _listed({entry: ""}, query)]
    assert excused, "there is no such panel"
    filled = [all(round_.with_all[str(query)].filled for query in excused) for round_ in rounds]
    assert not filled[0], "it has data when all is well: take it off the list"
    assert not (entry in NEVER_FILLED and any(filled)), "it has data: take it off the list"


@each_query
def test_query_works_with_one_value_of_each_variable(rounds: tuple[Round, Round], query: Query) -> None:
    for round_ in rounds:
        assert not round_.with_one[str(query)].error, query.text


@each_page
def test_page_is_not_empty_with_one_value_of_each_variable(rounds: tuple[Round, Round], page: Page) -> None:
    """A matcher that works with All but not with a single value would empty the page."""
    names = [str(query) for query in queries() if query.page is page]
    filled = {name for name in names if rounds[1].with_all[name].filled}
    still = {name for name in filled if rounds[1].with_one[name].filled}
    assert len(still) >= 0.6 * len(filled), sorted(filled - still)


@each_page
def test_variables_have_values(site: Site, page: Page) -> None:
    for name, variable in page.variables.items():
        if query_of(variable):
            assert _values(site.prometheus, page, name, _all(page)), name


@pytest.mark.parametrize("counter", JOINED)
def test_live_counters_continue_the_backfilled_series(site: Site, counter: str) -> None:
    """Also for sums of durations: one digit less at the join would be a reset, and add the whole month again."""
    assert site.prometheus.query(f"count_over_time({counter}[1d] offset 3h)"), "no backfilled samples"
    assert not site.prometheus.query(f"resets({counter}[1d]) > 0")


def test_panels_are_empty_without_an_exporter(tmp_path: Path) -> None:
    """A zero would look healthy. The shipped rules are loaded, and return nothing either."""
    config = json.dumps({"rule_files": [str(ROOT / "prometheus/rules/*.yml")]})
    with run_prometheus(tmp_path, config) as prometheus:
        wait_until(lambda: prometheus.query("1"), 60, "an answer")
        answers = _answers(prometheus, _all)
    assert not {name: answer.error for name, answer in answers.items() if answer.error}
    assert not [name for name, answer in answers.items() if answer.filled]


def _listed(entries: Mapping[str, str], query: Query) -> bool:
    return bool({str(query), _panel(query)} & entries.keys())


def _panel(query: Query) -> str:
    return str(query).rpartition(" ")[0]


def _all(page: Page) -> dict[str, str]:
    values = {name: all_of(variable) for name, variable in page.variables.items()}
    return values | ({"flow": ONE_FLOW} if page.uid == "prefect-flow" else {})


def _one(prometheus: Prometheus, page: Page) -> dict[str, str]:
    values = _all(page)
    for name, variable in page.variables.items():
        if query_of(variable):
            found = _values(prometheus, page, name, values)
            assert found, f"{page.uid}: nothing to choose from for {name}"
            values[name] = re.escape(ONE[name] if ONE.get(name) in found else found[0])
    return values


def _values(prometheus: Prometheus, page: Page, name: str, others: Mapping[str, str]) -> list[str]:
    """The values that Grafana offers for a variable while the others have the given values."""
    asked = Query(page, {}, {"expr": query_of(page.variables[name])}).filled(others)
    series, label = label_values(asked)
    answer = CLIENT.get(f"{prometheus.url}/api/v1/label/{label}/values", params={"match[]": series})
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
        # Grafana aligns the range to multiples of the step, which may leave out a site that has just started.
        is_past = query.step >= HOUR and "_bucket" not in text
        end = now // step * step if is_past else now
        span = {"start": str(end - query.seconds), "end": str(end), "step": str(step)}
        body = client.post("/api/v1/query_range", data={"query": text, **span}).json()
    if body["status"] != "success":
        return Answer(body["error"])
    result = body["data"]["result"]
    if body["data"]["resultType"] == "scalar":
        return Answer(filled=True)
    numbers = (number for row in result for _, number in row.get("values") or [row["value"]])
    return Answer(filled=any(number != "NaN" for number in numbers))
