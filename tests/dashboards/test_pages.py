"""The dashboard files: their layout and descriptions, and that their metrics, labels and links exist."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboards.pages import FOLDER, ROOT, Page, Query, all_of, label_values, names_in, pages, queries, query_of
from grafana.src.colours import CALM, PLAIN, STATES
from grafana.src.render import rendered
from support.promql_labels import Labels, UnknownNameError, metric_names, reader

UIDS = {
    "prefect-overview",
    "prefect-flow",
    "prefect-bottlenecks",
    "prefect-retries",
    "prefect-slo",
    "prefect-workers",
    "prefect-automations",
    "prefect-custom-metrics",
    "prefect-exporter",
}
SHOW_NO_NUMBERS = {"row", "text", "alertlist", "dashlist"}
DRAW_CURVES = {"timeseries", "barchart", "state-timeline", "status-history", "heatmap"}
# A label that no series has; queries use it to test whether a variable is All.
NOBODYS_LABELS: Labels = frozenset({"unchosen"})
CONTENT_WIDTH = 1100  # of 1,440 pixels
NAME_WIDTHS = {"Flow": 160, "Pipeline": 200}  # columns without a width of their own share the rest equally
LINK = re.compile(r"/d/([\w-]+)(?:/[\w-]*)?(?:\?([^'\"\s]*))?")

each_page = pytest.mark.parametrize("page", pages(), ids=lambda page: page.uid)
each_query = pytest.mark.parametrize("query", queries(), ids=str)


def test_committed_files_are_up_to_date() -> None:
    files = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    made = rendered()
    assert files.keys() == made.keys()
    different = [name for name, text in made.items() if files[name] != text]
    assert not different, "run `make dashboards`"


def test_uids_are_fixed() -> None:
    assert Counter(page.uid for page in pages()) == Counter(UIDS)
    assert all(page.path.stem == page.uid for page in pages())


@each_page
def test_page_has_a_title_and_a_description(page: Page) -> None:
    assert page.content["title"]
    assert page.content["description"]
    assert page.content["tags"] == ["prefect-monitoring"]
    assert not page.content.get("id"), "an id belongs to one Grafana"


@each_page
def test_panel_ids_are_unique(page: Page) -> None:
    twice = [number for number, count in Counter(panel["id"] for panel in page.panels(rows=True)).items() if count > 1]
    assert not twice


@each_page
def test_panels_fill_the_page_and_do_not_overlap(page: Page) -> None:
    taken: Counter[tuple[int, int]] = Counter()
    for panel in page.content["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken.update((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"]))
    assert set(taken.values()) == {1}
    height = max(y for _, y in taken) + 1
    assert len(taken) == 24 * height, "an empty corner"


@each_page
def test_panel_has_a_title_and_a_description(page: Page) -> None:
    for panel in page.panels():
        assert panel.get("title"), panel
        assert len(panel.get("description") or "") > 40, panel["title"]


@each_page
def test_titles_and_names_have_room_at_1440_pixels(page: Page) -> None:
    """With the docked menu of 300 pixels: no title is cut off, and columns of names get the remaining width."""
    for panel in page.panels():
        width = panel["gridPos"]["w"] * CONTENT_WIDTH / 24
        assert len(panel["title"]) * 7.6 + 70 <= width, panel["title"]
        if panel["type"] != "table":
            continue
        shown = {
            one["matcher"]["options"]: {value["id"]: value["value"] for value in one["properties"]}
            for one in panel["fieldConfig"]["overrides"]
        }
        shown = {name: settings for name, settings in shown.items() if not settings.get("custom.hidden")}
        fixed = {name: settings["custom.width"] for name, settings in shown.items() if "custom.width" in settings}
        assert all(len(name) * 7.4 + 18 <= pixels for name, pixels in fixed.items()), fixed
        names = shown.keys() - fixed.keys()
        assert names, panel["title"]
        needed = max(NAME_WIDTHS.get(name, 110) for name in names)
        assert (width - 20 - sum(fixed.values())) / len(names) >= needed, (panel["title"], sum(fixed.values()), names)


@each_page
def test_unknown_value_has_a_neutral_colour(page: Page) -> None:
    """A panel without a value takes the colour of its base step."""
    for panel in page.panels():
        for steps in _steps(panel["fieldConfig"]):
            assert (steps[0]["value"], steps[0]["color"]) in ((None, CALM), (None, PLAIN)), panel["title"]
        if panel["type"] == "stat":
            assert panel["fieldConfig"]["defaults"]["noValue"] in ("unknown", "none"), panel["title"]


def _steps(own: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    yield own["defaults"]["thresholds"]["steps"]
    for override in own.get("overrides") or ():
        yield from (one["value"]["steps"] for one in override["properties"] if one["id"] == "thresholds")


def test_colours_are_the_same_on_every_dashboard() -> None:
    """A legend or value has the same colour on every dashboard."""
    seen: dict[str, set[str]] = {}
    for page in pages():
        for panel in page.panels():
            own = panel["fieldConfig"]
            for override in own.get("overrides") or ():
                for one in override["properties"]:
                    if one["id"] == "color" and one["value"].get("mode") == "fixed":
                        seen.setdefault(override["matcher"]["options"], set()).add(one["value"]["fixedColor"])
    states = {name: colours for name, colours in seen.items() if name in STATES}
    assert states.keys() >= {"completed", "failed", "late", "awaiting_retry"}
    assert all(len(colours) == 1 for name, colours in seen.items() if not re.fullmatch("[A-J]", name)), seen
    assert len(set(STATES.values())) >= len(STATES) - 2, "cancelled, pending and the like may share a grey"


def test_no_quantile_of_runs_is_interpolated() -> None:
    assert not [query for query in queries() if "_bucket" in query.text and "prefect_flow_run" in query.text]


@each_page
def test_numbers_have_units(page: Page) -> None:
    for panel in page.panels():
        if panel["type"] in SHOW_NO_NUMBERS:
            continue
        own = panel["fieldConfig"]
        properties = [one for override in own.get("overrides") or () for one in override["properties"]]
        units = [own["defaults"].get("unit"), *(one["value"] for one in properties if one["id"] == "unit")]
        assert any(units), panel["title"]


@each_page
def test_queries_use_the_chosen_data_source(page: Page) -> None:
    for source in _data_sources(page.content):
        assert source in ("${datasource}", "-- Grafana --", "-- Dashboard --", "grafana"), source
    assert next(iter(page.variables)) == "datasource"


def _data_sources(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if (source := node.get("datasource")) is not None:
            yield source["uid"] if isinstance(source, dict) else source
        for value in node.values():
            yield from _data_sources(value)
    elif isinstance(node, list):
        for value in node:
            yield from _data_sources(value)


@each_page
def test_variables_are_defined_and_used(page: Page) -> None:
    # The menu of links passes every variable on without naming it.
    used = {name for name in names_in(page.content) if not name.startswith("__")}
    assert used == page.variables.keys()


@each_page
def test_variables_take_many_values_and_all(page: Page) -> None:
    for name, variable in page.variables.items():
        if variable["type"] == "query":
            assert variable["multi"], name
        if variable["type"] == "query" and (page.uid, name) != ("prefect-flow", "flow"):
            assert variable["includeAll"], name
            assert variable["allValue"] == ".*", f"{name}: All must include series without the label"


@each_query
def test_variables_are_matched_as_patterns(query: Query) -> None:
    several = {name for name, variable in query.page.variables.items() if variable.get("multi")}
    for operator, value in re.findall(r"(=~|!~|!=|=)\s*(\"[^\"]*\"|`[^`]*`)", query.text):
        if several & set(names_in(value)):
            assert operator in ("=~", "!~"), f"{operator}{value}"


@each_query
def test_curve_has_a_name(query: Query) -> None:
    # Bar charts by category have their names in a column.
    if query.panel["type"] in DRAW_CURVES and query.target.get("format") != "table":
        assert query.target.get("legendFormat") not in (None, "", "__auto"), "Grafana would show the raw series"


@each_query
def test_metrics_and_labels_of_a_query_exist(query: Query) -> None:
    """In selectors, in by, on and group_left, and in the legend."""
    values = {name: all_of(variable) for name, variable in query.page.variables.items()}
    there = _labels(query.filled(values))
    shown = set(re.findall(r"{{\s*(\w+)\s*}}", query.target.get("legendFormat") or ""))
    assert shown <= there


@each_page
def test_metrics_and_labels_of_variables_exist(page: Page) -> None:
    values = {name: all_of(variable) for name, variable in page.variables.items()}
    asking = [one for variable in page.variables.values() if (one := query_of(variable))]
    asking += [one["expr"] for one in page.content["annotations"].get("list") or () if one.get("expr")]
    for text in asking:
        filled = Query(page, {}, {"expr": text}).filled(values)
        if text.startswith("label_values("):
            series, label = label_values(filled)
            assert label in _labels(series)
        else:
            _labels(filled)


def _labels(text: str) -> Labels:
    known = reader()
    return type(known)({name: labels | NOBODYS_LABELS for name, labels in known.metrics.items()}).labels(text)


def test_query_with_unknown_names_is_rejected() -> None:
    for text in (
        "prefect_flow_run_outcome_total",
        "prefect_flow_run_duration_seconds",  # a histogram has no series of that name
        'prefect_flow_run_outcomes_total{status="failed"}',
        "sum by (pool) (prefect_flow_runs)",
        "prefect_up * on (workspace) group_left (team) prefect_up",
        "sum by (flow) (sum by (workspace) (prefect_flow_runs))",
    ):
        with pytest.raises(UnknownNameError):
            _labels(text)


@each_page
def test_links_lead_to_dashboards_and_pass_variables_that_they_have(page: Page) -> None:
    for url in _urls(page.content):
        _check_link(url)


def _urls(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(url := node.get("url"), str):
            yield url
        for value in node.values():
            yield from _urls(value)
    elif isinstance(node, list):
        for value in node:
            yield from _urls(value)


MESSAGES = sorted([*ROOT.glob("prometheus/rules/*.yml"), *ROOT.glob("alertmanager/**/*.*")])


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.name)
def test_links_in_messages_lead_to_existing_dashboards(path: Path) -> None:
    # Templates stand in for values; they may hold quotes and blanks.
    _check_link(re.sub(r"{{.*?}}", "value", path.read_text(encoding="utf-8")))


def _check_link(text: str) -> None:
    variables = {page.uid: page.variables.keys() for page in pages()}
    for uid, parameters in LINK.findall(text):
        known = variables.get(uid)
        assert known is not None, f"no dashboard is called {uid}"
        unknown = set(re.findall(r"(?:^|&)var-(\w+)=", parameters)) - known
        assert not unknown, f"{uid} has no such variables"


def test_rules_link_to_dashboards() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("prometheus/rules/*.yml"))
    linked = {"prefect-overview", "prefect-flow", "prefect-workers", "prefect-exporter"}
    assert {uid for uid, _ in LINK.findall(text)} == linked


def test_filters_apply_to_the_time_before_a_policy_was_known() -> None:
    """A backfill writes no policies: range queries use those at the end of the range."""
    written = (":increase{", "prefect_flow_run_outcomes_total{", "prefect_task_run_", "prefect_custom_metric_observed")
    offending = []
    for query in queries():
        text = query.filled({name: all_of(variable) for name, variable in query.page.variables.items()})
        own = re.sub(r"prefect_flow_run_outcomes_total\{[^}]*unchosen[^}]*\}", "", text)
        reaches_back = not query.instant or re.search(r"\[\w+:\w+\]", text)
        if reaches_back and any(name in own for name in written):
            offending += [str(query)] if re.search(r"prefect_pipeline_info\{team[^}]*\}\[5m\]", text) else []
    assert not offending


@each_query
def test_history_windows_hold_hourly_samples(query: Query) -> None:
    """A backfill writes hourly. increase() and rate() need two samples: windows span at least 2 h or the step."""
    written = ("prefect_flow_run_outcomes", "prefect_flow_run_dur", "prefect_task_run_", "prefect_custom_metric_obs")
    values = {name: all_of(variable) for name, variable in query.page.variables.items()}
    if not any(name.startswith(written) for name in metric_names(query.filled(values))):
        return
    for window in re.findall(r"(?:increase|rate)\([^\[\]]*\[([^\]]+)\]", query.text):
        if window == "$__interval":
            assert query.step >= 7200, query
        elif window != "$__range":
            assert re.fullmatch(r"[2-9]h|\d\dh|\d+d", window), window
    for window in re.findall(r"sum_over_time\([^\[\]]*:increase\{[^\[\]]*\[([^\]]+)\]", query.text):
        assert query.step >= 7200 if window == "$__interval" else re.fullmatch(r"\d+[hd]", window), window


@each_page
def test_computed_share_of_nothing_is_not_called_nan(page: Page) -> None:
    for panel in page.panels():
        names = {
            new: step["options"]["renameByName"].get(new, new)
            for step in panel.get("transformations") or ()
            if step["id"] == "organize"
            for new in step["options"]["renameByName"]
        }
        computed = {
            names[step["options"]["alias"]]
            for step in panel.get("transformations") or ()
            if step["id"] == "calculateField"
        }
        said = {
            override["matcher"]["options"]
            for override in panel["fieldConfig"].get("overrides") or ()
            for setting in override["properties"]
            if setting["id"] == "mappings"
            for mapping in setting["value"]
            if mapping["type"] == "special" and mapping["options"]["match"] == "null+nan"
        }
        assert computed <= said, panel["title"]
