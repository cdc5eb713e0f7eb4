"""Every way a Prefect API can fail: what is shown meanwhile, what is said, and that nothing is lost once it is over."""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, PREFECT_API_URL, temporary_settings

from prefect_monitoring.cli import main
from prefect_monitoring.commands.check import check
from prefect_monitoring.config.loading import load_settings
from prefect_monitoring.prefect_api import pagination
from prefect_monitoring.web.app import make_app
from support.bulk import bulk_finished_runs, bulk_task_runs
from support.exposition import Samples, matching, outcomes, total, value
from support.ports import free_port
from support.prefect_server import PrefectServer, start_server
from support.processes import busyness, wait_until_async
from support.proxy import FaultProxy
from support.rig import SOURCE_TIMEOUT, Rig, rig
from support.seeder import Seeder
from support.truth import truth
from support.versions import COUNTS_TASK_RUNS_BY_END

UP = "prefect_exporter_source_up"
REQUESTS = "prefect_exporter_api_requests_total"
POLLED = ("finished_flow_runs", "active_flow_runs")
SOURCES = (*POLLED, "flows", "deployments", "audit_flow_runs")
PATIENCE = 20.0  # what a busy machine may add to a deadline; without one, a poll takes a minute or two
OUTAGE_DEADLINE = 0.4
POLLS = 3  # of a dead API
AUTH = "watcher:s3cret-of-the-team"
MARKER = "MARKER-0451-DO-NOT-TELL"

# What the exporter may send at all. A list of its own: the product's could grow by mistake.
READS = {
    "GET /admin/version",
    "GET /csrf-token",
    "GET /flow_run_states/",
    "GET /task_run_states/",
    "POST /automations/filter",
    "POST /events/count-by/resource",
    "POST /events/filter",
    "POST /deployments/filter",
    "POST /flow_runs/count",
    "POST /flow_runs/filter",
    "POST /flows/filter",
    "POST /logs/filter",
    "POST /task_runs/count",
    "POST /task_runs/filter",
    "POST /v2/concurrency_limits/filter",
    "POST /work_pools/filter",
    "POST /work_pools/{name}/workers/filter",
    "POST /work_queues/filter",
}


@dataclass
class Team:
    """A flow with a deployment that failed twice, and a run that is under way."""

    prefix: str
    flow: str
    deployment: str

    @property
    def pipeline(self) -> dict[str, str]:
        return {"flow": f"{self.prefix}etl", "deployment": "daily"}


@pytest.fixture
def team(seeder: Seeder, unique: str) -> Team:
    flow = seeder.flow(f"{unique}etl")
    deployment = seeder.deployment(flow, "daily")
    for _ in range(2):
        seeder.failed(seeder.run(flow, deployment_id=deployment))
    seeder.running(seeder.run(flow, deployment_id=deployment))
    return Team(unique, flow, deployment)


@pytest.fixture(autouse=True)
def _hear_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="prefect_monitoring")


def said(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("prefect_monitoring") and record.levelno == level
    ]


def up(samples: Samples) -> dict[str, float | None]:
    return {source: value(samples, UP, source=source) for source in SOURCES}


def impatient(exporter: Rig, seconds: float = OUTAGE_DEADLINE) -> None:
    """Gives the sources less time, so that polls of a dead API take seconds."""
    for source in exporter.poller.sources.values():
        source.timeout = seconds


@asynccontextmanager
async def scraper(exporter: Rig) -> AsyncIterator[httpx.AsyncClient]:
    settings = load_settings(exporter.options, {})
    app = make_app(exporter.published, settings.web, settings.poll)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://exporter") as client:
        yield client


