"""Links in messages: without credentials, and none rather than a wrong one."""

from __future__ import annotations

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings

from prefect_monitoring.config.loading import load_settings
from prefect_monitoring.config.settings import LinkSettings, SettingsError
from prefect_monitoring.snapshot.builder import find_links


@pytest.mark.parametrize(
    ("api", "ui"),
    [
        ("http://127.0.0.1:4200/api", "http://127.0.0.1:4200"),
        ("https://robot:hunter2@prefect.example.com/api", "https://prefect.example.com"),
        (
            "https://api.prefect.cloud/api/accounts/a-1/workspaces/w-2",
            "https://app.prefect.cloud/account/a-1/workspace/w-2",
        ),
    ],
)
def test_prefect_ui_address_is_derived_as_prefect_does(api: str, ui: str) -> None:
    with temporary_settings({PREFECT_API_URL: api}, restore_defaults={PREFECT_UI_URL}):
        assert find_links(LinkSettings()).prefect_url == ui


def test_ui_url_of_the_exporter_overrides_that_of_prefect() -> None:
    with temporary_settings({PREFECT_UI_URL: "https://robot:hunter2@ui.example.com/"}):
        assert find_links(LinkSettings()).prefect_url == "https://ui.example.com"
        assert (
            find_links(LinkSettings(prefect_ui_url="https://own.example.com")).prefect_url == "https://own.example.com"
        )


def test_without_an_address_there_is_no_link() -> None:
    with temporary_settings(restore_defaults={PREFECT_UI_URL, PREFECT_API_URL}):
        links = find_links(LinkSettings())
    assert (links.prefect_url, links.grafana_url, links.runbook_url) == ("", "", "")


@pytest.mark.parametrize("option", ["prefect_ui_url", "grafana_url", "runbook_url"])
@pytest.mark.parametrize("url", ["https://robot:hunter2@grafana.example.com", "ftp://robot:hunter2@x", "grafana", "/x"])
def test_address_that_cannot_be_opened_is_refused_without_its_password(option: str, url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({option: url}, {})
    assert "hunter2" not in str(caught.value)
