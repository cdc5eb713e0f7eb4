"""Proxies, certificates and homes that httpx or Prefect cannot use: one-line errors with the setting."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import PREFECT_PROFILES_PATH, Settings, temporary_settings

from prefect_monitoring.prefect_api.startup import give_home, prefect_faults, proxy_of

PROXY = {"HTTP_PROXY": "http://proxy:3128", "HTTPS_PROXY": "proxy:3129"}


@pytest.mark.parametrize(
    ("address", "exceptions", "is_excepted"),
    [
        ("http://prefect.corp:4200/api", "", False),
        ("http://prefect.corp:4200/api", "*", True),
        ("http://prefect.corp:4200/api", "localhost, .corp", True),
        ("http://prefect.corp:4200/api", "*.corp", True),
        ("http://prefect.corp:4200/api", "corp", True),
        ("http://prefect.corp:4200/api", "otherprefect.corp,refect.corp", False),
        ("http://prefect.corp:4200/api", "prefect.corp:4200", True),
        ("http://prefect.corp:4200/api", "prefect.corp:80", False),
        ("http://prefect.corp:4200/api", "http://prefect.corp", True),
        ("http://10.1.2.3:4200/api", "10.0.0.0/8", True),
        ("http://10.1.2.3:4200/api", "10.1.2.3", True),
        ("http://11.1.2.3:4200/api", "10.0.0.0/8,fd00::/8", False),
        ("http://[fd12::7]:4200/api", "fd00::/8", True),
        ("http://[fd12::7]:4200/api", "[fd12::7]", True),
        ("http://[::1]:4200/api", "localhost,127.0.0.1,::1", True),
        ("http://[fe80::1]:4200/api", "fd00::/8,10.0.0.0/8", False),
        ("http://prefect.corp:4200/api", "10.0.0.0/8,not/a/network,[", False),
    ],
)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_no_proxy_matches_names_addresses_and_networks(
    address: str, exceptions: str, name: str, *, is_excepted: bool
) -> None:
    assert proxy_of(address, {**PROXY, name: exceptions}) == (None if is_excepted else "http://proxy:3128")


def test_proxy_depends_on_the_scheme() -> None:
    assert proxy_of("https://cloud/api", PROXY) == "http://proxy:3129", "without a scheme it is an http proxy"
    assert proxy_of("https://cloud/api", {"all_proxy": "http://any:1"}) == "http://any:1"
    assert proxy_of("http://cloud/api", {}) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"HTTPS_PROXY": "ftp://proxy"}, "HTTPS_PROXY: a proxy of the scheme ftp://"),
        ({"http_proxy": "http://proxy:port"}, "http_proxy: not the address of a proxy"),
        ({"ALL_PROXY": "http://"}, "ALL_PROXY: not the address of a proxy"),
        ({"PREFECT_API_SSL_CERT_FILE": "/nonexistent.pem"}, "PREFECT_API_SSL_CERT_FILE: there is no file"),
        ({"SSL_CERT_FILE": __file__}, "SSL_CERT_FILE: .* holds no certificates"),
    ],
)
def test_error_names_its_setting_and_no_password(changes: dict[str, str], words: str) -> None:
    (fault,) = prefect_faults({**os.environ, **changes})
    assert re.search(words, fault)
    assert "\n" not in fault


def test_socks_proxy_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {**os.environ, "ALL_PROXY": "socks5://user:secret@127.0.0.1:1"}
    monkeypatch.setattr("prefect_monitoring.prefect_api.startup.find_spec", lambda _: None)
    (fault,) = prefect_faults(environment)
    assert fault.startswith("ALL_PROXY: a SOCKS proxy needs socksio")
    assert "secret" not in fault
    monkeypatch.setattr("prefect_monitoring.prefect_api.startup.find_spec", lambda _: object())
    assert prefect_faults(environment) == []


def test_home_is_set_only_if_missing(tmp_path: Path) -> None:
    usable = {"HOME": str(tmp_path)}
    give_home(usable)
    assert usable == {"HOME": str(tmp_path)}
    lacking = {"HOME": str(tmp_path / "gone" / "away")}
    give_home(lacking)
    assert Path(lacking["PREFECT_HOME"]).is_dir()
    chosen = {"HOME": "/nonexistent", "PREFECT_HOME": "/data"}
    give_home(chosen)
    assert chosen["PREFECT_HOME"] == "/data"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PREFECT_CLIENT_CUSTOM_HEADERS", '{"X-Team": 5}'),
        ("PREFECT_CLIENT_CUSTOM_HEADERS", '{"X-Team": "d\u00e4t\u00e4"}'),
        ("PREFECT_CLIENT_CUSTOM_HEADERS", '{"X-Team": "a\\nX-Other: b"}'),
        ("PREFECT_API_KEY", "pnu_secret\n"),
        ("PREFECT_API_KEY", "pnu_s\u00e9cret"),
    ],
)
def test_value_invalid_in_a_header_is_an_error_of_its_setting(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setattr("prefect.settings.get_current_settings", Settings)  # not those of the test process
    (fault,) = prefect_faults()
    assert fault.startswith(f"{name}: ")
    assert "secret" not in fault


def test_invalid_prefect_settings_are_reported_at_once_without_a_traceback(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PREFECT_HOME": str(tmp_path),
        "PREFECT_SERVER_API_PORT": "tcp://10.96.12.7:4200",
        "PREFECT_API_REQUEST_TIMEOUT": "30s",
        "PREFECT_CLIENT_CUSTOM_HEADERS": "X-Team: data",
        "PREFECT_PROFILE": "nosuch",
        "NO_PROXY": "fd00::/8",
        "HTTPS_PROXY": "ftp://proxy",
    }
    command = [sys.executable, "-m", "prefect_monitoring", "check", "--ledger-url", f"sqlite:///{tmp_path}/l.db"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    faults = [line for line in done.stdout.splitlines() if line.startswith("FAULT")]
    named = [line.removeprefix("FAULT  Prefect settings: ").partition(":")[0] for line in faults]
    assert sorted(named) == [
        "HTTPS_PROXY",
        "PREFECT_API_REQUEST_TIMEOUT",
        "PREFECT_CLIENT_CUSTOM_HEADERS",
        "PREFECT_PROFILE",
        "PREFECT_SERVER_API_PORT",
    ]
    assert any("enableServiceLinks" in line for line in faults)
    assert "10.96.12.7" not in done.stdout
    assert done.stderr == ""


def test_missing_active_profile_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text('active = "locl"\n[profiles.local]\nPREFECT_API_URL = "http://127.0.0.1:4200/api"\n')
    with temporary_settings({PREFECT_PROFILES_PATH: file}):
        monkeypatch.delenv("PREFECT_PROFILE", raising=False)
        (fault,) = prefect_faults()
        assert fault.startswith("PREFECT_PROFILES_PATH: ")
        assert "'locl': did you mean local?" in fault
        monkeypatch.setenv("PREFECT_PROFILE", "local")
        assert prefect_faults() == []


def test_ledger_is_not_created_in_a_temporary_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_entry() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_entry)
    environment: dict[str, str] = {}
    give_home(environment)
    assert Path(environment["PREFECT_HOME"]).is_dir()
    assert not Path(environment["HOME"]).exists(), "the default ledger is an error, but a given one works"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"prefect.toml": "broken = ["}, "prefect.toml: invalid TOML"),
        ({"profiles.toml": "active = 'x"}, "PREFECT_PROFILES_PATH: .*profiles.toml is no valid TOML"),
        (
            {"profiles.toml": 'active = "x"\n[profiles.x]\nPREFECT_API_REQUEST_TIMEOUT = "soon"\n'},
            "PREFECT_API_REQUEST_TIMEOUT: .* comes from a profile",
        ),
    ],
    ids=["prefect.toml", "profiles", "profile"],
)
def test_broken_settings_file_is_one_error(tmp_path: Path, files: dict[str, str], words: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    unset = ("PREFECT_API_REQUEST_TIMEOUT", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    code = "from prefect_monitoring.prefect_api.startup import prefect_faults; print(*prefect_faults(), sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PREFECT_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    (fault,) = done.stdout.splitlines()
    assert re.match(words, fault), fault
