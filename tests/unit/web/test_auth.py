"""Access to the endpoints, and when credentials are at risk."""

from __future__ import annotations

from base64 import b64encode

import httpx
import pytest
from pydantic import SecretStr

from prefect_monitoring.config.settings import MetricSettings, PollSettings, WebSettings
from prefect_monitoring.web.app import Published, make_app
from prefect_monitoring.web.auth import accepted_credentials, travel_in_clear
from unit.snapshots import NOW, make_snapshot

USER, PASSWORD, TOKEN = "ops", "p:ä:ss wörd€", "t0ken-ABC/+=~"
BASIC = WebSettings(auth_username=USER, auth_password=SecretStr(PASSWORD))
BEARER = WebSettings(auth_token=SecretStr(TOKEN))
BOTH = WebSettings(auth_username=USER, auth_password=SecretStr(PASSWORD), auth_token=SecretStr(TOKEN))
OFFERED = {"basic": 'Basic realm="prefect-monitoring", charset="UTF-8"', "bearer": 'Bearer realm="prefect-monitoring"'}


def basic(text: str, encoding: str = "utf-8") -> bytes:
    return b"Basic " + b64encode(text.encode(encoding))


GOOD_BASIC = basic(f"{USER}:{PASSWORD}")
GOOD_BEARER = f"Bearer {TOKEN}".encode()


async def get(
    settings: WebSettings, path: str, authorization: bytes | None = None, method: str = "GET"
) -> httpx.Response:
    published = Published(MetricSettings())
    published.publish(make_snapshot())
    transport = httpx.ASGITransport(app=make_app(published, settings, PollSettings(), lambda: NOW))
    headers = [(b"authorization", authorization)] if authorization is not None else []
    async with httpx.AsyncClient(transport=transport, base_url="http://exporter.test") as client:
        return await client.request(method, path, headers=headers)


@pytest.mark.parametrize(
    "path", ["/metrics", "/", "/api/v1/status", "/admin", "/metrics/", "/-/healthy/", "/-/ready/x", "//-/ready", "/-/"]
)
@pytest.mark.parametrize(
    ("settings", "schemes"), [(BASIC, ["basic"]), (BEARER, ["bearer"]), (BOTH, ["basic", "bearer"])]
)
async def test_only_probes_answer_without_credentials(settings: WebSettings, schemes: list[str], path: str) -> None:
    for method in ("GET", "HEAD", "POST"):
        answer = await get(settings, path, method=method)
        assert answer.status_code == 401
        assert answer.headers.get_list("www-authenticate") == [OFFERED[scheme] for scheme in schemes]
    assert (await get(settings, path)).text == "credentials are needed\n"
    for probe in ("/-/healthy", "/-/ready"):
        assert (await get(settings, probe)).status_code == 200


@pytest.mark.parametrize(
    ("settings", "authorization", "status"),
    [
        (BASIC, GOOD_BASIC, 200),
        (BEARER, GOOD_BEARER, 200),
        (BOTH, GOOD_BASIC, 200),
        (BOTH, GOOD_BEARER, 200),
        (BASIC, GOOD_BASIC.replace(b"Basic", b"bAsIc"), 200),
        (BEARER, GOOD_BEARER.replace(b"Bearer ", b"bearer  "), 200),
        (BASIC, GOOD_BEARER, 401),
        (BEARER, GOOD_BASIC, 401),
        (BASIC, basic(f"{USER}:{PASSWORD}x"), 401),
        (BASIC, basic(f"{USER}:{PASSWORD[:-1]}"), 401),
        (BASIC, basic(f"{USER.upper()}:{PASSWORD}"), 401),
        (BASIC, basic(f"{USER}:"), 401),
        (BASIC, basic(":"), 401),
        (BASIC, basic(USER), 401),
        (BASIC, basic(f"{USER}:ä", "latin-1"), 401),
        (BASIC, b"Basic ***", 401),
        (BASIC, b"Basic YQ", 401),
        (BASIC, b"Basic \xff\xfe\x80", 401),
        (BASIC, b"Basic", 401),
        (BASIC, b"Basic ", 401),
        (BASIC, f"Basic {USER}:{PASSWORD}".encode(), 401),
        (BASIC, GOOD_BASIC.partition(b" ")[2], 401),
        (BEARER, GOOD_BEARER + b"x", 401),
        (BEARER, GOOD_BEARER[:-1], 401),
        (BEARER, GOOD_BEARER.swapcase(), 401),
        (BEARER, f"Bearer {TOKEN}, Bearer {TOKEN}".encode(), 401),
        (BEARER, TOKEN.encode(), 401),
        (BEARER, b"Bearer", 401),
        (BEARER, "Bearer tökén".encode(), 401),
        (BEARER, b"", 401),
        (BEARER, b" ", 401),
        (BOTH, b"Digest username=ops", 401),
        (BOTH, basic(TOKEN), 401),
        (BOTH, b"Bearer " + GOOD_BASIC.partition(b" ")[2], 401),
        (BOTH, b"Basic " + b"A" * 100_000, 401),
    ],
)
async def test_credentials_are_checked(settings: WebSettings, authorization: bytes, status: int) -> None:
    for path in ("/metrics", "/"):
        assert (await get(settings, path, authorization)).status_code == status
    assert (await get(settings, "/admin", authorization)).status_code == (404 if status == 200 else 401)
    assert (await get(settings, "/-/ready", authorization)).status_code == 200, "whatever a probe sends"


async def test_everything_is_readable_without_configured_credentials() -> None:
    for authorization in (None, b"Bearer x", b"Basic \xff"):
        answer = await get(WebSettings(), "/metrics", authorization)
        assert answer.status_code == 200
        assert "www-authenticate" not in answer.headers


async def test_pages_show_no_secret() -> None:
    for path in ("/metrics", "/"):
        page = (await get(BOTH, path, GOOD_BASIC)).text
        assert PASSWORD not in page
        assert TOKEN not in page
    assert PASSWORD not in repr(BOTH) + str(BOTH) + BOTH.model_dump_json()


def test_unconfigured_scheme_is_refused() -> None:
    assert accepted_credentials(WebSettings()) == {}
    assert list(accepted_credentials(BASIC)) == ["basic"]
    assert list(accepted_credentials(BEARER)) == ["bearer"]


@pytest.mark.parametrize(
    ("listen", "clear"),
    [
        ("127.0.0.1:9877", False),
        ("127.8.0.1:9877", False),
        ("[::1]:9877", False),
        ("localhost:9877", False),
        ("0.0.0.0:9877", True),
        ("[::]:9877", True),
        ("10.0.0.8:9877", True),
        ("exporter.example:9877", True),
    ],
)
def test_credentials_sent_in_clear_text_are_detected(listen: str, clear: bool) -> None:
    assert travel_in_clear(BEARER.model_copy(update={"listen": listen})) == clear
    assert not travel_in_clear(BEARER.model_copy(update={"listen": listen, "tls_cert": "server.crt"}))
    assert not travel_in_clear(WebSettings(listen=listen)), "there are none"
