"""Checks settings that Prefect or its HTTP client would fail on: one line per fault, which names the setting.

Prefect is not imported before the environment allows it.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
import sys
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from prefect_monitoring.config.faults import did_you_mean, reason_of

_PROXY_SCHEMES: Final = ("http", "https", "socks5", "socks5h")
_NO_HOME: Final = "/nonexistent"
_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z]+")
_SERVICE_LINK: Final = (
    "Kubernetes sets it for a service named like it: set enableServiceLinks: false in the pod, or unset it"
)


def prefect_faults(environment: MutableMapping[str, str] | None = None) -> list[str]:
    """Every fault that prevents Prefect's import or the construction of its client; empty if there are none."""
    environment = os.environ if environment is None else environment
    give_home(environment)
    return [*_all_settings_faults(environment), *_proxy_faults(environment), *_certificate_faults(environment)]


def give_home(environment: MutableMapping[str, str]) -> None:
    """Gives Prefect an empty home if there is no writable one: only its settings are needed, not what it stores."""
    if environment.get("PREFECT_HOME") or _can_be_made(_home(environment)):
        return
    environment["PREFECT_HOME"] = tempfile.mkdtemp(prefix="prefect-home-")
    if _home(environment) is None:
        environment["HOME"] = _NO_HOME  # not the temporary one: a ledger there would be new at each start


def _home(environment: Mapping[str, str]) -> Path | None:
    try:
        home = Path(environment["HOME"]) if environment.get("HOME") else Path.home()
    except RuntimeError:  # no HOME, and no entry for this user
        return None
    return home / ".prefect"


def _can_be_made(folder: Path | None) -> bool:
    if folder is None:
        return False
    existing = folder if folder.exists() else folder.parent
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def _all_settings_faults(environment: MutableMapping[str, str]) -> list[str]:
    """Prefect stops at the first faulty group of settings, so it is tried again without the faulty variables."""
    all_faults: list[str] = []
    without: dict[str, str] = {}
    try:
        while faults := [fault for fault in _settings_faults(environment) if fault not in all_faults]:
            all_faults += faults
            named = {fault.partition(":")[0] for fault in faults} & environment.keys()
            without |= {name: environment.pop(name) for name in named}
    finally:
        environment.update(without)
    return all_faults


def _settings_faults(environment: Mapping[str, str]) -> Iterator[str]:
    from pydantic import ValidationError  # noqa: PLC0415 slow to import

    try:
        with _silence():
            from prefect.settings import get_current_settings  # noqa: PLC0415 same
            from prefect.settings.profiles import load_profiles  # noqa: PLC0415 same

            profiles = load_profiles()
            settings = get_current_settings()
    except ValidationError as error:
        yield from _validation_faults(error, environment)
        return
    except Exception as error:  # noqa: BLE001 any error is a fault of the settings
        yield _other_fault(error, environment)
        return
    wanted = environment.get("PREFECT_PROFILE")
    active = wanted or profiles.active_name
    if active and active not in profiles.names:
        meant = did_you_mean(active, profiles.names)
        hint = f"did you mean {meant}?" if meant else f"there are {', '.join(sorted(profiles.names))}"
        where = "PREFECT_PROFILE" if wanted else "PREFECT_PROFILES_PATH: of what is active there"
        yield f"{where}: there is no profile {active!r}: {hint}"
    yield from _header_faults(settings)


def _header_faults(settings: Any) -> Iterator[str]:
    """Settings that become headers and that HTTP cannot send; without their values."""
    for name, value in settings.client.custom_headers.items():
        if not (_can_be_sent(name) and _can_be_sent(value)):
            yield (
                "PREFECT_CLIENT_CUSTOM_HEADERS: a header that cannot be sent: give names and values in ASCII, without"
                " line breaks"
            )
    key = settings.api.key
    if key is not None and not _can_be_sent(key.get_secret_value()):
        yield "PREFECT_API_KEY: a key that cannot be sent: give the key alone, without line breaks"


def _can_be_sent(text: str) -> bool:
    return text.isascii() and (text.isprintable() or not text)


@contextmanager
def _silence() -> Iterator[None]:
    """Discards what Prefect prints at its import, because it includes the values of faulty settings."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 not a path
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


def _validation_faults(error: Any, environment: Mapping[str, str]) -> Iterator[str]:
    for detail in error.errors():
        if detail["type"] == "default_factory_not_called":  # caused by another fault
            continue
        # The innermost part that is a variable: the location also has keys of objects.
        names = [_variable(str(error.title), str(field), environment) for field in reversed(detail["loc"] or ("",))]
        name = next((name for name in names if name in environment), names[0])
        value = environment.get(name, "")
        remedy = _SERVICE_LINK if value.startswith("tcp://") else f"correct it, or unset it{_elsewhere(name, value)}"
        yield f"{name}: {reason_of(detail)}: {remedy}"


def _variable(model: str, field: str, environment: Mapping[str, str]) -> str:
    """The variable that sets a field of a group of Prefect's settings, given by its class name."""
    ending = field.upper()
    if ending.startswith("PREFECT_"):
        return ending
    words = _WORDS.findall(model.removesuffix("Settings"))
    group = "".join(words).upper()
    candidates = [name for name in environment if name.startswith("PREFECT_") and name.endswith(f"_{ending}")]
    fitting = [name for name in candidates if name.replace("_", "").startswith(f"PREFECT{group}")]
    return next(iter(sorted(fitting or candidates)), "_".join(["PREFECT", *words, ending]).upper())


