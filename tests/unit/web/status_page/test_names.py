"""Names stay text: whatever a flow is called, the page has the same elements."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_monitoring.model.records import OTHER, Pipeline
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.snapshot.model import Health, Links, Snapshot
from unit.snapshots import NOW
from unit.status_page_html import parsed_page
from unit.status_pages import failing, snapshot_of

LINKS = Links("https://prefect.example.com/base", "https://grafana.example.com", "https://example.com/runbooks")
HOSTILE = [
    "<script>window.hit = 1</script>",
    "</td></tr></table><img src=x onerror=alert(1)>",
    "\"'><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}&amp;&lt;b&gt;",
    "javascript:alert(1)",
    "\u202egnp.txt\u2066",
    "🚀" * 50,
    "x" * 200,
    "two\nlines\tand a tab",
]


def page_with(name: str) -> Snapshot:
    """A page with the name in every place for a name."""
    pipeline = Pipeline(name, name)
    last = failing(pipeline).last_failure
    assert last is not None
    stats = replace(
        failing(pipeline),
        last_failure=replace(last, cause=name, run_id=name),
        time_shares={name: 0.5},
        last_outcomes={name: NOW},
    )
    policy = Policy(team=name)
    active = {(pipeline, name): NOW}
    snapshot = snapshot_of({pipeline: stats}, policies={pipeline: policy}, active=active, links=LINKS)
    (finished,) = snapshot.about.sources
    about = replace(
        snapshot.about, version=name, prefect_version=name, sources=(finished, replace(finished, error=name))
    )
    return replace(snapshot, about=about, health=Health((name,)))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_name_is_shown_as_text_everywhere(name: str) -> None:
    harmless, hostile = parsed_page(page_with("plain")), parsed_page(page_with(name))
    assert hostile.tags == harmless.tags, "the same elements"
    assert [key for key, _ in hostile.attributes] == [key for key, _ in harmless.attributes]
    assert hostile.rows[2][0].count(name) == 3, "flow, deployment and team, unchanged"
    assert name in hostile.rows[2][5]
    assert {name for name, _ in hostile.attributes if name.startswith("on")} == set()
    query = parse_qs(urlsplit(hostile.links["dashboard"]).query)
    assert query == {"var-flow": [name], "var-deployment": [name]}
    assert urlsplit(hostile.links["failed run"]).path.count("/") == 4


# Pieces of HTML, attributes, templates and entities, and any other text.
PIECES = [
    "<",
    ">",
    "</",
    "b",
    "script",
    '"',
    "'",
    "&",
    "&amp;",
    "=",
    " onload=",
    "{{",
    "}}",
    "{%",
    "<!--",
    "\u202e",
    "a",
]
NAMES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), min_size=1, max_size=60),
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join),
).filter(lambda name: name != OTHER)


@given(NAMES)
def test_any_name_is_shown_as_text_everywhere(name: str) -> None:
    harmless, hostile = parsed_page(page_with("plain")), parsed_page(page_with(name))
    assert hostile.tags == harmless.tags
    assert hostile.rows[2][0].count(name) >= 3
    assert all(url.startswith(("https://", "metrics", "-/", "api/", "?")) for url in hostile.links.values())
