"""The status page as HTML: what it says, in which order, that names stay text, and that it is made once."""

from __future__ import annotations

import gzip
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_monitoring.model.changes import Due
from prefect_monitoring.model.records import OTHER, Pair
from prefect_monitoring.model.run_stats import Standing
from prefect_monitoring.model.source_status import FileStatus
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.snapshot.model import AuditReport, Health, Links, Snapshot
from prefect_monitoring.web.status_page import page as landing
from prefect_monitoring.web.status_page.page import HEADERS, StatusPage, render_page
from unit.snapshots import NOW, make_snapshot
from unit.status_pages import BAD_RUN, DAY, GOOD, HOUR, MINUTE, big_snapshot, failing, snapshot_of

STALE = 75.0
PAIR = Pair("etl", "daily")
LINKS = Links("https://prefect.example.com/base", "https://grafana.example.com", "https://example.com/runbooks")
VOID = {"meta", "link", "path"}


class Page(HTMLParser):
    """The page as a browser takes it; every element that is opened must be closed by its own end tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.links: dict[str, str] = {}
        self.rows: list[list[str]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = {name: value or "" for name, value in attrs}
        self.attributes += named.items()
        if tag not in VOID:
            self._open.append(tag)
        if tag == "a":
            self._href = named["href"]
            assert named.get("rel") == "noreferrer" or not self._href.startswith("http")
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.texts.append(data)
        if "a" in self._open:
            self.links[data] = self._href
        if {"td", "th"} & set(self._open) and "title" not in self._open:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def names(self) -> list[str]:
        """The first cell of each row of the first table, headings included."""
        found = [" ".join(row[0].split()) for row in self.rows]
        return found[1 : found.index("Source")]


def shown(snapshot: Snapshot, now: float = NOW) -> Page:
    return Page(render_page(snapshot, STALE, now))


# What it says


def everything() -> Snapshot:
    def pair(name: str) -> Pair:
        return Pair(name, "d")

    alone = Pair("undeclared", "")
    standings = {pair(name): GOOD for name in ("fine", "busy", "late", "critical-late", "stuck", "slow", "off")}
    standings |= {pair("failing"): failing(pair("failing")), alone: failing(alone)}
    standings |= {pair("low"): failing(pair("low")), pair("stale"): GOOD}
    return snapshot_of(
        standings,
        paused=(pair("off"),),
        without_runs=(pair("new"),),
        active={
            (pair("busy"), "running"): NOW - MINUTE,
            (pair("late"), "late"): NOW - HOUR,
            (pair("critical-late"), "late"): NOW - HOUR,
            (pair("stuck"), "pending"): NOW - HOUR,
            (pair("slow"), "running"): NOW - DAY,
        },
        policies={
            pair("critical-late"): Policy(criticality="critical", team="data"),
            pair("low"): Policy(criticality="low"),
            pair("stale"): Policy(max_staleness=MINUTE),
        },
        dues={pair("off"): Due(paused_at=NOW - DAY)},
        links=LINKS,
    )


def test_what_needs_attention_comes_first() -> None:
    page = shown(everything())
    assert page.names == [
        *(
            "Needs attention (7)",
            "critical-late d critical data",
            "failing d",
            "stale d",
            "stuck d",
            "slow d",
            "late d",
            "low d low",
        ),
        *("Failing, without an alert: no deployment, and not in the pipelines file (1)", "undeclared"),
        *("Fine (2)", "busy d", "fine d", "Paused, or without runs (2)", "new d", "off d"),
    ]
    assert "7 need attention 1 fails unwatched 2 fine 2 idle" in page.text
    assert "7 need attention, 1 fails unwatched, 2 fine, 2 idle · prefect-monitoring" in page.text


def test_a_retry_to_come_is_told_by_when_it_is_due() -> None:
    page = shown(snapshot_of({PAIR: GOOD}, active={(PAIR, "awaiting_retry"): NOW + HOUR}))
    assert "waiting for a retry due 13:00" in " ".join(page.text.split())


def test_a_row_in_full() -> None:
    policy = Policy(criticality="critical", team="data", objective=0.999, window=7 * DAY, max_duration=120.0)
    snapshot = snapshot_of({PAIR: failing(PAIR)}, policies={PAIR: policy}, links=LINKS)
    page = shown(snapshot)
    cells = [" ".join(cell.split()) for cell in page.rows[2]]
    assert cells == [
        "etl daily critical data",
        "failing 3 runs in a row, cause: rate limit, since 10:00 (2 h)",
        "30 min ago 11:30, took 12 s",
        "99.5 % of 200 runs in 7 d, objective 99.9 %",
        "",
        "load 71 % of the run",
        "failed run deployment dashboard runbook",
    ]
    assert (
        "The last 4 completed runs took 1 min to 2 min 10 s, the newest 1 min 35 s; at most 2 min is declared"
        in page.text
    )
    assert page.links["failed run"] == f"https://prefect.example.com/base/runs/flow-run/{BAD_RUN}"
    assert page.links["deployment"] == "https://prefect.example.com/base/deployments/deployment/id%20of%20daily"
    assert page.links["dashboard"] == "https://grafana.example.com/d/prefect-flow?var-flow=etl&var-deployment=daily"
    assert page.links["runbook"] == "https://example.com/runbooks/PrefectRunFailed.md"


def test_every_runbook_that_is_linked_exists() -> None:
    runbooks = {path.name for path in (Path(__file__).parents[3] / "docs/runbooks").glob("*.md")}
    source = (Path(landing.__file__).with_name("conditions.py")).read_text(encoding="utf-8")
    named = re.findall(r'"(Prefect[A-Z]\w+)"', source)
    assert len(named) >= 8
    assert {f"{name}.md" for name in named} <= runbooks


def test_without_addresses_there_are_no_links() -> None:
    assert shown(snapshot_of({PAIR: failing(PAIR)})).links.keys() == {"Metrics", "Ready?", "Healthy?", "on", "off"}
    odd = Links("javascript:alert(1)", "data:text/html,x", "file:///etc")
    assert shown(snapshot_of({PAIR: failing(PAIR)}, links=odd)).links.keys() == {
        *("Metrics", "Ready?", "Healthy?", "on", "off")
    }


def test_without_an_slo_window_success_is_that_of_30_days() -> None:
    pair = Pair("ad-hoc", "")
    page = shown(snapshot_of({pair: GOOD}))
    assert "99 % of 100 runs in 30 d" in page.text
    assert "objective" not in page.text


def test_a_spent_budget_is_marked() -> None:
    for bad, tone in ((1, ""), (2, ' class="bad"')):
        standing = replace(GOOD, window_runs={("slo", "good"): 10 - bad, ("slo", "bad"): bad})
        html = render_page(snapshot_of({PAIR: standing}), STALE, NOW)
        assert f"<span{tone}>{100 - 10 * bad}\u00a0%</span>" in html, "one failure is always allowed"


def test_nothing_at_all() -> None:
    assert "No flow has run yet, and there is no deployment" in shown(snapshot_of({})).text
    starting = Page(render_page(None, STALE, NOW))
    assert "Starting." in starting.text


# What is not of now, not known or not right


def down(snapshot: Snapshot, seconds: float) -> Snapshot:
    (finished,) = snapshot.about.sources
    failed = replace(finished, up=False, complete_to=NOW - seconds, last_success=NOW - seconds, error="no answer")
    return replace(snapshot, about=replace(snapshot.about, api_up=False, sources=(failed,)))


def test_all_is_well() -> None:
    html = render_page(snapshot_of({PAIR: GOOD}), STALE, NOW)
    assert "notices" not in html.partition("</style>")[2]
    assert "1 fine · prefect-monitoring" in html
    assert "As of 2026-03-02 12:00:00 UTC" in html


@pytest.mark.parametrize("seconds", [3, 3600])
def test_an_outage_is_told_at_once_with_the_instant_that_is_shown(seconds: float) -> None:
    page = shown(replace(down(snapshot_of({PAIR: GOOD}), seconds), active=None))
    at = {3: "11:59:57", 3600: "11:00:00"}[int(seconds)]
    assert f"The Prefect API does not answer. What follows is of 2026-03-02 {at} UTC, not of now." in page.text
    assert "The Prefect API does not answer · prefect-monitoring" in page.text, "a tab in the background says so too"
    assert "What runs or waits now is not known" in page.text
    assert f"As of 2026-03-02 {at} UTC" in page.text
    assert f"At {at[:5]}: 1 fine" in page.text, "nor does the summary pass for the present"
    assert page.names[0] == f"Fine at {at[:5]} (1)"


def test_a_new_process_that_gets_no_answer_says_what_it_goes_by() -> None:
    snapshot = down(snapshot_of({PAIR: GOOD}), 0)
    never = replace(snapshot.about.sources[0], complete_to=None, last_success=None)
    restarted = replace(snapshot, about=replace(snapshot.about, sources=(never,)))
    assert "What follows is of 2026-03-02 11:00:00 UTC, not of now." in shown(restarted).text
    assert "does not answer. Nothing is known yet." in shown(replace(restarted, standings={})).text


def test_an_api_that_answers_but_whose_runs_are_not_read() -> None:
    behind = down(snapshot_of({PAIR: GOOD}), 2 * HOUR)
    behind = replace(behind, about=replace(behind.about, api_up=True))
    assert (
        "Finished runs of the last 2 h are not read yet. What follows is of 2026-03-02 10:00:00" in shown(behind).text
    )


def test_dead_polling_is_told_by_the_reader_s_clock() -> None:
    snapshot = snapshot_of({PAIR: GOOD})
    assert "Polling has stopped" not in shown(snapshot, NOW + STALE).text
    stopped = shown(snapshot, NOW + STALE + 1).text
    assert (
        "Polling has stopped: restart the exporter. What follows is of 2026-03-02 12:00:00 UTC, not of now." in stopped
    )


def faulty(**changes: object) -> Snapshot:
    snapshot = snapshot_of({PAIR: GOOD})
    about = {name: value for name, value in changes.items() if hasattr(snapshot.about, name)}
    rest = {name: value for name, value in changes.items() if name not in about}
    return replace(snapshot, about=replace(snapshot.about, **about), **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "tone", "told"),
    [
        ({"health": Health(("the disk is full",))}, "bad", "Not ready: the disk is full"),
        ({"health": Health(("loading",), level_complete=False)}, "warn", "History is still being loaded"),
        ({"deployments": None}, "warn", "Deployments could not be listed lately"),
        ({"pipelines_file": FileStatus(valid=False, last_success=None)}, "bad", "The pipelines file is broken"),
        (
            {"audits": {"flow_runs": AuditReport(2, NOW)}},
            "bad",
            "2 finished runs that Prefect has could not be counted",
        ),
        ({"folded": {"x": 1.0}}, "warn", "Label caps were reached"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_the_exporter_s_own_faults(changes: Mapping[str, object], tone: str, told: str) -> None:
    html = render_page(faulty(**changes), STALE, NOW)
    assert re.search(rf'<li class="{tone}">{re.escape(told)}', html)


# Names stay text

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
    """The name wherever one can stand."""
    pair = Pair(name, name)
    last = failing(pair).last_failure
    assert last is not None
    standing = replace(
        failing(pair),
        last_failure=replace(last, cause=name, run_id=name),
        time_shares={name: 0.5},
        last_outcomes={name: NOW},
    )
    policy = Policy(team=name)
    snapshot = snapshot_of({pair: standing}, policies={pair: policy}, active={(pair, name): NOW}, links=LINKS)
    (finished,) = snapshot.about.sources
    about = replace(
        snapshot.about, version=name, prefect_version=name, sources=(finished, replace(finished, error=name))
    )
    return replace(snapshot, about=about, health=Health((name,)))


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text_wherever_they_stand(name: str) -> None:
    harmless, hostile = shown(page_with("plain")), shown(page_with(name))
    assert hostile.tags == harmless.tags, "no element more, none less"
    assert [key for key, _ in hostile.attributes] == [key for key, _ in harmless.attributes]
    assert hostile.rows[2][0].count(name) == 3, "flow, deployment and team, to the letter"
    assert name in hostile.rows[2][5]
    assert {name for name, _ in hostile.attributes if name.startswith("on")} == set()
    query = parse_qs(urlsplit(hostile.links["dashboard"]).query)
    assert query == {"var-flow": [name], "var-deployment": [name]}
    assert urlsplit(hostile.links["failed run"]).path.count("/") == 4


# Bits of HTML, of attributes, of templates and of entities, beside any text at all.
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
def test_any_name_is_text(name: str) -> None:
    harmless, hostile = shown(page_with("plain")), shown(page_with(name))
    assert hostile.tags == harmless.tags
    assert hostile.rows[2][0].count(name) >= 3
    assert all(url.startswith(("https://", "metrics", "-/", "?")) for url in hostile.links.values())


# The policy for its contents, its colours


def test_policy_lets_the_style_through_and_nothing_else() -> None:
    html = render_page(everything(), STALE, NOW)
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in HEADERS["Content-Security-Policy"]
    assert HEADERS["Content-Security-Policy"].startswith("default-src 'none'; ")
    page = Page(html)
    assert not {"script", "img", "iframe", "form"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name == "style" or name.startswith("on")]
    assert "http-equiv" not in html, "nothing reloads under somebody who listens to the page"


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("colour", ["text", "dim", "link", "bad", "warn", "busy", "ok", "idle", "bar"])
def test_contrast(scheme: int, colour: str) -> None:
    style = Path(landing.__file__).with_name("style.css").read_text(encoding="utf-8")
    schemes = [
        dict(re.findall(r"--(\w+): (#\w{6});", part)) for part in style.split("@media (prefers-color-scheme")[:2]
    ]
    least = 3.0 if colour == "bar" else 4.5  # WCAG AA: what is drawn, and what is written
    for back in ("back", "soft"):
        bright, dim = sorted((_luminance(schemes[scheme][one]) for one in (colour, back)), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= least, (colour, back)


# What it costs


async def test_a_page_is_made_once_a_snapshot_and_once_more_when_that_is_no_longer_replaced(monkeypatch) -> None:
    made = []
    real = landing.render_page
    monkeypatch.setattr(landing, "render_page", lambda *given: made.append(given[0]) or real(*given))
    pages, first, second = StatusPage(STALE), snapshot_of({PAIR: GOOD}), make_snapshot()
    for now in range(50):
        body = await pages.of(first, NOW + now)
    assert made == [first]
    assert gzip.decompress(body.gzipped) == body.plain
    await pages.of(second, NOW)
    assert made == [first, second]
    stopped = [await pages.of(second, NOW + STALE + age) for age in (1, 2, 3)]
    assert made == [first, second, second]
    assert b"Polling has stopped" in stopped[0].plain
    await pages.of(first, NOW)
    assert len(made) == 4


def test_size_grows_with_the_pairs_and_packs_well() -> None:
    sizes = {pairs: render_page(big_snapshot(pairs), STALE, NOW).encode() for pairs in (200, 800)}
    assert len(sizes[800]) < 4 * len(sizes[200])
    assert len(sizes[800]) < 1_200_000
    assert len(gzip.compress(sizes[800], 1)) < 100_000


def test_standing_without_anything_is_shown() -> None:
    assert shown(snapshot_of({PAIR: Standing()})).names == ["Paused, or without runs (1)", "etl daily"]