async def scrape(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert "prefect_flow_run_outcomes_total{" in answer.text


async def scrape_during(exporter: Rig, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Scrapes for as long as `work` goes on."""
    async with scraper(exporter) as client:
        task = asyncio.create_task(work())
        while not task.done():
            await scrape(client)
            await asyncio.sleep(0.1)
        await task


# --- the whole API fails -------------------------------------------------------------------------------------------

SHAPELESS = '[{"surprise": 1}]'
WHOLE: dict[str, tuple[Callable[[FaultProxy], object], str]] = {
    "refused": (lambda proxy: proxy.refuse(), "could not be reached|no complete answer"),
    "hangs": (lambda proxy: proxy.hang(), "no complete answer within"),
    "slow": (lambda proxy: proxy.slow(3), "no complete answer within"),
    "truncated": (lambda proxy: proxy.truncate(), "could not be reached|no complete answer"),
    "401": (lambda proxy: proxy.status(401), "401.*PREFECT_API_KEY"),
    "403": (lambda proxy: proxy.status(403), "403.*lack the right"),
    "404": (lambda proxy: proxy.status(404, body='{"detail":"Not Found"}'), "404.*PREFECT_API_URL"),
    "422": (lambda proxy: proxy.status(422, body='{"detail":[{"msg":"Extra inputs"}]}'), "422.*3.4.20"),
    "500": (lambda proxy: proxy.status(500), "500.*server failed"),
    "503": (lambda proxy: proxy.status(503), "503.*server failed"),
    "a redirect": (lambda proxy: proxy.status(302, headers={"Location": "/login"}), "redirected.*PREFECT_API_URL"),
    "invalid JSON": (lambda proxy: proxy.invalid_json(), "not JSON"),
    "an object": (lambda proxy: proxy.status(200, body="{}"), "not a list"),
    "other rows": (lambda proxy: proxy.status(200, body=SHAPELESS), "another shape"),
}
ONE_REQUEST_EACH = {"401", "403", "404", "422", "a redirect", "invalid JSON", "an object", "other rows"}
# After a 500, requests for two single rows show whether another row is the reason.
ANSWERED_AT_ONCE = {*ONE_REQUEST_EACH, "500", "503"}


@pytest.mark.parametrize("kind", WHOLE)
async def test_an_outage_is_not_an_empty_system(
    proxy: FaultProxy,
    server: PrefectServer,
    seeder: Seeder,
    team: Team,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    # Well below the deadline: a busy machine must not make another fault of it.
    monkeypatch.setattr("prefect_monitoring.prefect_api.client.TRANSIENT_WAIT_SECONDS", 0.05)
    set_fault, reason = WHOLE[kind]
    async with rig(proxy.url, tmp_path, include_flows=f"{team.prefix}.*") as exporter:
        await exporter.inventory()
        before = await exporter.totals(team.prefix)
        assert before == truth(server.url, flow_prefix=team.prefix)
        assert value(exporter.samples, "prefect_up") == 1
        assert total(exporter.samples, "prefect_flow_runs", **team.pipeline, state="running") == 1
        caplog.clear()
        set_fault(proxy)
        seeder.completed(seeder.run(team.flow))
        seeder.failed(seeder.run(team.flow, deployment_id=team.deployment))
        # Short where waiting is the fault; elsewhere a busy machine must not make another fault of it.
        impatient(exporter, 60 if kind in ANSWERED_AT_ONCE else OUTAGE_DEADLINE)
        proxy.forget()
        for _ in range(POLLS):
            begun = time.monotonic()
            await scrape_during(exporter, exporter.poll)
            assert time.monotonic() - begun < (OUTAGE_DEADLINE + PATIENCE) * busyness(), "the poll keeps its deadline"
        sent = len(proxy.requests)
        assert sent == 2 * POLLS if kind in ONE_REQUEST_EACH else sent <= (6 if kind == "500" else 4) * POLLS, (
            proxy.paths()
        )

        samples = exporter.samples
        assert outcomes(samples, flow_prefix=team.prefix) == before, "counters stand still"
        assert value(samples, "prefect_up") == 0
        assert up(samples) == {
            **dict.fromkeys(POLLED, 0),
            "flows": 1,
            "deployments": 1,
            "audit_flow_runs": up(samples)["audit_flow_runs"],
        }
        assert value(samples, "prefect_flow_run_consecutive_failures", **team.pipeline) == 2, "the ledger still knows"
        assert total(samples, "prefect_flow_runs", **team.pipeline, state="running") == 1, "not stale yet"
        failed = sum(number for labels, number in matching(samples, REQUESTS).items() if dict(labels)["code"] != "200")
        assert kind in ("an object", "other rows") or failed >= 2 * POLLS, "what was sent is counted"
        (warning,) = said(caplog, logging.WARNING)
        assert re.search(reason, warning), warning
        assert not said(caplog, logging.ERROR)

        exporter.clock = lambda: (
            time.time() + 3 * 15 + SOURCE_TIMEOUT + 2
        )  # three intervals and the time a reading may take
        await exporter.poll()
        samples = exporter.samples
        assert not matching(samples, "prefect_flow_runs"), "too old to pass for the present"
        assert not matching(samples, "prefect_flow_run_oldest_state_timestamp_seconds")
        assert outcomes(samples, flow_prefix=team.prefix) == before
        assert value(samples, "prefect_flow_run_consecutive_failures", **team.pipeline) == 2
        exporter.clock = time.time

        caplog.clear()
        proxy.clear()
        proxy.accept()
        impatient(exporter, SOURCE_TIMEOUT)
        assert await exporter.totals(team.prefix) == truth(server.url, flow_prefix=team.prefix)
        samples = exporter.samples
        assert value(samples, "prefect_up") == 1
        assert [up(samples)[source] for source in POLLED] == [1, 1]
        assert value(samples, "prefect_flow_run_consecutive_failures", **team.pipeline) == 3
        assert total(samples, "prefect_flow_runs", **team.pipeline, state="running") == 1
        assert len([line for line in said(caplog, logging.INFO) if "is read again" in line]) == 1
        assert not said(caplog, logging.WARNING)


async def test_no_scrape_waits_for_a_poll(proxy: FaultProxy, team: Team, tmp_path: Path) -> None:
    async with rig(proxy.url, tmp_path, include_flows=f"{team.prefix}.*") as exporter, scraper(exporter) as client:
        await exporter.inventory()
        await exporter.poll()
        proxy.hang()
        proxy.forget()
        polling = asyncio.create_task(exporter.poll())
        await wait_until_async(lambda: len(proxy.requests) == len(POLLED), 60, "a poll that hangs")
        for _ in range(3):
            await scrape(client)
        assert not polling.done(), "it hangs for two minutes"
        proxy.refuse()
        await polling


@pytest.mark.parametrize("kind", ["hangs", "401", "503"])
async def test_one_outage_is_one_warning_whatever_is_read(
    proxy: FaultProxy, team: Team, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """The inventory's sources meet the same outage: a team is told once, and once that it is over."""
    async with rig(proxy.url, tmp_path, include_flows=f"{team.prefix}.*") as exporter:
        await exporter.inventory()
        await exporter.poll()
        caplog.clear()
        WHOLE[kind][0](proxy)
        if kind == "hangs":  # what answers at all may take its time on a busy machine
            impatient(exporter)
        for _ in range(2):
            await exporter.poll()
            await exporter.inventory()
        down = dict.fromkeys(SOURCES, 0)
        assert up(exporter.samples) == down
        assert len(said(caplog, logging.WARNING)) == 1, said(caplog, logging.WARNING)
        proxy.clear()
        proxy.accept()
        impatient(exporter, SOURCE_TIMEOUT)
        await exporter.poll()
        await exporter.inventory()
        assert up(exporter.samples) == dict.fromkeys(SOURCES, 1)
        assert len([line for line in said(caplog, logging.INFO) if "is read again" in line]) == 1


# --- one endpoint fails --------------------------------------------------------------------------------------------

DOWN_WITH = {
    "/flow_runs/filter": {"finished_flow_runs", "active_flow_runs"},
    "/flow_run_states/": {"finished_flow_runs"},
    "/flows/filter": {"finished_flow_runs", "flows"},
    "/deployments/filter": {"finished_flow_runs", "deployments"},
    "/flow_runs/count": {"audit_flow_runs"},
}


@pytest.mark.parametrize("endpoint", DOWN_WITH)
async def test_one_endpoint_fails_and_all_else_goes_on(
    proxy: FaultProxy, server: PrefectServer, seeder: Seeder, team: Team, tmp_path: Path, endpoint: str
) -> None:
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    (old,) = bulk_finished_runs(server, team.flow, [long_ago], state="Failed")
    async with rig(proxy.url, tmp_path, include_flows=f"{team.prefix}.*") as exporter:
        await exporter.inventory()
        before = await exporter.totals(team.prefix)
        proxy.status(500, path=endpoint)

        seeder.completed(seeder.run(team.flow, deployment_id=team.deployment))  # plain
        retried = seeder.run(team.flow, deployment_id=team.deployment)  # needs its history
        seeder.failed(retried)
        seeder.retry_from_ui(retried)
        seeder.completed(retried)
        new = seeder.flow(f"{team.prefix}new")  # needs a name
        seeder.failed(seeder.run(new))
        seeder.failed(seeder.run(team.flow, deployment_id=seeder.deployment(team.flow, "hourly")))
        seeder.mark(old, "COMPLETED")  # needs the counts of closed hours
        for _ in range(2):
            await exporter.poll()
            await exporter.inventory()
        samples = exporter.samples
        expected = {source: float(source not in DOWN_WITH[endpoint]) for source in SOURCES}
        assert up(samples) == {**expected, "audit_flow_runs": up(samples)["audit_flow_runs"]}
        if endpoint == "/flow_runs/count":
            assert up(samples)["audit_flow_runs"] == 0
        assert value(samples, "prefect_up") == float(endpoint != "/flow_runs/filter")
        now = outcomes(samples, flow_prefix=team.prefix)
        plain = (f"{team.prefix}etl", "daily", "completed")
        if endpoint == "/flow_runs/filter":
            assert now == before
        else:
            assert now[plain] > before[plain], "what needs nothing of it is counted"
        if endpoint in ("/flow_run_states/", "/flow_runs/count"):
            assert now[f"{team.prefix}new", "", "failed"] == 1
        if endpoint == "/flows/filter":
            assert now[f"{team.prefix}etl", "hourly", "failed"] == 1
        if endpoint == "/deployments/filter":
            assert now[f"{team.prefix}new", "", "failed"] == 1

        proxy.clear()
        await exporter.poll()
        await exporter.inventory()
        assert await exporter.totals(team.prefix) == truth(server.url, flow_prefix=team.prefix)
        assert up(exporter.samples) == dict.fromkeys(SOURCES, 1)


async def test_a_run_that_waits_for_its_history_is_not_hidden(
    proxy: FaultProxy, seeder: Seeder, team: Team, tmp_path: Path
) -> None:
    """A run that awaits its retry needs attention: not shown and source_up 1 would be a lie."""
    async with rig(proxy.url, tmp_path, include_flows=f"{team.prefix}.*") as exporter:
        await exporter.inventory()
        await exporter.poll()
        proxy.status(500, path="/flow_run_states/")
        run = seeder.run(team.flow, deployment_id=team.deployment)
        seeder.failed(run)
        seeder.retry_from_ui(run, scheduled_time=datetime.now(UTC) + timedelta(minutes=5))
        await exporter.poll()
        is_shown = total(exporter.samples, "prefect_flow_runs", **team.pipeline, state="awaiting_retry") == 1
        assert is_shown or up(exporter.samples)["active_flow_runs"] == 0


async def test_a_lasting_fault_is_told_once_while_more_runs_pile_up(
    proxy: FaultProxy,
    server: PrefectServer,
    seeder: Seeder,
    team: Team,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with rig(proxy.url, tmp_path, include_flows=f"{team.prefix}.*") as exporter:
        await exporter.inventory()
        await exporter.poll()
        proxy.status(500, path="/flow_run_states/")
        caplog.clear()
        for _ in range(5):
            run = seeder.run(team.flow, deployment_id=team.deployment)
            seeder.failed(run)
            seeder.mark(run, "COMPLETED")
            await exporter.poll()
        assert "5 finished runs wait" in exporter.poller.sources["finished_flow_runs"].error
        assert len(said(caplog, logging.WARNING)) == 1, said(caplog, logging.WARNING)
        proxy.clear()
        assert await exporter.totals(team.prefix) == truth(server.url, flow_prefix=team.prefix)


async def test_many_runs_need_a_history_that_is_not_given(
    proxy: FaultProxy, server: PrefectServer, seeder: Seeder, team: Team, tmp_path: Path
) -> None:
    """A dead endpoint is not asked once for every run."""
    async with rig(proxy.url, tmp_path, include_flows=f"{team.prefix}.*") as exporter:
        await exporter.inventory()
        await exporter.poll()
        for _ in range(20):
            run = seeder.run(team.flow)
            seeder.failed(run)
            seeder.mark(run, "COMPLETED")
        proxy.status(503, path="/flow_run_states/")
        proxy.forget()
        await exporter.poll()
        assert 1 <= proxy.paths().count("GET /flow_run_states/") <= 16
        proxy.clear()
        assert await exporter.totals(team.prefix) == truth(server.url, flow_prefix=team.prefix)


# --- throttling ----------------------------------------------------------------------------------------------------


async def test_a_short_pause_is_waited_out_within_the_poll(
    proxy: FaultProxy, server: PrefectServer, seeder: Seeder, team: Team, tmp_path: Path
) -> None:
    async with rig(proxy.url, tmp_path, include_flows=f"{team.prefix}.*") as exporter:
        await exporter.inventory()
        await exporter.poll()
        seeder.completed(seeder.run(team.flow))
        proxy.status(429, headers={"Retry-After": "1"}, times=2)
        proxy.forget()
        await exporter.poll()
        first, second, *later = [seen.at for seen in proxy.requests]
        assert second - first < 0.95, "both were under way"
        assert later
        assert min(later) - second >= 0.95, "nothing is sent during the pause"
        samples = exporter.samples
        assert value(samples, "prefect_exporter_api_throttled_total") == 1, "one pause"
        assert value(samples, REQUESTS, endpoint="/flow_runs/filter", code="429") == 2
        assert value(samples, "prefect_up") == 1
        assert await exporter.totals(team.prefix) == truth(server.url, flow_prefix=team.prefix)


@pytest.mark.parametrize(("code", "as_date"), [(429, False), (503, True)], ids=["429, seconds", "503, date"])
async def test_a_long_pause_is_kept(
    proxy: FaultProxy,
    server: PrefectServer,
    seeder: Seeder,
    team: Team,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    as_date: bool,
) -> None:
    monkeypatch.setattr("prefect_monitoring.prefect_api.client.SHORT_WAIT_SECONDS", 0.2)
    async with rig(proxy.url, tmp_path, include_flows=f"{team.prefix}.*") as exporter:
        await exporter.inventory()
        before = await exporter.totals(team.prefix)
        seeder.completed(seeder.run(team.flow))
        caplog.clear()
        over = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=8)
        header = over.strftime("%a, %d %b %Y %H:%M:%S GMT") if as_date else "7.5"
        proxy.status(code, headers={"Retry-After": header}, times=2)
        proxy.forget()
        await exporter.poll()
        assert len(proxy.requests) == 2
        await exporter.poll(5)
        await exporter.inventory()
        assert datetime.now(UTC) < over - timedelta(seconds=1), "a poll during the pause does not wait"
        assert len(proxy.requests) == 2, "and sends nothing"
        samples = exporter.samples
        assert outcomes(samples, flow_prefix=team.prefix) == before
        assert value(samples, "prefect_up") == 0
        assert up(samples) == {**dict.fromkeys(SOURCES, 0), "audit_flow_runs": up(samples)["audit_flow_runs"]}
        assert value(samples, "prefect_exporter_api_throttled_total") == 1, "one pause, whatever was put off"
        assert value(samples, REQUESTS, endpoint="/flow_runs/filter", code=str(code)) == 2
        assert len(said(caplog, logging.WARNING)) == 1, said(caplog, logging.WARNING)
        await asyncio.sleep(max(proxy.requests[1].at + 8.1 - time.monotonic(), 0))
        assert await exporter.totals(team.prefix) == truth(server.url, flow_prefix=team.prefix)
        assert value(exporter.samples, "prefect_up") == 1


async def test_what_waits_for_its_turn_respects_a_pause_too(proxy: FaultProxy, team: Team, tmp_path: Path) -> None:
    """Two requests, one a second: the first is told to pause while the second waits for its turn."""
    async with rig(proxy.url, tmp_path, include_flows=f"{team.prefix}.*", max_requests_per_second=1) as exporter:
        proxy.status(429, headers={"Retry-After": "60"})
        await exporter.poll(2)
        assert len(proxy.requests) == 1, proxy.paths()


async def test_503_for_ever_is_not_retried_unseen(proxy: FaultProxy, team: Team, tmp_path: Path) -> None:
    """Prefect's client would sleep 2 + 4 + … seconds and try again five times, and nobody would know."""
    async with rig(proxy.url, tmp_path, include_flows=f"{team.prefix}.*") as exporter:
        await exporter.poll()
        proxy.forget()
        proxy.status(503)
        begun = time.monotonic()
        await exporter.poll(3)
        await exporter.poller.audit()
        await exporter.poller.publish()
        assert time.monotonic() - begun < 15 * busyness()
        counted = sum(matching(exporter.samples, REQUESTS, code="503").values())
        assert 7 <= counted == len(proxy.requests) <= 2 * 8, "one more try of our own, and every request is told"


async def test_one_dropped_connection_costs_no_poll(
    proxy: FaultProxy, server: PrefectServer, team: Team, tmp_path: Path
) -> None:
    """A keep-alive connection that the server closed at the wrong moment happens every day."""
    async with rig(proxy.url, tmp_path, include_flows=f"{team.prefix}.*") as exporter:
        await exporter.poll()
        proxy.drop(times=1)
        await exporter.poll()
        assert [up(exporter.samples)[source] for source in POLLED] == [1, 1]
        assert await exporter.totals(team.prefix) == truth(server.url, flow_prefix=team.prefix)


async def test_more_requests_than_the_ceiling_wait(
    guarded_proxy: FaultProxy,
    guarded: PrefectServer,
    guarded_seeder: Seeder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pagination, "MAX_PAGE", 2)
    flow = guarded_seeder.flow(f"many-{uuid4().hex[:6]}")
    now = datetime.now(UTC)
    bulk_finished_runs(guarded, flow, [now - timedelta(hours=2, minutes=minute) for minute in range(60)])
    async with rig(guarded_proxy.url, tmp_path, auth=AUTH, max_requests_per_second=5, source_timeout="6s") as exporter:
        guarded_proxy.forget()
        begun = time.monotonic()
        await exporter.poll()
        seconds = time.monotonic() - begun
        at = sorted(seen.at for seen in guarded_proxy.requests if seen.path != "/csrf-token")
        assert len(at) > 12, "there was more to send than the ceiling lets through"
        assert max(sum(start <= one < start + 1 for one in at) for start in at) <= 5 + 5 + 1
        assert len(at) <= 5 + 5 * seconds + 1
        assert not exporter.reader.ledger.cursor.baseline_complete, "cut short, and taken up again later"


# --- what it costs, and that it only reads -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A server of this file's own that asks for basic auth and CSRF tokens."""
    env = {"PREFECT_SERVER_API_AUTH_STRING": AUTH, "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true"}
    with start_server(tmp_path_factory.mktemp("guarded"), env=env) as running:
        yield running


@pytest.fixture(scope="module")
def guarded_seeder(guarded: PrefectServer) -> Iterator[Seeder]:
    with Seeder(guarded.url, auth=AUTH) as seeder:
        client = str(uuid4())
        token = seeder.call("GET", f"/csrf-token?client={client}")["token"]
        seeder.client.headers.update({"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": client})
        yield seeder


@pytest.fixture
def guarded_proxy(guarded: PrefectServer) -> Iterator[FaultProxy]:
    with FaultProxy(guarded.url) as running:
        yield running


async def test_basic_auth_and_csrf_tokens(
    guarded_proxy: FaultProxy, guarded_seeder: Seeder, unique: str, tmp_path: Path
) -> None:
    flow = guarded_seeder.flow(f"{unique}guarded")
    async with rig(guarded_proxy.url, tmp_path, auth=AUTH, include_flows=f"{unique}.*") as exporter:
        await exporter.inventory()
        for count in range(1, 4):
            guarded_seeder.completed(guarded_seeder.run(flow))
            await exporter.poll(2)
            await exporter.inventory()
            assert outcomes(exporter.samples, flow_prefix=unique) == {(f"{unique}guarded", "", "completed"): count}
        assert up(exporter.samples) == dict.fromkeys(SOURCES, 1)
        posts = [seen for seen in guarded_proxy.requests if seen.method == "POST"]
        assert posts
        assert all("prefect-csrf-token" in seen.headers for seen in posts)
        assert guarded_proxy.paths().count("GET /csrf-token") <= 2, "a token serves for long"


async def test_requests_side_by_side_share_a_csrf_token(guarded_proxy: FaultProxy, unique: str, tmp_path: Path) -> None:
    """The server knows one token a client; a start and a token's end must not be a race for it."""
    async with rig(guarded_proxy.url, tmp_path, auth=AUTH, include_flows=f"{unique}.*") as exporter:
        for end in ("start", "expired", "refused"):
            client = exporter.reader.api._http._client._client
            if end == "expired":
                client.csrf_token_expiration = datetime.now(UTC) - timedelta(seconds=1)
            if end == "refused":
                client.csrf_token = "forged"
            guarded_proxy.forget()
            await asyncio.gather(exporter.poll(), exporter.inventory())
            assert up(exporter.samples) == {
                **dict.fromkeys(SOURCES, 1),
                "audit_flow_runs": up(exporter.samples)["audit_flow_runs"],
            }
            assert guarded_proxy.paths().count("GET /csrf-token") == 1
            refused = [seen.path for seen in guarded_proxy.requests if seen.status == 403]
            assert bool(refused) == (end == "refused")


@pytest.mark.parametrize(("auth", "mended"), [(None, False), ("watcher:wrong", False), (AUTH, True)])
async def test_check_tells_wrong_credentials(
    guarded: PrefectServer, tmp_path: Path, auth: str | None, mended: bool
) -> None:
    settings = load_settings({"ledger_url": f"sqlite:///{tmp_path / 'ledger.db'}"}, {})
    with temporary_settings({PREFECT_API_URL: guarded.url, PREFECT_API_AUTH_STRING: auth}):
        findings = [finding for finding in await check(settings) if finding.text.startswith("Prefect API")]
    assert [finding.ok for finding in findings] == [mended], "one fault, one finding"
    if not mended:
        assert "401" in findings[0].text
        assert "PREFECT_API_AUTH_STRING" in findings[0].text
        assert "watcher" not in findings[0].text


async def test_an_idle_poll_costs_the_same_whatever_the_history(
    guarded_proxy: FaultProxy, guarded: PrefectServer, guarded_seeder: Seeder, unique: str, tmp_path: Path
) -> None:
    flow = guarded_seeder.flow(f"{unique}old")
    now = datetime.now(UTC)
    costs = []
    for many in (20, 2000):
        bulk_finished_runs(guarded, flow, [now - timedelta(hours=6, seconds=20 * number) for number in range(many)])
        directory = tmp_path / str(many)
        directory.mkdir()
        async with rig(guarded_proxy.url, directory, auth=AUTH, include_flows=f"{unique}.*") as exporter:
            await exporter.inventory()
            await exporter.details(2)
            await exporter.inventory()
            assert sum(outcomes(exporter.samples, flow_prefix=unique).values()) >= many
            guarded_proxy.forget()
            await exporter.details(4)
            polls = [seen for seen in guarded_proxy.requests if seen.path != "/csrf-token"]
            await exporter.poller.take_inventory()
            listings = len(guarded_proxy.requests) - len(polls)
            await exporter.poller.audit()
            costs.append((len(polls), listings, len(guarded_proxy.requests)))
    assert costs[0] == costs[1]
    assert costs[0][0] <= 4 * 12
    assert costs[0][1] <= 10
    assert costs[0][2] - costs[0][1] - costs[0][0] <= 9, "a count of each of four types, of nine with task runs"


async def test_reading_never_writes(
    proxy: FaultProxy, server: PrefectServer, seeder: Seeder, team: Team, tmp_path: Path
) -> None:
    seeder.work_pool(f"{team.prefix}pool")
    seeder.deployment(team.flow, "pooled", work_pool=f"{team.prefix}pool", paused=True)

    def everything() -> dict[str, object]:
        mine = {"flows": {"id": {"any_": [team.flow]}}}
        return {
            "deployments": seeder.call("POST", "/deployments/filter", mine),
            "runs": [
                {name: one for name, one in run.items() if not name.startswith("estimated_")}
                for run in seeder.call("POST", "/flow_runs/filter", {**mine, "sort": "ID_DESC"})
            ],
            "flows": seeder.call("POST", "/flows/filter", mine),
            "pool": seeder.call("GET", f"/work_pools/{team.prefix}pool"),
        }

    (old,) = bulk_finished_runs(server, team.flow, [datetime.now(UTC) - timedelta(hours=1)], state="Failed")
    async with rig(proxy.url, tmp_path, include_flows=f"{team.prefix}.*") as exporter:
        await exporter.inventory()
        await exporter.details(2)
        bulk_task_runs(server, "publish", [(old, datetime.now(UTC))], state="RolledBack")
        seeder.task_run(seeder.run(team.flow), "load", state="Running")
        retried = seeder.run(team.flow, deployment_id=team.deployment)
        seeder.failed(retried)
        seeder.retry_from_ui(retried, scheduled_time=datetime.now(UTC) + timedelta(hours=1))
        seeder.completed(seeder.run(seeder.flow(f"{team.prefix}new")))
        seeder.mark(old, "COMPLETED")
        await exporter.details(2)
        before = everything()
        await exporter.inventory()
        await exporter.details()
        await exporter.restart()
        await exporter.inventory()
        await exporter.details(2)
        assert everything() == before
        # Everything that can be asked was asked.
        asked = {re.sub(r"/work_pools/[^/]+/workers/", "/work_pools/{name}/workers/", path) for path in proxy.paths()}
        assert asked == READS
        # A server whose SQLite cannot search says so with a 500.
        others = [seen for seen in proxy.requests if seen.path not in ("/csrf-token", "/logs/filter")]
        # An older server refuses to choose or count task runs by their end; then they are read in another way.
        refused = set() if COUNTS_TASK_RUNS_BY_END else {"/task_runs/filter", "/task_runs/count"}
        assert {seen.path for seen in others if seen.status != 200} <= refused


# --- no secret leaves ----------------------------------------------------------------------------------------------

SECRETS = {
    "key": lambda url: {PREFECT_API_URL: url, PREFECT_API_KEY: MARKER},
    "auth string": lambda url: {PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: f"admin:{MARKER}"},
    "userinfo": lambda url: {PREFECT_API_URL: url.replace("://", f"://admin:{MARKER}@")},
}


@pytest.mark.parametrize("secret", SECRETS)
async def test_no_secret_leaves(
    proxy: FaultProxy, team: Team, tmp_path: Path, caplog: pytest.LogCaptureFixture, secret: str
) -> None:
    settings = SECRETS[secret](proxy.url)
    collected: list[str] = []
    with temporary_settings(settings):
        url = str(settings[PREFECT_API_URL])
        async with rig(url, tmp_path, include_flows=f"{team.prefix}.*", log_level="debug") as exporter:
            await exporter.inventory()
            await exporter.poll()
            assert MARKER in str([dict(seen.headers) for seen in proxy.requests]) or _basic(MARKER) in {
                seen.headers.get("authorization") for seen in proxy.requests
            }, "it is what we log in with"
            impatient(exporter, 2.8)  # Prefect's client tells of a lost connection after 2 s
            for set_fault, works in (
                (lambda: proxy.status(401, body=f"bad credentials {MARKER}"), False),
                (lambda: proxy.status(422, body=f'{{"detail": "{MARKER}"}}'), False),
                (lambda: proxy.status(302, headers={"Location": f"http://admin:{MARKER}@127.0.0.1:1/"}), False),
                (lambda: proxy.invalid_json(MARKER), False),
                (lambda: proxy.status(200, body=f'[{{"id": "{MARKER}"}}]'), True),  # one bad row is one bad row
                (proxy.drop, False),
            ):
                proxy.clear()
                set_fault()
                await exporter.poll()
                if set_fault != proxy.drop:
                    await exporter.inventory()
                assert up(exporter.samples)["finished_flow_runs"] == works
                collected += [source.error for source in exporter.poller.sources.values()]
                async with scraper(exporter) as client:
                    for path in ("/metrics", "/", "/-/ready", "/-/healthy"):
                        collected.append((await client.get(path)).text)
                        collected.append(
                            (await client.get(path, headers={"Accept": "application/openmetrics-text"})).text
                        )
    collected.append(caplog.text)
    assert "refuses the credentials" in caplog.text
    for text in collected:
        assert MARKER not in text
        assert _basic(MARKER) not in text


def _basic(password: str) -> str:
    return httpx.BasicAuth("admin", password)._auth_header


@pytest.mark.parametrize("fault", ["none", "401", "refused", "invalid JSON", "other rows"])
def test_check_tells_no_secret(
    proxy: FaultProxy,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    fault: str,
) -> None:
    if fault != "none":
        WHOLE[fault][0](proxy)
    for secret in SECRETS.values():
        with temporary_settings(secret(proxy.url)):
            code = main(["check", "--ledger-url", f"sqlite:///{tmp_path / 'ledger.db'}", "--source-timeout", "5s"])
        told = capsys.readouterr()
        assert code == (0 if fault == "none" else 2)
        assert told.out.count("Prefect API: ") == 1, told.out
        assert MARKER not in told.out + told.err + caplog.text
        assert "Traceback" not in told.out + told.err


@pytest.mark.parametrize(
    "url",
    [
        "http://admin:{marker}/x@{host}/api",  # a password with a slash: the rest of it reads as a port
        "admin:{marker}@{host}/api",
        "{host}/api",
        "http://127.0.0.1:{marker}/api",
        "ftp://admin:{marker}@{host}/api",
    ],
)
def test_an_address_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setattr(
        "prefect_monitoring.config.log_setup.set_up_logging", lambda _: None
    )  # the log is pytest's here
    options = ["--ledger-url", f"sqlite:///{tmp_path / 'ledger.db'}", "--listen", f"127.0.0.1:{free_port()}"]
    wrong = url.format(marker=MARKER, host="127.0.0.1:4200")
    for command in ("check", "serve"):
        with temporary_settings({PREFECT_API_URL: wrong}):
            assert main([command, *options]) == 2
        told = "".join(capsys.readouterr())
        assert "not an http:// or https:// URL: set PREFECT_API_URL" in told
        assert MARKER not in told
