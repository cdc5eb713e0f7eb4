"""Secrets from files: ours and Prefect's."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, temporary_settings

from prefect_monitoring.config.secrets import SecretFileError, read_secret
from prefect_monitoring.config.settings import SettingsError
from prefect_monitoring.prefect_api.credentials import credentials_from_files

SECRET = "Sesam-0451"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    return path


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"abc", "abc"),
        (b"abc\n", "abc"),
        (b"abc\r\n", "abc"),
        (b" a b \n", " a b "),
        (b"a\nb\n", "a\nb"),
        ("pässwörd€\n".encode(), "pässwörd€"),
    ],
)
def test_file_content_is_the_secret(tmp_path: Path, content: bytes, secret: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    assert read_secret(str(path)) == secret


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty: write the secret into it"),
        (b"\n\r\n", "is empty: write the secret into it"),
        (b"Sesam-0451\xff", "is not UTF-8 text"),
    ],
)
def test_invalid_file_content_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(SecretFileError, match=complaint) as caught:
        read_secret(str(path))
    assert str(path) in str(caught.value)
    assert SECRET not in str(caught.value)


def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "missing", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(SecretFileError, match=reason) as caught:
            read_secret(str(path))
        assert f"{path} cannot be read" in str(caught.value)
        assert "give the path" in str(caught.value)
    with pytest.raises(SecretFileError, match="no file is named"):
        read_secret("")


@pytest.mark.parametrize(
    ("name", "setting"), [("PREFECT_API_KEY", PREFECT_API_KEY), ("PREFECT_API_AUTH_STRING", PREFECT_API_AUTH_STRING)]
)
def test_prefect_credentials_are_read_from_files(file: Path, name: str, setting: object) -> None:
    with temporary_settings({setting: "of a profile"}):
        with credentials_from_files({f"{name}_FILE": str(file)}):
            assert setting.value() == SECRET
        assert setting.value() == "of a profile"
        with credentials_from_files({name: "set"}):
            assert setting.value() == "of a profile", "without a file nothing changes"


def test_every_invalid_prefect_credential_is_reported(file: Path, tmp_path: Path) -> None:
    environment = {
        "PREFECT_API_KEY": SECRET,
        "PREFECT_API_KEY_FILE": str(file),
        "PREFECT_API_AUTH_STRING_FILE": str(tmp_path / "missing"),
    }
    with pytest.raises(SettingsError) as caught, credentials_from_files(environment):
        pass
    both, missing = str(caught.value).splitlines()
    assert both.startswith("PREFECT_API_KEY and PREFECT_API_KEY_FILE: both are set")
    assert missing.startswith("PREFECT_API_AUTH_STRING_FILE: ")
    assert "missing cannot be read" in missing
    assert SECRET not in str(caught.value)
