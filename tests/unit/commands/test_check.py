"""`check` and the command line: all faults at once, exit code 2, no secret shown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from httpx import ConnectError
from prefect.settings import PREFECT_API_KEY, PREFECT_API_URL, temporary_settings

from prefect_monitoring.cli import main
from prefect_monitoring.cli.parser import FAULT
from prefect_monitoring.commands.check import check
from prefect_monitoring.commands.listening import bind
from prefect_monitoring.config.settings import CONFIG_ENV, ENV_PREFIX, Settings
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.prefect_api.client import unreachable
from support.certificates import make_pair
from support.options import settings_with
from unit.loopback import Answer, Asked, Loopback, loopback
from unit.rig import OpenLedger


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONFIG_ENV, raising=False)


@pytest.fixture
async def site() -> AsyncIterator[Loopback]:
    async with loopback() as server:

        def answer(asked: Asked) -> Answer:
            if asked.path.endswith("/version"):
                return Answer(body="3.8.8")
            if asked.path.endswith("/events/filter"):
                return Answer(body={"events": [], "next_page": None})
            return Answer(body=0 if asked.path.endswith("/count") else [])

        server.answer = answer
        with temporary_settings({PREFECT_API_URL: server.url}):
            yield server


@pytest.fixture
def no_api() -> Iterator[None]:
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        yield


def settings_of(tmp_path: Path, name: str = "ledger.db") -> Settings:
    return settings_with(ledger_url=f"sqlite:///{tmp_path}/{name}")


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_check_succeeds_without_creating_anything(site: Loopback, tmp_path: Path) -> None:
    findings = await check(settings_of(tmp_path))
    assert [finding.ok for finding in findings] == [True] * len(findings)
    text = "\n".join(finding.text for finding in findings)
    assert site.url in text
    assert "will be created by the first start" in text
    assert files_in(tmp_path) == []


FLOW, DEPLOYMENT = (f"00000000-0000-0000-0000-00000000000{number}" for number in (1, 2))


@pytest.mark.parametrize(
    ("text", "expected", "counted"),
    [
        ("defaults: {slo: {min_success_ratio: 90%}}", ["defaults: 0.9 of the runs in 30d allows less"], [DEPLOYMENT]),
        ("defaults: {slo: {window: 7d}}", ["defaults: 0.99 of the runs in 7d allows less"], [DEPLOYMENT]),
        ("defaults: {team: data}", [], []),
        ("pipelines: [{flow: etl}]", ["etl/daily: 0.99 of 5 runs"], [DEPLOYMENT]),
        ('pipelines: [{flow: etl, deployment: ""}]', ["etl: 0.99 of 5 runs"], [None]),
        ('pipelines: [{flow: etl, deployment: "|daily"}]', ["etl: 0.99", "etl/daily: 0.99"], [None, DEPLOYMENT]),
    ],
)
async def test_check_lints_every_declared_objective(
    site: Loopback, tmp_path: Path, text: str, expected: list[str], counted: list[str | None]
) -> None:
    rows = {
        "/flows/filter": [{"id": FLOW, "name": "etl"}],
        "/deployments/filter": [{"id": DEPLOYMENT, "name": "daily", "flow_id": FLOW, "tags": []}],
    }
    empty = site.answer
    judged: list[str | None] = []

    def answer(asked: Asked) -> Answer:
        path = asked.path.removeprefix("/api")
        runs = asked.body.get("flow_runs", {}) if isinstance(asked.body, dict) else {}
        if path == "/flow_runs/count" and "deployment_id" in runs:
            of = runs["deployment_id"]
            judged.append(of["any_"][0] if "any_" in of else None)
            assert "any_" in of or asked.body["flows"] == {"id": {"any_": [FLOW]}}
            return Answer(body=5)
        wanted = asked.body.get(path.split("/")[1], {}).get("id") if path in rows else None
        return empty(asked) if wanted or path not in rows else Answer(body=rows[path])  # a probe, for an unknown id

    site.answer = answer
    file = tmp_path / "pipelines.yml"
    file.write_text(text, encoding="utf-8")
    findings = await check(settings_with(ledger_url=f"sqlite:///{tmp_path}/ledger.db", pipelines=str(file)))
    assert [finding.text for finding in findings if not finding.ok] == []
    advice = [finding.text.removeprefix("pipelines: ") for finding in findings if finding.advice]
    assert [line[: len(start)] for line, start in zip(advice, expected, strict=True)] == expected
    assert judged == counted


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(401, {"detail": "no"}), "PREFECT_API_KEY"),
        (Answer(404, {"detail": "Not Found"}), "another product"),
        (Answer(body="<html>Welcome to nginx!</html>"), "another product"),
        (Answer(503), "503"),
    ],
)
async def test_api_outage_is_one_finding_without_a_list(
    site: Loopback, tmp_path: Path, answer: Answer, words: str
) -> None:
    site.answer = lambda _: answer
    (bad,) = [finding for finding in await check(settings_of(tmp_path)) if not finding.ok]
    assert words in bad.text
    assert "flow runs" not in bad.text


async def test_address_without_api_is_distinguished_from_another_product(site: Loopback, tmp_path: Path) -> None:
    site.answer = lambda _: Answer(404, {"detail": "Not Found"})
    with temporary_settings({PREFECT_API_URL: site.url.removesuffix("/api")}):
        (bad,) = [finding for finding in await check(settings_of(tmp_path)) if not finding.ok]
    assert "does not end in /api" in bad.text


@pytest.mark.usefixtures("site")
@pytest.mark.slow
async def test_closed_port_is_reported(tmp_path: Path) -> None:
    nobody = bind("127.0.0.1:0")
    address = f"http://127.0.0.1:{nobody.getsockname()[1]}/api"
    nobody.close()
    with temporary_settings({PREFECT_API_URL: address}):
        (bad,) = [finding for finding in await check(settings_of(tmp_path)) if not finding.ok]
    assert "nothing listens" in bad.text
    assert "flow runs" not in bad.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:992)", "says https, and the server speaks http"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate", "PREFECT_API_SSL_CERT_FILE"),
        ("[Errno -2] Name or service not known", "host name is not known"),
        ("Server disconnected without sending a response.", "may speak https"),
        ("something else", "could not be reached (ConnectError: something else)"),
    ],
)
def test_failed_connection_is_explained(text: str, words: str) -> None:
    assert words in unreachable(ConnectError(text))


def test_failed_connection_through_a_proxy_names_the_proxy() -> None:
    hint = unreachable(ConnectError("[Errno -2] Name or service not known"), has_proxy=True)
    assert "HTTPS_PROXY" in hint
    assert "PREFECT_API_URL" not in hint
    certificate = ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate")
    assert "PREFECT_API_SSL_CERT_FILE" in unreachable(certificate, has_proxy=True)


async def test_refused_endpoints_are_listed(site: Loopback, tmp_path: Path) -> None:
    usual = site.answer
    site.answer = lambda asked: Answer(403) if "automations" in asked.path else usual(asked)
    (bad,) = [finding for finding in await check(settings_of(tmp_path)) if not finding.ok]
    assert "automations" in bad.text
    assert "flow runs" not in bad.text


async def test_endpoint_of_disabled_metrics_is_not_requested(site: Loopback, tmp_path: Path) -> None:
    usual = site.answer
    site.answer = lambda asked: Answer(403) if "automations" in asked.path else usual(asked)
    off = "prefect_automations,prefect_automation_actions_failed_total"
    settings = settings_with(ledger_url=f"sqlite:///{tmp_path}/ledger.db", metrics_off=off)
    assert all(finding.ok for finding in await check(settings))
    assert not [asked.path for asked in site.asked if "automations" in asked.path]


async def test_address_in_use_is_a_fault_unless_the_exporter_has_it(
    site: Loopback, tmp_path: Path, open_it: OpenLedger
) -> None:
    taken = bind("127.0.0.1:0")
    listen = f"127.0.0.1:{taken.getsockname()[1]}"
    settings = settings_with(ledger_url=f"sqlite:///{tmp_path}/ledger.db", listen=listen)
    (bad,) = [finding for finding in await check(settings) if not finding.ok]
    assert bad.text.startswith(f"listen: Cannot listen on {listen}")
    open_it()
    assert all(finding.ok for finding in await check(settings)), "in use by the running exporter"
    taken.close()


@pytest.mark.parametrize(("version", "ok"), [("3.4.19", False), ("3.4.20", True), ("3.12.0rc1", True), ("dev", True)])
async def test_unsupported_server_version_is_reported(
    site: Loopback, tmp_path: Path, version: str, *, ok: bool
) -> None:
    usual = site.answer
    site.answer = lambda asked: Answer(body=version) if asked.path.endswith("/version") else usual(asked)
    bad = [finding.text for finding in await check(settings_of(tmp_path)) if not finding.ok]
    assert (bad == []) is ok
    assert ok or "the oldest that is supported is 3.4.20" in bad[0]


async def test_ledger_of_another_api_is_a_fault(site: Loopback, tmp_path: Path, open_it: OpenLedger) -> None:
    open_it().close()
    bad = [finding.text for finding in await check(settings_of(tmp_path)) if not finding.ok]
    assert len(bad) == 1
    assert "--moved-from" in bad[0]


async def test_ledger_in_use_by_the_exporter_is_ok(site: Loopback, tmp_path: Path, ledger: Ledger) -> None:
    findings = await check(settings_of(tmp_path))
    assert findings[-1].ok
    assert "in use" in findings[-1].text
    assert ledger.cursor


@pytest.mark.usefixtures("no_api")
async def test_ledger_is_checked_without_an_api_address(tmp_path: Path) -> None:
    findings = await check(settings_of(tmp_path))
    assert [finding.ok for finding in findings] == [True, False, True]
    assert "PREFECT_API_URL" in findings[1].text


async def test_ledger_url_that_is_no_file_is_a_fault(site: Loopback) -> None:
    findings = await check(settings_with(ledger_url="postgresql://me:s3cret@db/x"))
    assert not findings[-1].ok
    assert "s3cret" not in findings[-1].text
    assert site.asked


@pytest.mark.usefixtures("no_api")
def test_invalid_options_are_all_reported_at_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENV_PREFIX + "LOOKBACK", "5")
    assert main(["serve", "--poll-interval", "soon", "--listen", "x"]) == FAULT
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("prefect-monitoring: ") for line in lines)
    assert any("--poll-interval" in line for line in lines)
    assert any("PREFECT_MONITORING_LOOKBACK" in line for line in lines)


@pytest.mark.usefixtures("no_api")
def test_check_command_prints_every_fault_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--poll-interval", "soon", "--max-pairs", "0"]) == FAULT
    lines = capsys.readouterr().out.splitlines()
    assert [line[:5] for line in lines] == ["FAULT"] * 3
    assert "PREFECT_API_URL" in lines[-1]


def test_serve_without_an_address_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert main(["serve", "--ledger-url", f"sqlite:///{tmp_path}/ledger.db", "--listen", "127.0.0.1:0"]) == FAULT
    assert "PREFECT_API_URL" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# --- the endpoints and their secrets --------------------------------------------------------------------------------

SECRET = "Sesam-0451"


@pytest.mark.parametrize(
    ("options", "endpoints"),
    [
        ({}, []),
        ({"auth_token": SECRET}, ["http, bearer credentials are asked for"]),
        (
            {"auth_token": SECRET, "auth_username": "ops", "auth_password": SECRET},
            ["http, basic or bearer credentials are asked for"],
        ),
        ({"tls": True}, ["https, everybody may read them"]),
        ({"tls": True, "auth_token": SECRET, "listen": "0.0.0.0:1"}, ["https, bearer credentials are asked for"]),
        (
            {"auth_token": SECRET, "listen": "0.0.0.0:1"},
            ["http, bearer credentials are asked for. The credentials for the endpoints travel in clear: set tls_cert"],
        ),
    ],
)
async def test_exposed_endpoints_are_reported(
    site: Loopback, tmp_path: Path, options: dict[str, object], endpoints: list[str]
) -> None:
    if options.get("tls"):
        pair = make_pair(tmp_path)
        options = {**options, "tls_cert": str(pair.cert), "tls_key": str(pair.key)}
    given = {name: value for name, value in options.items() if name != "tls"}
    findings = await check(settings_with(ledger_url=f"sqlite:///{tmp_path}/ledger.db", **given))
    assert all(finding.ok for finding in findings)
    assert site.asked
    texts = [finding.text for finding in findings if finding.text.startswith("endpoints: ")]
    assert len(texts) == len(endpoints)
    for text, expected in zip(texts, endpoints, strict=True):
        assert text.startswith(f"endpoints: {expected}")
        assert ("in clear" in text) == ("in clear" in expected)


async def test_bad_certificate_is_one_of_the_faults(site: Loopback, tmp_path: Path) -> None:
    site.answer = lambda _: Answer(401, {"detail": "no"})
    settings = settings_with(ledger_url=f"sqlite:///{tmp_path}/ledger.db", tls_cert=str(tmp_path / "missing.crt"))
    bad = [finding.text for finding in await check(settings) if not finding.ok]
    assert len(bad) == 2
    assert "endpoints: tls_cert: " in bad[0]
    assert "missing.crt cannot be read" in bad[0]


@pytest.mark.usefixtures("no_api")
def test_credentials_of_prefect_are_one_of_the_faults(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_KEY_FILE", "/nowhere/key")
    assert main(["check", "--poll-interval", "soon"]) == FAULT
    lines = capsys.readouterr().out.splitlines()
    assert [line[:5] for line in lines] == ["FAULT"] * 3
    assert "PREFECT_API_KEY_FILE: /nowhere/key cannot be read" in lines[0]
    assert main(["serve"]) == FAULT
    assert "PREFECT_API_KEY_FILE: /nowhere/key cannot be read" in capsys.readouterr().err


def test_credentials_of_prefect_from_a_file_are_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text(f"{SECRET}\n")
    monkeypatch.setenv("PREFECT_API_KEY_FILE", str(tmp_path / "key"))
    seen = []

    async def checked(settings: Settings) -> list[object]:
        seen.append(PREFECT_API_KEY.value())
        return []

    monkeypatch.setattr("prefect_monitoring.commands.check.check", checked)
    assert main(["check"]) == 0
    assert seen == [SECRET]
    assert SECRET not in capsys.readouterr().out


@pytest.mark.parametrize("command", ["serve", "check"])
@pytest.mark.parametrize(
    "given",
    [["--auth-token", SECRET], [f"--auth-token={SECRET}"], ["--auth-password", SECRET], ["--auth-password"]],
    ids=" ".join,
)
def test_secret_on_the_command_line_is_refused(
    capsys: pytest.CaptureFixture[str], command: str, given: list[str]
) -> None:
    assert main([command, *given]) == FAULT
    output = "".join(capsys.readouterr())
    flag = given[0].partition("=")[0]
    assert f"{flag}: every user of the machine can read a command line" in output
    assert f"{flag}-file" in output
    assert SECRET not in output


def test_help_names_the_files_of_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    output = capsys.readouterr().out
    assert "--auth-token-file" in output
    assert "--auth-token " not in output


@pytest.mark.parametrize("cut", ["--auth-pass", "--auth-tok"])
def test_flags_of_secrets_cannot_be_abbreviated(cut: str) -> None:
    with pytest.raises(SystemExit):
        main(["serve", cut, "x"])
