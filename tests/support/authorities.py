"""The certificate authorities that the tests trust: a single one, except for package downloads."""

import atexit
import os
import tempfile
from collections.abc import Mapping

import certifi

END = "-----END CERTIFICATE-----\n"
_KEPT = "TESTS_SSL_CERT_FILE"  # the caller's SSL_CERT_FILE; xdist's workers inherit it


def trust_one() -> None:
    """Make every httpx client load one authority instead of about 140: no test connects to other machines.

    Each client loads them, including Prefect's: 0.03 to 0.1 s of CPU time, even for plain HTTP.
    """
    if _KEPT in os.environ:
        return
    os.environ[_KEPT] = os.environ.get("SSL_CERT_FILE", "")
    with tempfile.NamedTemporaryFile("w", prefix="one-authority-", suffix=".pem", delete=False) as file:
        file.write(certifi.contents().partition(END)[0] + END)
    atexit.register(os.unlink, file.name)
    os.environ["SSL_CERT_FILE"] = file.name


def trust_all(env: Mapping[str, str]) -> dict[str, str]:
    """`env` for a process that downloads packages: with the authorities of the caller."""
    trusted = env.get(_KEPT) or None
    others = {name: value for name, value in env.items() if name not in (_KEPT, "SSL_CERT_FILE")}
    return others | ({"SSL_CERT_FILE": trusted} if trusted else {})
