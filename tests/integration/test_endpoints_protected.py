"""The HTTP endpoints with TLS and credentials: real processes, real connections, a real Prometheus."""

import socket
import ssl
import subprocess
import sys
import time
import warnings
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from support.certificates import Pair, make_pair
from support.exporter import Exporter, run_exporter, start_exporter
from support.ports import free_port
from support.prefect_server import PrefectServer, env_for, start_server
from support.processes import busyness, wait_until
from support.prometheus import start_prometheus

USER, PASSWORD, TOKEN = "ops", "Pässwort:0451", "T0ken-0451"
PASSWORD_ENV, TOKEN_ENV = "PREFECT_MONITORING_AUTH_PASSWORD", "PREFECT_MONITORING_AUTH_TOKEN"
BASIC = {"Authorization": "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
BEARER = {"Authorization": f"Bearer {TOKEN}"}
NOTHING = ("--include-flows", "no-flow-is-called-so")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def exporter(server: PrefectServer, pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """With TLS, basic auth with the password from a file, and a bearer token from the environment."""
    directory = tmp_path_factory.mktemp("protected")
    (directory / "password").write_text(f"{PASSWORD}\n")
    options = ("--auth-username", USER, "--auth-password-file", str(directory / "password"), "--log-level", "debug")
    env = env_for(server) | {TOKEN_ENV: TOKEN}
    with start_exporter(env, directory, *options, *NOTHING, pair=pair, credentials=BASIC) as running:
        running.wait_ready()
        yield running


def bare(exporter: Exporter) -> Exporter:
    return Exporter(exporter.url, exporter.process, {}, exporter.trusted)


def address(exporter: Exporter) -> tuple[str, int]:
    url = urlsplit(exporter.url)
    return url.hostname or "", url.port or 0


# --- authentication ------------------------------------------------------------------------------------------------


def test_credentials_are_required_except_by_probes(exporter: Exporter) -> None:
    assert exporter.url.startswith("https://")
    for credentials in (BASIC, BEARER):
        scraped = bare(exporter).get("/metrics", **credentials)
        assert scraped.status_code == 200
        assert "prefect_up 1" in scraped.text
        assert 'href="metrics"' in bare(exporter).get("/", **credentials).text
    for wrong in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eA=="}):
        for path in ("/metrics", "/", "/nowhere"):
            refused = bare(exporter).get(path, **wrong)
            assert refused.status_code == 401
            assert [challenge.split()[0] for challenge in refused.headers.get_list("www-authenticate")] == [
                "Basic",
                "Bearer",
            ]
            assert "prefect_" not in refused.text
        for probe in ("/-/healthy", "/-/ready"):
            assert bare(exporter).get(probe, **wrong).status_code == 200


def test_user_and_password_are_accepted(exporter: Exporter) -> None:
    """Sent as a browser or curl does."""
    answer = httpx.get(
        f"{exporter.url}/metrics", auth=(USER, PASSWORD), verify=exporter.trusted or True, trust_env=False
    )
    assert answer.status_code == 200


def test_certificate_is_the_configured_one(exporter: Exporter, tmp_path: Path) -> None:
    stranger = ssl.create_default_context(cafile=make_pair(tmp_path, "stranger").cert)
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{exporter.url}/metrics", verify=stranger, trust_env=False)


def test_secrets_are_in_no_page_log_or_command_line(exporter: Exporter) -> None:
    bare(exporter).get("/metrics", Authorization="Bearer wrong")
    command_line = Path(f"/proc/{exporter.process.pid}/cmdline").read_bytes().decode()
    outputs = [exporter.process.output(), command_line]
    outputs += [exporter.get(path).text for path in ("/metrics", "/", "/-/ready", "/-/healthy", "/nowhere")]
    assert f"{exporter.url}/metrics" in outputs[0]
    for secret in (PASSWORD, TOKEN, BASIC["Authorization"].split()[1]):
        assert not [text for text in outputs if secret in text]


# --- broken connections --------------------------------------------------------------------------------------------


def test_plain_http_and_garbage_on_the_tls_port_are_refused(exporter: Exporter) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(exporter.url.replace("https", "http") + "/metrics", timeout=5, trust_env=False)
    for garbage in (b"\x00" * 100, b"\x16\x03\x01\xff\xff", b"GET / HTTP/1.1\r\n\r\n"):
        with socket.create_connection(address(exporter), timeout=5) as connection:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            assert b"200 OK" not in connection.recv(1000)
    assert exporter.get("/metrics").status_code == 200
    assert "Traceback" not in exporter.process.output()


def test_old_tls_is_refused(exporter: Exporter) -> None:
    client = ssl.create_default_context(cafile=None)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        client.minimum_version, client.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(address(exporter), timeout=5) as connection,
        pytest.raises(ssl.SSLError, match=r"EOF|ALERT"),
    ):
        client.wrap_socket(connection)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(address(exporter), timeout=5) as connection,
        client.wrap_socket(connection) as accepted,
    ):
        assert accepted.version() == "TLSv1.2"


def test_hanging_handshakes_block_no_scrape(exporter: Exporter) -> None:
    with ExitStack() as stack:
        for number in range(50):
            hanging = stack.enter_context(socket.create_connection(address(exporter), timeout=5))
            hanging.sendall(b"\x16\x03\x01\x02\x00"[: number % 6])
        begun = time.monotonic()
        for _ in range(5):
            assert exporter.get("/metrics").status_code == 200
        assert time.monotonic() - begun < 10 * busyness()


