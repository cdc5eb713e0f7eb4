"""The runbooks as the exporter serves them: every alert has a page, and their links work."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from prefect_monitoring.config.settings import Settings, WebSettings
from prefect_monitoring.web.app import Published, make_app
from prefect_monitoring.web.runbooks import PATH

ALERTS = sorted(page.stem for page in (Path(__file__).parents[3] / "docs/runbooks").glob("Prefect*.md"))


def site(**web: SecretStr) -> httpx.AsyncClient:
    settings = Settings()
    app = make_app(Published(settings.metrics), WebSettings(**web), settings.poll)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://exporter.test")


async def test_each_alert_has_a_page_without_dead_links() -> None:
    async with site() as client:
        index = await client.get(f"{PATH}/")
        assert index.status_code == 200
        assert set(re.findall(r'<td><a href="(\w+)\.md"', index.text)) == set(ALERTS)
        assert "<table>" in index.text
        for alert in ALERTS:
            page = await client.get(f"{PATH}/{alert}.md")
            assert f"<h1>{alert}</h1>" in page.text
            targets = set(re.findall(r'href="([^"]+)"', page.text))
            assert targets <= {f"{name}.md" for name in ("README", *ALERTS)}
        assert (await client.get(f"{PATH}/{ALERTS[0]}")).text == (await client.get(f"{PATH}/{ALERTS[0]}.md")).text
        assert "script-src" not in index.headers["content-security-policy"]
        assert "default-src 'none'" in index.headers["content-security-policy"]


@pytest.mark.parametrize("name", ["Nothing.md", "..%2FREADME.md", "%2e%2e%2fmetrics.md", "a/b.md", "x" * 500])
async def test_other_paths_are_not_served(name: str) -> None:
    async with site() as client:
        assert (await client.get(f"{PATH}/{name}")).status_code == 404


async def test_runbooks_require_credentials() -> None:
    async with site(auth_token=SecretStr("x" * 16)) as client:
        assert (await client.get(f"{PATH}/README.md")).status_code == 401
        assert (
            await client.get(f"{PATH}/README.md", headers={"Authorization": f"Bearer {'x' * 16}"})
        ).status_code == 200
