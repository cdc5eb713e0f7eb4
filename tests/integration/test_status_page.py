"""The status page of a real exporter on a real Prefect server, in a real browser."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser

from support.browser import DESKTOP, PHONE, chromium, view
from support.bulk import Entered, add_flow_run, bulk_finished_runs, bulk_task_runs
from support.database import insert
from support.exporter import Exporter, start_exporter
from support.prefect_server import PrefectServer, env_for
from support.processes import wait_until
from support.proxy import FaultProxy
from support.seeder import Seeder

HOURS, MINUTES = timedelta(hours=1), timedelta(minutes=1)
# Prefect rejects <, > and & in the names of flows and deployments, but not of tasks.
HOSTILE_FLOWS = [
    '" onmouseover="alert(1)" \'',
    "javascript:alert(1)",
    "\u202egnp.txt\u2066 right to left",
    "🚀🦆 émoji",
    "x" * 200,
    "{{ 7 * 7 }}",
]
HOSTILE_TASK = "<script>window.hit=1</script><img src=x onerror=alert(1)>"
SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])


@dataclass(frozen=True)
class Seeded:
    """`prefix` of the flow names; `failed`: id of the run to open; `deployment`: id of its deployment."""

    prefix: str
    failed: str
    deployment: str
    pipelines: Path

    def names(self, *names: str) -> list[str]:
        return [self.prefix + name for name in names]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def seeded(server: PrefectServer, seeder: Seeder, tmp_path_factory: pytest.TempPathFactory) -> Seeded:
    """A pipeline in each state, and healthy ones with hostile names."""
    prefix, now = "status-page-", datetime.now(UTC)
    batch: defaultdict[str, list[dict[str, object]]] = defaultdict(list)

    def deployed(name: str, **options: object) -> tuple[str, str]:
        flow = seeder.flow(prefix + name)
        return flow, seeder.deployment(flow, "daily", **options)  # type: ignore[arg-type]

    def completed(place: tuple[str, str], *ago: timedelta, took: timedelta = 5 * MINUTES) -> list[str]:
        ends = [now - age for age in ago]
        return bulk_finished_runs(server, place[0], ends, deployment_id=place[1], duration=took)

    failing = deployed("failing", tags=["critical", "team:data"])
    completed(failing, *(number * 24 * HOURS for number in range(1, 20)))
    failures = [now - number * HOURS for number in (3, 2, 1)]
    failed = bulk_finished_runs(
        server, failing[0], failures, deployment_id=failing[1], state="Failed", message="429 Too Many Requests"
    )
    completed(deployed("stale"), 30 * HOURS)
    late = deployed("late")
    seeder.run(late[0], deployment_id=late[1], state="Late", at=now - HOURS)
    for name, state, since in (
        ("stuck", "Pending", HOURS),
        ("slow", "Running", 48 * HOURS),
        ("running", "Running", 2 * MINUTES),
    ):
        flow, deployment = deployed(name)
        add_flow_run(batch, flow, [Entered(state, now - since)], deployment_id=deployment)
    insert(server, batch)
    undeclared = seeder.flow(prefix + "undeclared")
    bulk_finished_runs(server, undeclared, [now - HOURS], state="Crashed")
    for name in HOSTILE_FLOWS:
        (run,) = completed(deployed(name), HOURS)
        bulk_task_runs(server, HOSTILE_TASK, [(run, now - HOURS)], duration=3 * MINUTES)
    completed(deployed("paused", paused=True), 40 * HOURS)
    deployed("never")
    pipelines = tmp_path_factory.mktemp("status_page") / "pipelines.yml"
    pipelines.write_text(f"pipelines:\n  - flow: {prefix}stale\n    slo: {{max_staleness: 26h}}\n")
    return Seeded(prefix, failed[-1], failing[1], pipelines)


@pytest.fixture(scope="module")
def faults(server: PrefectServer) -> Iterator[FaultProxy]:
    with FaultProxy(server.url) as running:
        yield running


@pytest.fixture(scope="module")
def exporter(
    server: PrefectServer, seeded: Seeded, faults: FaultProxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Exporter]:
    options = ("--include-flows", f"{seeded.prefix}.*", "--pipelines", str(seeded.pipelines))
    options += ("--prefect-ui-url", "https://prefect.example.com", "--grafana-url", "https://grafana.example.com")
    options += ("--runbook-url", "https://example.com/runbooks", "--source-timeout", "5s")
    with start_exporter(env_for(server, url=faults.url), tmp_path_factory.mktemp("exporter"), *options) as running:
        running.wait_ready()
        wait_until(
            lambda: "onerror" in running.get("/").text and "since" in running.get("/").text, 60, "tasks on the page"
        )
        yield running


def test_page_lists_pipelines_worst_first_and_escapes_names(
    exporter: Exporter, seeded: Seeded, browser: Browser
) -> None:
    for size, javascript in ((DESKTOP, True), (PHONE, True), (DESKTOP, False)):
        with view(browser, f"{exporter.url}/", size=size, java_script_enabled=javascript) as seen:
            troubled = seeded.names("failing", "stale", "stuck", "slow", "late")
            calm = sorted(seeded.names(*HOSTILE_FLOWS))
            without_success = seeded.names("never", "paused", "running")
            names = [*troubled, *seeded.names("undeclared"), *calm, *without_success]
            assert seen.texts(".pipelines bdi.name") == names, "names are escaped, the worst comes first"
            assert seen.texts(".pipelines .state") == [
                *("failing", "not succeeded", "stuck", "running too long", "late", "failing"),
                *("succeeded" for _ in calm),
                *("no runs yet", "paused", "running"),
            ]
            assert "5 need attention" in seen.page.locator(".summary").inner_text()
            assert seen.page.title().startswith("5 need attention, 1 fails unwatched")
            assert seen.overflowing() == []
            assert seen.messages == [], "nothing on the console, no dialog"
            assert [url for url in seen.asked if not url.startswith("data:")] == [f"{exporter.url}/"]
            assert seen.page.get_by_role("row").count() > len(names), "a table for screen readers, on phones too"
            if javascript:
                assert seen.page.evaluate("window.hit") is None
            assert HOSTILE_TASK in "".join(seen.texts(".pipelines td"))


def test_links_lead_to_the_run_the_dashboard_and_the_runbook(
    exporter: Exporter, seeded: Seeded, browser: Browser
) -> None:
    with view(browser, f"{exporter.url}/") as seen:
        rows = seen.page.locator(".pipelines tr")
        first = rows.filter(has_text=f"{seeded.prefix}failing").first.locator("a")
        links = {link.inner_text(): link.get_attribute("href") or "" for link in first.all()}
        assert links["failed run"] == f"https://prefect.example.com/runs/flow-run/{seeded.failed}"
        assert links["deployment"] == f"https://prefect.example.com/deployments/deployment/{seeded.deployment}"
        assert links["runbook"] == "https://example.com/runbooks/PrefectRunFailed.md"
        for name in ("failing", *HOSTILE_FLOWS):
            row = seen.page.locator(".pipelines tr", has=seen.page.get_by_text(seeded.prefix + name, exact=True))
            address = urlsplit(row.get_by_text("dashboard").get_attribute("href") or "")
            assert (address.scheme, address.netloc, address.path) == (
                "https",
                "grafana.example.com",
                "/d/prefect-flow",
            )
            assert parse_qs(address.query) == {"var-flow": [seeded.prefix + name], "var-deployment": ["daily"]}
        away = seen.page.locator("a[href^='http']")
        assert {link.get_attribute("rel") for link in away.all()} == {"noreferrer"}
        for name in ("Metrics", "Ready?", "Healthy?"):
            seen.page.get_by_role("link", name=name).click()
            assert seen.page.url.startswith(f"{exporter.url}/")
            seen.page.go_back()


def test_outage_is_stated_on_the_page(exporter: Exporter, seeded: Seeded, browser: Browser, faults: FaultProxy) -> None:
    faults.refuse()
    wait_until(lambda: "does not answer. This page shows" in exporter.get("/").text, 30, "the outage on the page")
    with view(browser, f"{exporter.url}/") as seen:
        notice = seen.page.locator(".notices li").first.inner_text()
        assert "The Prefect API does not answer. This page shows 20" in notice
        assert notice.endswith("UTC, not the present.")
        assert seen.page.title().startswith("The Prefect API does not answer")
        assert seen.texts(".pipelines bdi.name")[0] == f"{seeded.prefix}failing", "what the ledger knows is still there"
    wait_until(lambda: "Active runs are not known" in exporter.get("/").text, 30, "an unknown present")
    with view(browser, f"{exporter.url}/", size=PHONE) as seen:
        assert "running" not in seen.texts(".pipelines .state")
        assert seen.overflowing() == []
    faults.accept()
    wait_until(lambda: "does not answer" not in exporter.get("/").text, 30, "an API that answers again")


@SIZES
def test_page_reloads_only_on_request(exporter: Exporter, browser: Browser, size: dict[str, int]) -> None:
    with view(browser, f"{exporter.url}/", size=size) as seen:
        seen.page.get_by_role("link", name="on", exact=True).click()
        assert seen.page.url == f"{exporter.url}/?reload=30"
    assert exporter.get("/?reload=30").headers["refresh"] == "30"
    assert "refresh" not in exporter.get("/").headers