def _elsewhere(name: str, value: str) -> str:
    return "" if value else f" ({name} comes from a profile, a prefect.toml or a .env file)"


def _other_fault(error: Exception, environment: Mapping[str, str]) -> str:
    text = next(iter(str(error).splitlines()), "") or type(error).__name__
    field = text.partition('field "')[2].partition('"')[0]
    if field:  # pydantic-settings could not parse a value that is JSON
        name = _variable("", field, environment)
        return f'{name}: not valid JSON: give an object such as {{"X-Team": "data"}}, or unset it'
    if file := re.search(r"from (\S+\.toml)", text):
        return f"{file[1]}: {text.partition(': ')[2]}: correct that file in the working directory, or start elsewhere"
    if type(error).__name__ == "TOMLDecodeError" or "profiles" in text:
        home = (
            environment.get("PREFECT_PROFILES_PATH") or f"{environment.get('PREFECT_HOME', '~/.prefect')}/profiles.toml"
        )
        return (
            f"PREFECT_PROFILES_PATH: {home} is no valid TOML ({text}): correct that file, or set PREFECT_HOME elsewhere"
        )
    return (
        f"PREFECT_HOME: Prefect cannot be loaded ({type(error).__name__}: {text}): see PREFECT_* settings and its home"
    )


def _proxy_faults(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in sorted(environment.items()):
        if name.upper() not in {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} or not value:
            continue
        proxy = _split(value)
        if proxy is None or not proxy.hostname:
            yield f"{name}: not the address of a proxy: give it as http://HOST:PORT"
        elif proxy.scheme not in _PROXY_SCHEMES:
            yield f"{name}: a proxy of the scheme {proxy.scheme}://, which is not supported: give it as http://HOST:PORT"
        elif proxy.scheme.startswith("socks") and not _has_socks():
            yield (
                f"{name}: a SOCKS proxy needs socksio: pip install 'httpx[socks]', or use an http:// proxy, or unset it"
            )


def _split(value: str) -> SplitResult | None:
    split = urlsplit(value if "://" in value else f"http://{value}")
    try:
        return split if split.port != 0 else None
    except ValueError:
        return None


def _has_socks() -> bool:
    return find_spec("socksio") is not None


def _certificate_faults(environment: Mapping[str, str]) -> Iterator[str]:
    for name in ("PREFECT_API_SSL_CERT_FILE", "SSL_CERT_FILE"):
        file = environment.get(name)
        if not file:
            continue
        try:
            ssl.create_default_context(cafile=file)
        except FileNotFoundError:
            yield f"{name}: there is no file {file}: give the PEM file with the certificates to trust, or unset it"
        except (OSError, ssl.SSLError):
            yield f"{name}: {file} holds no certificates: give a PEM file with those to trust, or unset it"


def proxy_of(address: str, environment: Mapping[str, str]) -> str | None:
    """The proxy for requests to `address`, from the variables that curl and httpx know; None without one.

    NO_PROXY may have names, suffixes (`.corp`), addresses and networks of both IP versions, with or without a port.
    """
    variables = {name.lower(): value for name, value in sorted(environment.items()) if value}
    url = urlsplit(address)
    if _is_excepted(url, variables.get("no_proxy", "")):
        return None
    proxy = variables.get(f"{url.scheme}_proxy") or variables.get("all_proxy")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def _is_excepted(url: SplitResult, exceptions: str) -> bool:
    host = (url.hostname or "").lower()
    port = url.port or {"https": 443}.get(url.scheme, 80)
    return any(_matches(host, port, entry.strip().lower()) for entry in exceptions.split(",") if entry.strip())


def _matches(host: str, port: int, entry: str) -> bool:
    if entry == "*":
        return True
    entry = entry.partition("://")[2] or entry
    network, address = _network(entry.strip("[]")), _address(host)
    if network is not None:
        return address is not None and address.version == network.version and address in network
    name, _, wanted = entry.rpartition(":")
    if name and wanted.isdigit():
        return int(wanted) == port and _matches(host, port, name)
    name = entry.lstrip("*").lstrip(".")
    return host == name or host.endswith(f".{name}")


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
