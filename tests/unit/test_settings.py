"""Options: where each may come from, what each refuses, and that every fault is told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_monitoring.fold import DURATION
from prefect_monitoring.series import DEFAULT_BOUNDS
from prefect_monitoring.settings import (
    CONFIG_ENV,
    Settings,
    SettingsError,
    env_name,
    flag_name,
    format_duration,
    load_settings,
    parse_duration,
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("15m", 900),
        ("8d", 691200),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("1.5h", 5400),
        ("2w", 1209600),
        (" 30s ", 30),
        ("0s", 0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["30", "abc", "", "30 s", "-5s", "5x", "s", "1h30", "1,5h", "1e3s", 30, 30.0, None, True]
)
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="is not a duration: write a number with a unit"):
        parse_duration(text)


@pytest.mark.parametrize("seconds", [1, 30, 70, 900, 5400, 86400, 2592000, 604800])
def test_durations_come_back_as_they_are_written(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


def test_flag_beats_environment_beats_file(config: Path) -> None:
    config.write_text("poll_interval: 10s\nbirth_hold: 11s\nseries_ttl: 12d\n")
    environment = {env_name("poll_interval"): "20s", env_name("birth_hold"): "21s", "HOME": "/root", CONFIG_ENV: "x"}
    settings = load_settings({"poll_interval": "30s"}, environment, config)
    assert (settings.poll_interval, settings.birth_hold, settings.series_ttl) == (30, 21, 12 * 86400)
    assert settings.inventory_interval == 60, "what nobody gave has its default"


@pytest.mark.parametrize("option", Settings.model_fields)
def test_every_option_has_its_flag_its_variable_and_a_help_that_is_a_sentence(option: str) -> None:
    assert flag_name(option) == "--" + option.replace("_", "-")
    assert env_name(option) == "PREFECT_MONITORING_" + option.upper()
    assert (Settings.model_fields[option].description or "").endswith((".", ")"))


VALUES = {
    "listen": ("[::1]:80", "[::1]:80"),
    "poll_interval": ("20s", 20),
    "inventory_interval": ("2m", 120),
    "source_timeout": ("9s", 9),
    "max_requests_per_second": ("2.5", 2.5),
    "ledger_url": ("sqlite:////x.db", "sqlite:////x.db"),
    "ledger_wait": ("0s", 0),
    "moved_from": ("http://old/api", "http://old/api"),
    "lookback": ("1d", 86400),
    "birth_hold": ("0s", 0),
    "series_ttl": ("1h", 3600),
    "max_pairs": ("5", 5),
    "duration_buckets": ("1, 2,3.5", (1, 2, 3.5)),
    "start_delay_buckets": ("7", (7,)),
    "metrics_off": ("a,b", ("a", "b")),
    "failure_causes": ("[{cause: vendor, pattern: acme}]", None),
    "log_format": ("json", "json"),
    "log_level": ("debug", "debug"),
}


@pytest.mark.parametrize("option", Settings.model_fields)
def test_every_option_can_be_given_as_text(option: str) -> None:
    text, expected = VALUES.get(option, ("a.*,b", ("a.*", "b")))
    for settings in (load_settings({option: text}, {}), load_settings({}, {env_name(option): text})):
        value = getattr(settings, option)
        if option == "failure_causes":
            assert [(rule.cause, rule.pattern) for rule in value] == [("vendor", "acme")]
        else:
            assert value == expected


def test_file_may_hold_lists(config: Path) -> None:
    config.write_text(
        "include_flows: [etl, 'a{1,2}']\nduration_buckets: [1, 2.5]\n"
        "failure_causes:\n- {cause: vendor, pattern: acme}\n"
    )
    settings = load_settings({}, {}, config)
    assert settings.include_flows == ("etl", "a{1,2}")
    assert settings.duration_buckets == (1, 2.5)
    assert settings.failure_causes[0].cause == "vendor"


def test_empty_file_is_no_options(config: Path) -> None:
    config.write_text("# nothing yet\n")
    assert load_settings({}, {}, config) == Settings()


def test_every_fault_at_once_and_where_each_was_given(config: Path) -> None:
    config.write_text("poll_interval: 30\nbirth_hould: 5s\nexclude_flows: ['(']\n")
    environment = {env_name("lookback"): "5m", "PREFECT_MONITORING_POLL_INTREVAL": "5s"}
    with pytest.raises(SettingsError) as caught:
        load_settings({"duration_buckets": "5,1", "listen": "9877"}, environment, config)
    lines = str(caught.value).splitlines()
    assert len(lines) == 7
    expected = {
        f"{config}: poll_interval": "is not a duration",
        f"{config}: birth_hould": "there is no such option",
        f"{config}: exclude_flows": "is not a regular expression",
        "PREFECT_MONITORING_LOOKBACK": "greater than or equal to 3600",
        "PREFECT_MONITORING_POLL_INTREVAL": "there is no such option",
        "--duration-buckets": "ascending",
        "--listen": "is not HOST:PORT",
    }
    for where, what in expected.items():
        assert any(line.startswith(where) and what in line for line in lines), where


def test_fault_of_an_option_given_twice_is_where_it_counts(config: Path) -> None:
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
def test_what_is_refused(option: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"^{flag_name(option)}"):
        load_settings({option: text}, {})


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"- a\n- b\n", "must hold options"),
        (b"a: [", "is not YAML"),
        (b"\xff\xfe\x00", "is not YAML"),
        (b"just text", "must hold options"),
    ],
)
def test_file_that_holds_no_options(config: Path, content: bytes, complaint: str) -> None:
    config.write_bytes(content)
    with pytest.raises(SettingsError, match=complaint):
        load_settings({}, {}, config)


def test_file_that_is_not_there(config: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load_settings({}, {}, config)


def test_defaults_are_the_promised_ones() -> None:
    settings = Settings()
    assert settings.listen.startswith("127.0.0.1:"), "nothing is served to the world unasked"
    assert settings.duration_buckets == DEFAULT_BOUNDS[DURATION]
    assert settings.birth_hold > 60, "a little over a common scrape interval"
    assert settings.lookback == 30 * 86400


def test_service_links_of_kubernetes_are_no_options() -> None:
    """A Service named prefect-monitoring puts these into every pod of its namespace."""
    links = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_9877_TCP", "PORT_9877_TCP_ADDR")
    assert load_settings({}, {f"PREFECT_MONITORING_{name}": "tcp://10.0.0.1:9877" for name in links})
    with pytest.raises(SettingsError, match="PREFECT_MONITORING_POLL"):
        load_settings({}, {"PREFECT_MONITORING_POLL": "1s"})