def test_renewed_certificate_is_served_and_a_hanging_handshake_delays_no_shutdown(
    server: PrefectServer, tmp_path: Path
) -> None:
    pair = make_pair(tmp_path)
    with start_exporter(env_for(server), tmp_path, *NOTHING, pair=pair) as exporter:
        first = ssl.get_server_certificate(address(exporter))
        renewed = make_pair(tmp_path, "renewed")
        renewed.key.replace(pair.key)
        renewed.cert.replace(pair.cert)
        wait_until(
            lambda: ssl.get_server_certificate(address(exporter)) == pair.cert.read_text(), 30, "the new certificate"
        )
        assert pair.cert.read_text() != first
        exporter.trusted = ssl.create_default_context(cafile=pair.cert)
        assert exporter.get("/metrics").status_code == 200
        with socket.create_connection(address(exporter)):
            begun = time.monotonic()
            assert exporter.process.stop() == 0
            assert time.monotonic() - begun < 15 * busyness()
    assert "The certificate on disk has changed and is in use" in exporter.process.output()
    assert "Traceback" not in exporter.process.output()


# --- Prometheus ----------------------------------------------------------------------------------------------------


def test_prometheus_scrapes_with_secrets_from_files(exporter: Exporter, pair: Pair, tmp_path: Path) -> None:
    for name, secret in {"token": TOKEN, "password": PASSWORD, "wrong": "wrong"}.items():
        (tmp_path / name).write_text(f"{secret}\n")
    trusting = {"tls_config": {"ca_file": str(pair.cert)}}
    options = [
        {**trusting, "authorization": {"credentials_file": str(tmp_path / "token")}},
        {**trusting, "basic_auth": {"username": USER, "password_file": str(tmp_path / "password")}},
        {**trusting, "authorization": {"credentials_file": str(tmp_path / "wrong")}},
        {"authorization": {"credentials_file": str(tmp_path / "token")}},
    ]
    targets = [f"{exporter.url}/metrics"] * len(options)
    with start_prometheus(tmp_path / "prometheus", targets, scrape_options=options) as prometheus:
        found = prometheus.wait_for("up", lambda up: len(up) == len(options) and sum(up.values()) == 2, timeout=40)
        assert {dict(labels)["job"]: value for labels, value in found.items()} == {
            "prefect": 1,
            "prefect-1": 1,
            "prefect-2": 0,
            "prefect-3": 0,
        }
        assert prometheus.value('prefect_up{job="prefect"}') == 1


# --- startup -------------------------------------------------------------------------------------------------------


def run(env: Mapping[str, str], directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "prefect_monitoring", *arguments)
    return subprocess.run(
        command, env=dict(env), cwd=directory, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("cert", "key", "complaint"),
    [
        ("server.crt", "other.key", "does not belong to the first certificate"),
        ("server.crt", "locked.key", "is protected by a password"),
        ("missing.crt", "server.key", "cannot be read (No such file or directory)"),
    ],
)
def test_unusable_certificate_is_refused(
    server: PrefectServer, tmp_path: Path, cert: str, key: str, complaint: str
) -> None:
    for name, password in (("server", ""), ("other", ""), ("locked", "secret")):
        make_pair(tmp_path, name, password=password)
    options = ("--tls-cert", str(tmp_path / cert), "--tls-key", str(tmp_path / key))
    options += ("--ledger-url", f"sqlite:///{tmp_path / 'ledger.db'}", "--listen", f"127.0.0.1:{free_port()}")
    refused = run(env_for(server), tmp_path, "serve", *options)
    assert refused.returncode == 2
    assert complaint in refused.stderr
    assert refused.stderr.startswith("prefect-monitoring: ")
    assert refused.stderr.count("\n") == 1, refused.stderr
    checked = run(env_for(server, url="http://127.0.0.1:1/api"), tmp_path, "check", *options)
    assert checked.returncode == 2
    faults = [line for line in checked.stdout.splitlines() if line.startswith("FAULT")]
    assert len(faults) == 2, "the API is still checked"
    assert complaint in faults[0]


def test_credentials_over_plain_http_are_warned_about_once(server: PrefectServer, tmp_path: Path) -> None:
    port = free_port()
    env = env_for(server) | {TOKEN_ENV: TOKEN}
    exporter = run_exporter(env, tmp_path, *NOTHING, "--listen", f"0.0.0.0:{port}", credentials=BEARER)
    try:
        exporter.url = f"http://127.0.0.1:{port}"
        exporter.wait_ready()
        assert exporter.get("/metrics").status_code == 200
        warnings = [line for line in exporter.process.output().splitlines() if "WARNING" in line]
        about_credentials = [line for line in warnings if "cannot be read" not in line]  # on a busy machine
        assert len(about_credentials) == 1, exporter.process.output()
        assert "travel in clear: set tls_cert" in about_credentials[0]
    finally:
        exporter.process.stop()


def test_credentials_for_prefect_are_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "auth").write_text("admin:Sesam-0451\n")
    (tmp_path / "wrong").write_text("admin:wrong\n")
    with start_server(tmp_path / "server", env={"PREFECT_SERVER_API_AUTH_STRING": "admin:Sesam-0451"}) as prefect:
        env = {name: value for name, value in env_for(prefect).items() if name != "PREFECT_API_AUTH_STRING"}
        ledger = ("--ledger-url", f"sqlite:///{tmp_path / 'ledger.db'}")
        outcomes = {}
        for name in ("auth", "wrong"):
            done = run(env | {"PREFECT_API_AUTH_STRING_FILE": str(tmp_path / name)}, tmp_path, "check", *ledger)
            outcomes[name] = done.returncode
            assert "Sesam" not in done.stdout + done.stderr
        assert outcomes == {"auth": 0, "wrong": 2}
        with start_exporter(env | {"PREFECT_API_AUTH_STRING_FILE": str(tmp_path / "auth")}, tmp_path) as exporter:
            exporter.wait_ready()
            assert "prefect_up 1" in exporter.text
