"""Options: their sources, the values they refuse, and that all faults are reported at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from prefect_monitoring.config.loading import load_settings
from prefect_monitoring.config.settings import (
    CONFIG_ENV,
    OPTIONS,
    SECRETS,
    Settings,
    SettingsError,
    WebSettings,
    env_name,
    flag_name,
    notation_of,
)
from prefect_monitoring.model.counted_metrics import DEFAULT_BOUNDS, DURATION
from support.options import flat


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def test_flag_beats_environment_beats_file(config: Path) -> None:
    config.write_text("poll_interval: 10s\nbirth_hold: 11s\nseries_ttl: 12d\n")
    environment = {env_name("poll_interval"): "20s", env_name("birth_hold"): "21s", "HOME": "/root", CONFIG_ENV: "x"}
    settings = load_settings({"poll_interval": "30s"}, environment, config)
    assert settings.poll.poll_interval == 30
    assert (settings.history.birth_hold, settings.history.series_ttl) == (21, 12 * 86400)
    assert settings.poll.inventory_interval == 60, "options that are not given have their defaults"


VALUES = {
    "listen": ("[::1]:80", "[::1]:80"),
    "tls_cert": ("server.crt", "server.crt"),
    "tls_key": ("server.key", "server.key"),
    "auth_username": ("ops", "ops"),
    "auth_password": ("p:ä s", SecretStr("p:ä s")),
    "auth_token": ("t0ken", SecretStr("t0ken")),
    "poll_interval": ("20s", 20),
    "inventory_interval": ("2m", 120),
    "heartbeat_interval": ("90s", 90),
    "source_timeout": ("9s", 9),
    "max_requests_per_second": ("2.5", 2.5),
    "ledger_url": ("sqlite:////x.db", SecretStr("sqlite:////x.db")),
    "ledger_wait": ("0s", 0),
    "moved_from": ("http://old/api", "http://old/api"),
    "lookback": ("1d", 86400),
    "birth_hold": ("0s", 0),
    "series_ttl": ("1h", 3600),
    "audit_interval": ("5m", 300.0),
    "task_lookback": ("2d", 172800.0),
    "max_tasks": ("7", 7),
    "max_custom_metrics": ("7", 7),
    "max_tags": ("7", 7),
    "pipelines": ("pipelines.yml", "pipelines.yml"),
    "installation": ("prod-eu", "prod-eu"),
    "cloudwatch_namespace": ("Team/Data", "Team/Data"),
    "cloudwatch_metrics": ("RunsFailed, BudgetLeft", ("RunsFailed", "BudgetLeft")),
    "cloudwatch_max_metrics": ("7", 7),
    "prefect_ui_url": ("https://prefect.example.com/", "https://prefect.example.com"),
    "grafana_url": ("https://grafana.example.com/path/", "https://grafana.example.com/path"),
    "runbook_url": ("https://docs.example.com", "https://docs.example.com"),
    "max_pairs": ("5", 5),
    "duration_buckets": ("1, 2,3.5", (1, 2, 3.5)),
    "start_delay_buckets": ("7", (7,)),
    "metrics_on": ("prefect_task_run_duration_seconds", ("prefect_task_run_duration_seconds",)),
    "deployment_tags": ("a,b", ("a", "b")),
    "metrics_off": ("a,b", ("a", "b")),
    "assets": ("[{asset: 's3://lake/.*'}]", None),
    "max_assets": ("7", 7),
    "custom_metrics": ("[{name: rows, type: gauge, help: Rows.}]", None),
    "failure_causes": ("[{cause: vendor, pattern: acme}]", None),
    "log_format": ("json", "json"),
    "log_level": ("debug", "debug"),
    "act": ("true", True),
    "dry_run": ("yes", True),
    "act_api_key": ("pnu_1", SecretStr("pnu_1")),
    "act_max_per_hour": ("7", 7),
    "act_max_per_cause": ("7", 7),
    "report_schedule": ("0 8 * * mon", "0 8 * * mon"),
    "report_time_zone": ("Europe/Zurich", "Europe/Zurich"),
    "report_days": ("14", 14),
    "report_slack_webhook_url": ("https://hooks.slack.test/x", SecretStr("https://hooks.slack.test/x")),
    "archive_to": ("s3://bucket/prefix", "s3://bucket/prefix"),
    "failures_unresolved_for": ("2h", 7200),
    "failure_message": ("type", "type"),
    "storm_pipelines": ("10", 10),
    "storm_window": ("10m", 600),
    "archive_listen": ("0.0.0.0:9878", "0.0.0.0:9878"),
    "archive_settle": ("20m", 1200),
    "archive_interval": ("1m", 60),
    "archive_lookback": ("14d", 1209600),
    "archive_recheck": ("1d", 86400),
    "archive_parameters": ("true", True),
    "archive_documents": ("no", False),
    "archive_encryption": ("sse-kms", "sse-kms"),
    "archive_kms_key": ("alias/archive", "alias/archive"),
}


GOES_WITH = {
    "tls_key": {"tls_cert": "server.crt"},
    "auth_username": {"auth_password": "x"},
    "auth_password": {"auth_username": "ops"},
    "auth_password_file": {"auth_username": "ops"},
    "report_schedule": {"report_slack_webhook_url": "https://hooks.slack.test/x"},
}


@pytest.mark.parametrize("option", OPTIONS)
def test_option_has_the_same_value_from_flag_variable_and_file(option: str, tmp_path: Path, config: Path) -> None:
    text, expected = VALUES.get(option, ("a.*,b", ("a.*", "b")))
    if option.endswith("_file"):
        text = expected = str(tmp_path / "secret")
        (tmp_path / "secret").write_text("s3cret\n")
    more = GOES_WITH.get(option, {})
    given = {option: text, **more}
    config.write_text(yaml.safe_dump(given))
    variables = {env_name(name): value for name, value in given.items()}
    loaded = [load_settings({}, variables), load_settings({}, {}, config)]
    if notation_of(option).has_flag:
        del variables[env_name(option)]
        loaded.append(load_settings({option: text}, variables))
    for settings in loaded:
        value = flat(settings)[option]
        assert settings.model_dump() == loaded[0].model_dump(), "everything except the source of the option"
        if option == "custom_metrics":
            assert [metric.name for metric in value] == ["rows"]
        elif option == "assets":
            assert [rule.asset for rule in value] == ["s3://lake/.*"]
        elif option == "failure_causes":
            assert [(rule.cause, rule.pattern) for rule in value] == [("vendor", "acme")]
        else:
            assert value == expected


RANK = {"file": 1, "environment": 2, "flag": 3}
COUNTED = ("max_pairs", "max_tasks", "max_tags", "poll_interval", "birth_hold", "series_ttl")


@given(st.dictionaries(st.sampled_from(COUNTED), st.sets(st.sampled_from(sorted(RANK)), min_size=1)))
def test_option_given_several_times_takes_the_highest_source(
    tmp_path_factory: pytest.TempPathFactory, drawn: dict[str, set[str]]
) -> None:
    def options(place: str) -> dict[str, str]:
        unit = {option: "" if option.startswith("max_") else "s" for option in COUNTED}
        return {option: f"{RANK[place]}{unit[option]}" for option, places in drawn.items() if place in places}

    config = tmp_path_factory.getbasetemp() / "precedence.yaml"
    config.write_text(yaml.safe_dump(options("file")))
    environment = {env_name(option): value for option, value in options("environment").items()}
    values = flat(load_settings(options("flag"), environment, config))
    expected = {option: max(RANK[place] for place in places) for option, places in drawn.items()}
    assert values == {**flat(Settings()), **expected}


def test_file_may_hold_lists(config: Path) -> None:
    config.write_text(
        "include_flows: [etl, 'a{1,2}']\nduration_buckets: [1, 2.5]\n"
        "failure_causes:\n- {cause: vendor, pattern: acme}\n"
    )
    settings = load_settings({}, {}, config)
    assert settings.filters.include_flows == ("etl", "a{1,2}")
    assert settings.metrics.duration_buckets == (1, 2.5)
    assert settings.labels.failure_causes[0].cause == "vendor"


def test_empty_file_sets_no_options(config: Path) -> None:
    config.write_text("# nothing yet\n")
    assert load_settings({}, {}, config) == Settings()


def test_all_faults_are_reported_with_their_source(config: Path) -> None:
    config.write_text("poll_interval: 30\nbirth_hould: 5s\nexclude_flows: ['(']\n")
    environment = {env_name("lookback"): "5m", "PREFECT_MONITORING_POLL_INTREVAL": "5s"}
    with pytest.raises(SettingsError) as caught:
        load_settings({"duration_buckets": "5,1", "listen": "9877"}, environment, config)
    lines = str(caught.value).splitlines()
    assert len(lines) == 7
    expected = {
        f"{config}:1: poll_interval: ": "is not a duration",
        f"{config}:2: birth_hould: ": "there is no such option; did you mean birth_hold?",
        f"{config}:3: exclude_flows[0]: ": "is not a regular expression",
        "PREFECT_MONITORING_LOOKBACK: ": "greater than or equal to 3600",
        "PREFECT_MONITORING_POLL_INTREVAL: ": "no such option; did you mean PREFECT_MONITORING_POLL_INTERVAL?",
        "--duration-buckets": "ascending",
        "--listen": "is not HOST:PORT",
    }
    for where, what in expected.items():
        assert any(line.startswith(where) and what in line for line in lines), where


def test_fault_of_an_option_given_twice_names_the_effective_source(config: Path) -> None:
    config.write_text("poll_interval: 15s\n")
    with pytest.raises(SettingsError, match=r"^PREFECT_MONITORING_POLL_INTERVAL:"):
        load_settings({}, {env_name("poll_interval"): "soon"}, config)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("duration_buckets", ""),
        ("duration_buckets", "1,1"),
        ("duration_buckets", "2,1"),
        ("duration_buckets", "0,1"),
        ("duration_buckets", "-1"),
        ("duration_buckets", "a"),
        ("duration_buckets", "1,inf"),
        ("duration_buckets", "1,nan"),
        ("start_delay_buckets", "nan"),
        ("max_requests_per_second", "0"),
        ("max_requests_per_second", "nan"),
        ("max_requests_per_second", "inf"),
        ("max_pairs", "0"),
        ("poll_interval", "0s"),
        ("birth_hold", "-1s"),
        ("listen", "localhost"),
        ("listen", "localhost:99999"),
        ("listen", ":80"),
        ("tls_cert", ""),
        ("auth_token_file", ""),
        ("include_flows", "a,("),
        ("include_tags", "*"),
        ("log_level", "loud"),
        ("failure_causes", "[{cause: Vendor, pattern: x}]"),
        ("failure_causes", "[{cause: vendor, pattern: '('}]"),
        ("failure_causes", "[{cause: vendor}]"),
        ("failure_causes", "[{cause: vendor, pattern: x, more: y}]"),
        ("failure_causes", "[{cause: vendor"),
        ("failure_causes", "vendor"),
    ],
)
def test_invalid_value_is_refused(option: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"^{flag_name(option)}"):
        load_settings({option: text}, {})


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"- a\n- b\n", "must hold options"),
        (b"a: [", "is not YAML"),
        (b"\xff\xfe\x00", "is not YAML"),
        (b"just text", "must hold options"),
        (b"listen: x\nauth_token: @Sesam-0451", ":2: is not YAML"),
        (b"auth_token: !Sesam-0451", ":1: is not YAML"),
        (b"auth_token: *Sesam-0451", ":1: is not YAML"),
        (b'auth_token: "Sesam-0451', ":1: is not YAML"),
        (b"listen: x\nmoved_from:\n- 2024-99-99", ":3: is not YAML"),
        (b"listen: x\nlisten: y", ":2: `listen` is given twice, first in line 1"),
        (b"auth_token: {Sesam-0451: x, Sesam-0451: y}", ":1: a key is given twice"),
        (b"listen: x\nlog_level: \x00", ":2: is not YAML"),
    ],
)
def test_file_without_options_is_refused(config: Path, content: bytes, complaint: str) -> None:
    config.write_bytes(content)
    with pytest.raises(SettingsError, match=complaint) as caught:
        load_settings({}, {}, config)
    assert "Sesam" not in str(caught.value)


def test_missing_file_is_refused(config: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load_settings({}, {}, config)


def test_defaults_are_as_documented() -> None:
    settings = Settings()
    assert settings.web.listen.startswith("127.0.0.1:"), "by default, nothing is exposed beyond localhost"
    assert settings.metrics.duration_buckets == DEFAULT_BOUNDS[DURATION]
    assert settings.history.birth_hold > 60, "a little over a common scrape interval"
    assert settings.history.lookback == 30 * 86400


def test_kubernetes_service_links_are_ignored() -> None:
    """A Service named prefect-monitoring sets these in every pod of its namespace."""
    links = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_9877_TCP", "PORT_9877_TCP_ADDR")
    assert load_settings({}, {f"PREFECT_MONITORING_{name}": "tcp://10.0.0.1:9877" for name in links})
    with pytest.raises(SettingsError, match="PREFECT_MONITORING_POLL"):
        load_settings({}, {"PREFECT_MONITORING_POLL": "1s"})


def test_group_name_is_not_a_key_of_the_file(config: Path) -> None:
    config.write_text("poll: {poll_interval: 1s}\n")
    with pytest.raises(SettingsError, match=r":1: poll: there is no such option"):
        load_settings({}, {}, config)


def test_fault_within_a_list_names_its_line(config: Path) -> None:
    config.write_text("failure_causes:\n- {cause: a, pattern: x}\n- cause: b\n  pattern: '('\n")
    with pytest.raises(SettingsError, match=r":4: failure_causes\[1\]\.pattern: '\(' is not a regular expression"):
        load_settings({}, {}, config)


def test_unknown_key_of_an_asset_names_its_line_and_suggests_a_key(config: Path) -> None:
    config.write_text("assets:\n- asset: s3://lake\n  max_stalenes: 1d\n")
    with pytest.raises(
        SettingsError, match=r":3: assets\[0\]\.max_stalenes: there is no such key; did you mean `max_staleness`"
    ):
        load_settings({}, {}, config)


# --- secrets, and options that go together --------------------------------------------------------------------------

SECRET = "Sesam-0451"
TOKEN_FILE, PASSWORD_FILE = env_name("auth_token_file"), env_name("auth_password_file")


def faults_of(config: Path | None = None, flags: dict[str, str] | None = None, **environment: str) -> list[str]:
    """The errors of these settings; asserts that they do not contain the secret."""
    with pytest.raises(SettingsError) as caught:
        load_settings(flags or {}, {env_name(name): value for name, value in environment.items()}, config)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value.__cause__)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("kind", ["token", "password"])
def test_secret_is_read_from_a_file(tmp_path: Path, config: Path, kind: str) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    config.write_text(f"auth_{kind}_file: {file}\n" + ("auth_username: ops\n" if kind == "password" else ""))
    name = {"auth_username": "ops"} if kind == "password" else {}
    variables = {env_name(option): value for option, value in name.items()}
    for settings in (
        load_settings({f"auth_{kind}_file": str(file), **name}, {}),
        load_settings({}, {env_name(f"auth_{kind}_file"): str(file), **variables}),
        load_settings({}, {}, config),
    ):
        assert flat(settings)[f"auth_{kind}"].get_secret_value() == SECRET
        assert SECRET not in repr(settings) + settings.model_dump_json()


def test_secret_given_twice_is_refused(tmp_path: Path, config: Path) -> None:
    config.write_text(f"auth_token: {SECRET}\nauth_password: {SECRET}\nauth_username: ops\n")
    flags = {"auth_password_file": str(tmp_path / "password")}
    assert faults_of(config, flags, auth_token_file=str(tmp_path / "token")) == [
        f"{config}:2: auth_password and --auth-password-file: both give auth_password: leave one of them out",
        f"{config}:1: auth_token and {TOKEN_FILE}: both give auth_token: leave one of them out",
    ]


def test_invalid_secret_file_is_refused_with_its_source(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "words").write_text(f"{SECRET} {SECRET}")
    first, second = faults_of(
        auth_username="ops", auth_password_file=str(tmp_path / "missing"), auth_token_file=str(tmp_path / "empty")
    )
    assert first.startswith(f"{PASSWORD_FILE}: {tmp_path / 'missing'} cannot be read (No such file or directory)")
    assert second == f"{TOKEN_FILE}: {tmp_path / 'empty'} is empty: write the secret into it"
    (line,) = faults_of(auth_token_file=str(tmp_path / "words"))
    assert line.startswith(f"{TOKEN_FILE}: a bearer token is one line of ASCII characters without spaces")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"auth_username": "ops"}, "AUTH_USERNAME: needs auth_password: give both, or neither"),
        ({"auth_password": SECRET}, "AUTH_PASSWORD: needs auth_username: give both, or neither"),
        ({"auth_password_file": __file__}, "AUTH_PASSWORD_FILE: needs auth_username"),
        ({"tls_key": "server.key"}, "TLS_KEY: needs tls_cert"),
        ({"auth_username": "o:ps", "auth_password": SECRET}, "AUTH_USERNAME: a user name of basic auth cannot hold"),
        ({"auth_username": "", "auth_password": SECRET}, "AUTH_USERNAME: is empty"),
        ({"auth_username": "ops", "auth_password": ""}, "AUTH_PASSWORD: is empty: give a value, or leave it out"),
        ({"auth_token": ""}, "AUTH_TOKEN: is empty"),
        ({"auth_token": f"{SECRET} "}, "AUTH_TOKEN: a bearer token is one line"),
        ({"auth_token": f"{SECRET}\n"}, "AUTH_TOKEN: a bearer token is one line"),
        ({"auth_token": f"{SECRET}é"}, "AUTH_TOKEN: a bearer token is one line"),
        ({"auth_tokn": SECRET}, "AUTH_TOKN: there is no such option"),
    ],
)
def test_options_that_would_leave_the_endpoints_open_are_refused(options: dict[str, str], complaint: str) -> None:
    (line,) = faults_of(**options)
    assert line.startswith(f"PREFECT_MONITORING_{complaint}")


@pytest.mark.parametrize("text", ["", "0451", "[Sesam-0451]", "{a: Sesam-0451}", "true", "null"])
def test_secret_in_the_file_must_be_text(config: Path, text: str) -> None:
    """An empty token would not protect anything, and 0451 is an octal number in YAML."""
    config.write_text(f"auth_token: {text}\n")
    (line,) = faults_of(config)
    assert line.startswith(f"{config}:1: auth_token: ")


def test_violated_rules_are_reported_with_all_other_faults() -> None:
    assert len(faults_of(auth_username="ops", tls_key="x", poll_interval="soon", auth_token=f"{SECRET} ")) == 4


@pytest.mark.parametrize("option", SECRETS)
def test_secret_on_the_command_line_is_refused_beside_all_other_faults(option: str) -> None:
    url = f"postgresql://me:{SECRET}@db/ledger"
    lines = faults_of(flags={option: url, "poll_interval": "soon"})
    assert lines[0] == (
        f"{flag_name(option)}: every user of the machine can read a command line: give the secret as a file"
        f" ({flag_name(option)}-file) or as {env_name(option)}"
    )
    assert any(line.startswith("--poll-interval: ") for line in lines)


def test_ledger_url_without_a_password_is_not_a_secret() -> None:
    settings = load_settings({"ledger_url": "postgresql://me@db/ledger"}, {})
    assert settings.ledger.ledger_url.get_secret_value() == "postgresql://me@db/ledger"


def test_ledger_url_from_a_file_and_a_flag_is_refused(tmp_path: Path) -> None:
    lines = faults_of(flags={"ledger_url": "sqlite:///x.db"}, ledger_url_file=str(tmp_path / "url"))
    assert lines == ["--ledger-url and PREFECT_MONITORING_LEDGER_URL_FILE: both give ledger_url: leave one of them out"]


def test_ledger_url_appears_in_no_message(tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"postgresql://me:{SECRET}@db/ledger\n")
    settings = load_settings({"ledger_url_file": str(tmp_path / "url")}, {})
    assert SECRET in settings.ledger.ledger_url.get_secret_value()
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump_json()}"


def test_ledger_url_may_start_with_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ops")
    for settings in (load_settings({"ledger_url": "sqlite:///~/a~b.db"}, {}), load_settings({}, {})):
        assert settings.ledger.ledger_url.get_secret_value() in {
            "sqlite:////home/ops/a~b.db",
            "sqlite:////home/ops/.prefect-monitoring/ledger.db",
        }


def test_basic_and_bearer_can_be_combined() -> None:
    assert load_settings({}, {env_name(name): "x" for name in ("auth_username", "auth_password", "auth_token")})


def test_settings_made_in_code_show_no_secret() -> None:
    with pytest.raises(ValidationError) as caught:
        WebSettings(auth_token=SecretStr(f"{SECRET} "))
    assert SECRET not in str(caught.value)
