"""Every option: its names, how its value is written, and that help and docs show its group."""

from __future__ import annotations

import pytest

from prefect_monitoring.config.settings import (
    GROUPS,
    NEEDS,
    OPTIONS,
    SECRETS,
    Group,
    Settings,
    default_of,
    env_name,
    flag_name,
    in_groups,
    notation_of,
)
from support.options import flat


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_has_a_flag_a_variable_and_a_help_sentence(option: str) -> None:
    assert flag_name(option) == "--" + option.replace("_", "-")
    assert env_name(option) == "PREFECT_MONITORING_" + option.upper()
    assert (OPTIONS[option].description or "").endswith((".", ")"))


@pytest.mark.parametrize("name", GROUPS)
def test_every_group_has_a_title_and_a_description(name: str) -> None:
    group = GROUPS[name]
    assert group.model_config.get("title")
    assert (group.__doc__ or "").endswith(".")
    assert group.__doc__ != Group.__doc__
    assert group.model_fields


def test_option_belongs_to_one_group() -> None:
    assert len(OPTIONS) == sum(len(group.model_fields) for group in GROUPS.values())
    assert set(GROUPS) == set(Settings.model_fields)


@pytest.mark.parametrize("secret", SECRETS)
def test_secret_has_an_option_for_its_file(secret: str) -> None:
    assert notation_of(f"{secret}_file").metavar == "FILE"
    assert secret not in default_of(secret)


def test_required_options_exist() -> None:
    assert OPTIONS.keys() >= NEEDS.keys() | set(NEEDS.values())


@pytest.mark.parametrize(
    ("option", "metavar", "default"),
    [
        ("listen", "HOST:PORT", "127.0.0.1:9877"),
        ("poll_interval", "DURATION", "15s"),
        ("max_requests_per_second", "N", "20"),
        ("ledger_url", "URL", "sqlite:///~/.prefect-monitoring/ledger.db"),
        ("duration_buckets", "SECONDS,…", "1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400"),
        ("include_flows", "PATTERN,…", ""),
        ("metrics_off", "NAME,…", ""),
        ("log_format", "text|json", "text"),
        ("tls_cert", "FILE", ""),
        ("failure_causes", "YAML", ""),
    ],
)
def test_metavar_and_default_describe_the_value(option: str, metavar: str, default: str) -> None:
    assert (notation_of(option).metavar, default_of(option)) == (metavar, default)


def test_default_is_shown_as_it_can_be_given() -> None:
    written = {option: default_of(option) for option in OPTIONS if default_of(option)}
    assert len(written) > 20
    assert flat(Settings.model_validate(in_groups(written))) == flat(Settings())
